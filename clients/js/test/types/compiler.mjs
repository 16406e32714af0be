/** The TypeScript compiler, for tests of declarations and of emitted files. */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const CACHE = "node_modules/.cache"; // declarations find React from there

/** Return what the compiler reports about an application that uses the emitted declarations; "" if all is well. */
export function check(application) {
  return within((folder) => {
    compile(["-p", "tsconfig.build.json", "--declaration", "--emitDeclarationOnly", "--outDir", folder]);
    const config = {
      extends: resolve("tsconfig.json"),
      compilerOptions: { paths: { presenced: ["./index.d.ts"], "presenced/*": ["./*/index.d.ts"] } },
      include: [resolve(application)],
      exclude: [],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    return run(["-p", folder]);
  });
}

/** Return the emitted JavaScript of the package by file name, such as `react/room.js`. */
export function emit(module) {
  return within((folder) => {
    compile(["-p", "tsconfig.build.json", "--outDir", folder, "--module", module]);
    const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".js"));
    return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), "utf-8")]));
  });
}

function within(use) {
  mkdirSync(CACHE, { recursive: true });
  const folder = resolve(mkdtempSync(join(CACHE, "presenced-")));
  try {
    return use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compile(options) {
  const report = run([...options, "--noEmit", "false", "--rootDir", "src"]);
  if (report) throw new Error(report);
}

function run(options) {
  try {
    return execFileSync("node_modules/.bin/tsc", options, { encoding: "utf-8" });
  } catch (error) {
    return error.stdout || String(error);
  }
}
