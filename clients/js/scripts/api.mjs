/**
 * Write `api/`: the declarations that users of the package see. They are committed, so that every change of the public
 * API shows up in review. `--check` only compares, and lists what differs.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const DIST = "dist/esm";
const { exports } = JSON.parse(readFileSync("package.json", "utf8"));
const entries = Object.values(exports).flatMap((target) => target.import?.types ?? []);

/** The declarations that an entry reaches, by path. */
const files = new Map();

function visit(path) {
  if (files.has(path) || !existsSync(path)) return;
  const text = readFileSync(path, "utf8");
  files.set(path, text);
  for (const [, name] of text.matchAll(/(?:from|import)\s*\(?"(\.[^"]+)\.js"/g))
    visit(join(dirname(path), `${name}.d.ts`));
}

if (!existsSync(DIST)) {
  console.error(`there is no ${DIST}: run "npm run build" first`);
  process.exit(1);
}
for (const entry of entries) visit(entry);
const wanted = new Map([...files].map(([path, text]) => [join("api", relative(DIST, path)), text]));

if (process.argv.includes("--check")) {
  const changed = [...wanted].filter(([path, text]) => !existsSync(path) || readFileSync(path, "utf8") !== text);
  for (const [path] of changed)
    console.error(`${path} differs from the build: run "npm run api", and review the change`);
  process.exitCode = changed.length ? 1 : 0;
} else {
  rmSync("api", { recursive: true, force: true });
  for (const [path, text] of wanted) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}
