/// <reference types="node" />
/** The real server as a process that a test can kill and restart, with short times. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

/** Set PRESENCED_COMMAND to test another installation. */
export const COMMAND = resolve(process.env.PRESENCED_COMMAND ?? "../../.venv/bin/presenced");
export const PYTHON = join(dirname(COMMAND), "python");

const START_MS = 60_000;

/** Settings of this machine must not change what is tested. */
const ENVIRON = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^PRESENCED_|^PORT$/.test(name)));

const SETTINGS = {
  PRESENCED_GRACE_GOING_AWAY: "0.1",
  PRESENCED_GRACE_LOST: "0.2",
  PRESENCED_SETTLING: "0.2",
  PRESENCED_STATS_INTERVAL: "0",
};

export class Presenced {
  url = "";
  #process: ChildProcess | undefined;
  readonly #folder = mkdtempSync(join(tmpdir(), "presenced-js-"));

  constructor(readonly settings: Readonly<Record<string, string>>) {}

  /** Start the server on a free port, or on its port of before. */
  async start(): Promise<this> {
    const port = this.url ? new URL(this.url).port : "0";
    const child = spawn(COMMAND, ["serve", "--port", port], {
      cwd: this.#folder,
      env: { ...ENVIRON, ...SETTINGS, ...this.settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    let output = "";
    await new Promise<void>((started, failed) => {
      const timer = setTimeout(() => failed(new Error(`no banner:\n${output}`)), START_MS);
      const read = (text: Buffer) => {
        output += text;
        const [, url] = /Test page +(\S+)\n/.exec(output) ?? [];
        if (!url) return;
        clearTimeout(timer);
        this.url = url;
        started();
      };
      child.stdout?.on("data", read);
      child.stderr?.on("data", read);
      child.on("error", failed);
      child.on("exit", (code) => failed(new Error(`it ended with ${code}:\n${output}`)));
    });
    return this;
  }

  /** End the server as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode) return;
    const ended = new Promise((resolve) => child.on("exit", resolve));
    child.kill("SIGKILL");
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Make an API key: the key, and its entry in the settings. */
export function newKey(scope: "read" | "write" | "admin"): { key: string; entry: string } {
  const output = execFileSync(COMMAND, ["api-key", "--scope", scope], { encoding: "utf-8", env: ENVIRON });
  const [, key, entry] = /^(pk_\S+).*"(\w+:sha256:\w+)"/s.exec(output) ?? [];
  if (!key || !entry) throw new Error(`unexpected output: ${output}`);
  return { key, entry };
}

/** Wait until the condition holds. */
export async function until(condition: () => unknown, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
