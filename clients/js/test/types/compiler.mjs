/** The TypeScript compiler, for tests of declarations and of emitted files. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Return what the compiler reports about a project; "" if all is well. */
export function check(project) {
  return run(["-p", project]);
}

/** Return the emitted JavaScript of the package by file name, such as `react/room.js`. */
export function emit(module) {
  const folder = mkdtempSync(join(tmpdir(), "presenced-"));
  try {
    const report = run([
      "-p",
      "tsconfig.build.json",
      "--noEmit",
      "false",
      "--outDir",
      folder,
      "--rootDir",
      "src",
      "--module",
      module,
    ]);
    if (report) throw new Error(report);
    const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".js"));
    return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), "utf-8")]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(options) {
  try {
    return execFileSync("node_modules/.bin/tsc", options, { encoding: "utf-8" });
  } catch (error) {
    return error.stdout || String(error);
  }
}
