/**
 * Mutate the core of the client, and print the mutants that no test notices.
 *
 * The tests read files outside of this package, so Stryker works on a copy of both, and changes the copy in place.
 * With `isolate: false`, one process loads the modules once: all tests take 6 s instead of 17.
 *
 *     node run.mjs                         desired state, requests, session, retry and rate limit
 *     node run.mjs retry.ts,rate-limit.ts  only these files of `src`
 */

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FILES = ["desired-state.ts", "requests.ts", "session.ts", "replica.ts", "retry.ts", "rate-limit.ts"];

/** Unit tests of the core. The tests left out do not run the sources, or start the real server. */
const TESTS = "test/*.test.ts";
const LEFT_OUT = ["contract", "page", "budgets", "version"].map((name) => `test/${name}.test.ts`);

const mutation = dirname(fileURLToPath(import.meta.url));
const client = dirname(mutation);
const root = dirname(dirname(client));

const files = process.argv[2]?.split(",") ?? FILES;
const copy = mkdtempSync(join(tmpdir(), "presenced-mutation-"));
const work = join(copy, "clients/js");
try {
  mkdirSync(work, { recursive: true });
  for (const name of ["src", "test", "package.json", "tsconfig.json"]) {
    cpSync(join(client, name), join(work, name), { recursive: true });
  }
  cpSync(join(root, "spec"), join(copy, "spec"), { recursive: true });
  symlinkSync(join(client, "node_modules"), join(work, "node_modules"));
  writeFileSync(
    join(work, "vitest.config.mjs"),
    `export default { test: ${JSON.stringify({ include: [TESTS], exclude: LEFT_OUT, isolate: false })} };`,
  );
  const config = {
    testRunner: "vitest",
    plugins: [fileURLToPath(import.meta.resolve("@stryker-mutator/vitest-runner"))],
    mutate: files.map((name) => `src/${name}`),
    mutator: { excludedMutations: ["StringLiteral"] }, // most are advice to people
    inPlace: true,
    concurrency: 1,
    timeoutMS: 3_000, // beside the time of the tests themselves: some mutants never end
    reporters: ["clear-text", "progress-append-only"],
    clearTextReporter: { allowColor: false, logTests: false, reportTests: false, allowEmojis: false },
    allowEmpty: false,
  };
  writeFileSync(join(work, "stryker.config.json"), JSON.stringify(config));
  const stryker = join(mutation, "node_modules/@stryker-mutator/core/bin/stryker.js");
  execFileSync(process.execPath, [stryker, "run"], {
    cwd: work,
    stdio: "inherit",
    env: { ...process.env, PRESENCED_RUNS: "10" },
  });
} finally {
  rmSync(copy, { recursive: true, force: true });
}
