/// <reference types="node" />
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";

test("every entry of the package fits its budget", { timeout: 60_000 }, () => {
  const output = execFileSync("node", ["scripts/budgets.mjs"], { encoding: "utf-8" }); // throws if one is too large
  expect(output).toMatch(/^\/server, all +\d\.\d\d KB of 3\.0 KB$/m);
});
