/** Check the package as users get it: pack it, lint it, install it into an empty folder, and load every entry. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const bin = (name) => resolve("node_modules/.bin", name);
const run = (command, args, options = {}) =>
  execFileSync(command, args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8", ...options });

const { exports } = JSON.parse(readFileSync("package.json", "utf8"));
const folder = mkdtempSync(join(tmpdir(), "presenced-package-"));
try {
  const [{ filename, files, size }] = JSON.parse(
    run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder]),
  );
  const tarball = join(folder, filename);
  const strange = files
    .map(({ path }) => path)
    .filter((path) => !/^(dist\/|(package\.json|README\.md|CHANGELOG\.md|LICENSE)$)/.test(path));
  if (strange.length) throw new Error(`these files do not belong into the package: ${strange.join(", ")}`);
  run(bin("publint"), ["run", tarball, "--strict"], { stdio: "inherit" });
  run(bin("attw"), [tarball, "--profile", "node16", "--format", "table", "--exclude-entrypoints", "./react/dots.css"], {
    stdio: "inherit",
  });

  writeFileSync(join(folder, "package.json"), '{"private":true}');
  run("npm", ["install", "--silent", "--no-audit", "--no-fund", "--legacy-peer-deps", tarball], { cwd: folder });
  // Entries that need a framework are loaded with the one that is installed here.
  run(
    "npm",
    [
      "install",
      "--silent",
      "--no-audit",
      "--no-fund",
      "--legacy-peer-deps",
      "--offline",
      resolve("node_modules/react"),
      resolve("node_modules/vue"),
    ],
    { cwd: folder },
  );
  for (const entry of Object.keys(exports).filter(
    (name) => typeof exports[name] !== "string" && name !== "./react-native",
  )) {
    const name = join("presenced", entry);
    const count = "Object.keys(module).length || process.exit(1)";
    run("node", ["--input-type=module", "-e", `const module = await import("${name}"); ${count}`], { cwd: folder });
    run("node", ["--input-type=commonjs", "-e", `const module = require("${name}"); ${count}`], { cwd: folder });
  }
  const react = join(folder, "node_modules/presenced/dist/esm/react");
  const components = readdirSync(react).filter((name) => name.endsWith(".js"));
  for (const name of components) {
    const text = readFileSync(join(react, name), "utf8");
    if (/\buse[A-Z]\w*\(/.test(text) && !text.startsWith('"use client"'))
      throw new Error(`react/${name} lacks "use client"`);
  }
  console.log(`${filename}: ${files.length} files, ${size} bytes`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
