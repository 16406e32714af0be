/// <reference types="node" />

/** The real server as a process, and clients of it over real sockets. */

import { type ChildProcess, spawn } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

import WebSocket from "ws";

import { createPresence, type PresenceClient, type PresenceOptions, type SocketLike } from "../../src/index.js";

const COMMAND =
  process.env.PRESENCED_COMMAND ?? fileURLToPath(new URL("../../../../.venv/bin/presenced", import.meta.url));

/** Milliseconds to wait for anything. */
export const PATIENCE_MS = 20_000;

export const JWT_KEY = "a secret of at least thirty-two bytes";
const API_KEY = "pk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/** Wait until the condition holds. */
export async function until(condition: () => unknown, what = String(condition)): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export class RealServer {
  #process: ChildProcess | undefined;
  #port = 0;
  readonly #folder = mkdtempSync(join(tmpdir(), "presenced-"));
  readonly #settings: Readonly<Record<string, string>>;

  constructor(settings: Readonly<Record<string, string | number>> = {}) {
    const entry = `admin:sha256:${createHash("sha256").update(API_KEY).digest("hex")}`;
    const all = { status_pause: 0, grace_going_away: 0.5, grace_lost: 2, settling: 2, api_keys: entry, ...settings };
    this.#settings = Object.fromEntries(
      Object.entries(all).map(([name, value]) => [`PRESENCED_${name.toUpperCase()}`, String(value)]),
    );
  }

  get url(): string {
    return `ws://localhost:${this.#port}`;
  }

  /** Start the process, after the first time on the same port. */
  async start(): Promise<this> {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith("PRESENCED_"));
    const child = spawn(COMMAND, ["serve", "--port", String(this.#port)], {
      cwd: this.#folder,
      env: { ...Object.fromEntries(environment), ...this.#settings, PYTHONUNBUFFERED: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (output += String(data)));
    child.on("error", (error) => (output += String(error)));
    this.#process = child;
    await until(() => /ws:\/\/localhost:\d+/.test(output) || child.exitCode !== null, "the server's address");
    this.#port = Number(/ws:\/\/localhost:(\d+)/.exec(output)?.[1] ?? 0);
    if (!this.#port) throw new Error(`the server did not start: ${output}`);
    return this;
  }

  /** End the process: with SIGKILL, nothing is said to anyone. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Send a request to the HTTP API. */
  async request(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const response = await fetch(`http://localhost:${this.#port}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${API_KEY}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : {};
  }
}

/** Return a JWT that the server accepts. */
export function jwt(userId: string, expiresIn: number, claims: Readonly<Record<string, unknown>> = {}): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Date.now() / 1_000;
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ sub: userId, iat: now, exp: now + expiresIn, ...claims })}`;
  return `${text}.${createHmac("sha256", JWT_KEY).update(text).digest("base64url")}`;
}

/** A client over real sockets, and these sockets. */
export class RealClient {
  readonly presence: PresenceClient;
  readonly sockets: WebSocket[] = [];
  /** Names of the states of its connection, and of its `reconnected` events. */
  readonly history: string[] = [];

  constructor(url: string, options: PresenceOptions = {}) {
    const openSocket = (address: string, protocols: string[]) => {
      const socket = new WebSocket(address, protocols);
      this.sockets.push(socket);
      return socket as unknown as SocketLike;
    };
    this.presence = createPresence({ url, activity: false, ...options, host: { openSocket, ...options.host } });
    this.presence.on("connection", ({ state }) => this.history.at(-1) !== state && this.history.push(state));
    this.presence.on("reconnected", ({ outcome }) => this.history.push(outcome));
    this.presence.connect();
  }

  get state(): string {
    return this.presence.connection.get().state;
  }

  get socket(): WebSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("the client has opened no socket");
    return socket;
  }

  /** Lose the connection without a close frame. */
  lose(): void {
    this.socket.terminate();
  }

  async ready(): Promise<this> {
    await until(() => !this.presence.connection.get().stale, "a client that has caught up");
    return this;
  }

  status(id: string | number): string {
    return this.presence.user(id).get().status;
  }

  read(...ids: readonly (string | number)[]): this {
    for (const id of ids) this.presence.user(id).subscribe(() => {});
    return this;
  }
}

/** Let these users be online, without a client library. A server may refuse some of so many handshakes at once. */
export async function crowd(server: RealServer, ids: readonly string[]): Promise<WebSocket[]> {
  const waiting = [...ids];
  const sockets: WebSocket[] = [];
  const connect = async () => {
    for (let id = waiting.pop(); id; id = waiting.pop()) {
      const socket = new WebSocket(`${server.url}/ws-online-status?watch=none&userId=${id}`, "presenced.v1");
      const isOpen = await new Promise((resolve) => {
        socket.once("open", () => resolve(true)).on("error", () => resolve(false));
      });
      if (isOpen) sockets.push(socket);
      else waiting.push(id);
    }
  };
  await Promise.all(Array.from({ length: 32 }, connect));
  return sockets;
}
