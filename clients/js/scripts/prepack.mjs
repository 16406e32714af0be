/**
 * Build the package if needed. npm runs this before it packs this folder, so that
 * `npm pack --silent FOLDER` works in a fresh clone.
 */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const LAST_OUTPUT = "dist/cjs/package.json"; // of `build.mjs`

// Standard output belongs to `npm pack`, which prints the name of the tarball. With `--silent`, errors would be lost.
const run = (...command) =>
  execFileSync("npm", [...command, "--loglevel=error"], { stdio: ["ignore", process.stderr, "inherit"] });
const changedAt = (name) => statSync(name).mtimeMs;

const inputs = ["tsconfig.json", "tsconfig.build.json", "scripts/build.mjs"];
for (const entry of readdirSync("src", { recursive: true })) inputs.push(join("src", entry));

// Without this, processes that pack the package at the same time would delete each other's output.
if (!existsSync(LAST_OUTPUT) || inputs.some((name) => changedAt(name) > changedAt(LAST_OUTPUT))) {
  if (!existsSync("node_modules/typescript")) run("ci", "--ignore-scripts", "--no-audit", "--no-fund");
  run("run", "build");
}
