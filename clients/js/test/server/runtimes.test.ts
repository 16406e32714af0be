/// <reference types="node" />
/** The built package, in each runtime that is installed, or named in PRESENCED_RUNTIMES. `make soak` installs Deno. */

import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";

const run = promisify(execFile);
const built = mkdtempSync(join(tmpdir(), "presenced-built-"));
const SMOKE = "test/server/smoke.mjs";
const BUN = "../../benchmarks/peers/node_modules/.bin/bun";

/** Commands by runtime. Node is always there. */
const RUNTIMES: Record<string, [command: string, ...flags: string[]]> = {
  node: [process.execPath],
  bun: [existsSync(BUN) ? BUN : "bun"],
  deno: ["deno", "run", "--quiet", "--no-config", "--allow-net", "--allow-read"],
};

const REQUIRED = (process.env.PRESENCED_RUNTIMES ?? "node").split(" ");

const ANSWERS: Record<string, (response: ServerResponse) => void> = {
  "/api/v1/users/ada": json(200, { userId: "ada", status: "online", since: 1, version: 1 }),
  "/api/v1/users/query": json(200, { users: [{ userId: "ada" }], errors: [] }),
  "/api/v1/counts": json(409, { title: "No.", detail: "No.", status: 409, code: "CONFLICT", retry: false }),
  "/api/v1/changes": json(200, { changes: [{ userId: "ada" }], next: "e-1", digest: null }),
  "/api/v1/watch": (response) => {
    response.setHeader("content-type", "text/event-stream");
    response.write('event: snapshot\ndata: {"users":[]}\n\n');
  },
  "/api/v1/rooms": () => {}, // never answers
};

function json(status: number, content: object) {
  return (response: ServerResponse) => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(content));
  };
}

const server = createServer((request, response) => ANSWERS[request.url?.split("?")[0] ?? ""]?.(response));

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const options = ["--noEmit", "false", "--declaration", "--rootDir", "src", "--outDir", built];
  execFileSync("node_modules/.bin/tsc", ["-p", "tsconfig.build.json", ...options], { stdio: "inherit" });
  writeFileSync(join(built, "package.json"), '{"type":"module"}\n');
}, 60_000);

afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(built, { recursive: true, force: true });
});

/** Whether the command can be started. */
function isInstalled(command: string): boolean {
  try {
    execFileSync(command, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

for (const [name, [command, ...flags]] of Object.entries(RUNTIMES)) {
  test.skipIf(!REQUIRED.includes(name) && !isInstalled(command))(
    `it works in ${name}`,
    { timeout: 60_000 },
    async () => {
      const { port } = server.address() as AddressInfo;
      const { stdout } = await run(command, [...flags, SMOKE, join(built, "server"), `http://127.0.0.1:${port}`]);
      expect(stdout).toBe("ok\n");
    },
  );
}

test("it imports nothing but its own files", () => {
  const waiting = ["server/index.js"];
  const seen = new Set<string>();
  for (let file = waiting.pop(); file; file = waiting.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    const text = readFileSync(join(built, file), "utf-8");
    for (const [, name = ""] of text.matchAll(/(?:from|import|require)\s*\(?\s*["']([^"']+)["']/g)) {
      expect(name, `an import in ${file}`).toMatch(/^\.\.?\//);
      waiting.push(join("server", file.startsWith("server/") ? name : `../${name}`));
    }
  }
  expect(seen.size).toBeGreaterThanOrEqual(8);
});

test("its public types name nothing of Node", () => {
  for (const file of readdirSync(join(built, "server")).filter((name) => name.endsWith(".d.ts"))) {
    expect(readFileSync(join(built, "server", file), "utf-8"), file).not.toMatch(/\bBuffer\b|NodeJS|node:/);
  }
});
