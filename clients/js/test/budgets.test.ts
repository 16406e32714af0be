/// <reference types="node" />
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";

test("every entry of the package fits its budget", { timeout: 60_000 }, () => {
  const { status, stdout, stderr } = spawnSync("node", ["scripts/budgets.mjs"], { encoding: "utf-8" });
  expect(status, `npm run budgets:\n${stdout}${stderr}`).toBe(0);
  expect(stdout).toMatch(/^\/server, all +\d+ bytes of \d+$/m);
});
