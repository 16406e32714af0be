/// <reference types="node" />
/** `/client.js` of the server: the bundle that is committed is the one that the source gives. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";

const SCRIPT = fileURLToPath(new URL("../scripts/page.mjs", import.meta.url));
const COMMITTED = fileURLToPath(new URL("../../../src/presenced/web/client.js", import.meta.url));

test("the committed bundle is up to date", () => {
  const folder = mkdtempSync(join(tmpdir(), "presenced-page-"));
  try {
    execFileSync(process.execPath, [SCRIPT, join(folder, "client.js")], { stdio: "inherit" });
    const isCurrent = readFileSync(join(folder, "client.js")).equals(readFileSync(COMMITTED));
    expect(isCurrent, "run `npm run page` and commit the result").toBe(true);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("the bundle is one module that imports nothing and exports the public functions", async () => {
  expect(readFileSync(COMMITTED, "utf8")).not.toMatch(/\bimport\b|\brequire\(/);
  const module = await import(/* @vite-ignore */ pathToFileURL(COMMITTED).href);
  expect(Object.keys(module).sort()).toEqual(["PresenceError", "createPresence", "webHost"]);
  expect(module.createPresence({ url: "ws://localhost:3001" }).connection.get().state).toBe("idle");
});

test("the core knows no modules: its bundle has none of their words", () => {
  expect(readFileSync(COMMITTED, "utf8")).not.toMatch(
    /chat|typing|conversation|attachment|upload|download|webrtc|rtcpeer/i,
  );
});
