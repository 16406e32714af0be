/** The conversations of `spec/vectors`, and a client that takes part in one. */

/// <reference types="vite/client" />

import type { Membership, PresenceClient } from "../../src/index.js";
import { FakeHost, settle } from "./fake-host.js";
import type { FakeSocket, Message } from "./fake-socket.js";

export interface Step {
  readonly at: number;
  readonly client?: string;
  readonly do: string;
  readonly query?: string;
  readonly subprotocol?: string;
  readonly token?: string;
  readonly syntheticPosition?: boolean;
  readonly message?: Message;
  readonly text?: string;
  readonly code?: number;
  readonly users?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly rooms?: Readonly<Record<string, ExpectedRoom>>;
  readonly counts?: { readonly everyone?: number; readonly rooms?: Readonly<Record<string, number>> };
  readonly self?: Readonly<Record<string, unknown>>;
  readonly stale?: boolean;
}

interface ExpectedRoom {
  readonly mode: string;
  readonly count: number;
  readonly members?: Readonly<Record<string, unknown>>;
}

export interface Conversation {
  readonly name: string;
  readonly epochMs: number;
  readonly steps: readonly Step[];
}

const files: Record<string, string> = import.meta.glob("../../../../spec/vectors/v1-*.jsonl", {
  query: "?raw",
  import: "default",
  eager: true,
});

/** All conversations. Names of versions are replaced by their numbers, because versions are compared. */
export const conversations: readonly Conversation[] = Object.entries(files).map(([path, text]) => {
  const lines = text
    .replace(/"\$version-[^"]*-(\d+)"/g, "$1")
    .trim()
    .split("\n");
  const [head, ...steps] = lines.map((line) => JSON.parse(line));
  return { name: path.replace(/.*\//, ""), epochMs: head.epochMs, steps };
});

/** One client of a conversation: it wants what its lines `send` request, and the test is its server. */
export class Participant {
  readonly host: FakeHost;
  client: PresenceClient | undefined;
  #socket: FakeSocket | undefined;
  #token: string | undefined;
  #epochMs: number;
  /** Functions that end each reading and membership, by the scope of the request. */
  readonly #ends = new Map<string, () => void>();
  readonly #members = new Map<string, Membership>();
  /** ERROR messages to come, by the step that they answer. */
  #refusal: Message | undefined;

  constructor(epochMs: number, storage?: Map<string, string>) {
    this.#epochMs = epochMs;
    this.host = new FakeHost({ time: epochMs, ...(storage ? { storage } : {}) });
  }

  /** Let time pass until this step. */
  async wait(at: number): Promise<void> {
    await this.host.advance(Math.max(0, this.#epochMs + at * 1_000 - this.host.time));
  }

  /** Connect, and return what the URL says. */
  async connect(step: Step, token: string | undefined): Promise<Record<string, string>> {
    const query = Object.fromEntries(new URLSearchParams(step.query));
    this.#token = token;
    if (!this.client) {
      this.client = this.host.client({
        ...(query.userId ? { userId: query.userId } : { userId: undefined as never }),
        ...(query.device ? { device: query.device } : {}),
        ...(token ? { token: () => this.#token ?? "" } : {}),
        linger: 0,
        activity: false,
      });
      this.client.on("rejected", () => {}); // without a listener, the client prints a warning
      // A new session watches everyone unless the URL says otherwise. This client always says otherwise.
      if (query.watch !== "none") this.#want("everyone", () => this.client?.everyone.subscribe(() => {}));
    }
    if (query.activity) this.client.setActive(query.activity === "active");
    const pending = this.#pendingSocket();
    if (!pending) await this.#start();
    this.#socket = this.#pendingSocket();
    if (!this.#socket) throw new Error("the client has opened no socket");
    this.#socket.onSend = (message) => queueMicrotask(() => this.#answer(message));
    this.#socket.open();
    await settle();
    return this.#socket.parameters;
  }

  async #start(): Promise<void> {
    const state = this.client?.connection.get().state;
    if (state === "waiting" && this.#isFrozen) {
      this.#isFrozen = false;
      await this.host.signal("restored");
      await this.host.advance(0);
    } else if (state === "waiting" || state === "failed") this.client?.retry();
    else this.client?.connect();
    await settle();
  }

  #isFrozen = false;

  #pendingSocket(): FakeSocket | undefined {
    const socket = this.host.sockets.at(-1);
    return socket && socket.readyState === 0 ? socket : undefined;
  }

  async hear(message: Message): Promise<void> {
    // Answers to requests are given by `#answer`, because this client chooses its own requests.
    if (message.type === "ACK" || message.type === "PONG" || (message.type === "ERROR" && "id" in message)) return;
    this.#socket?.receive(message);
    await settle();
  }

  async close(code: number): Promise<void> {
    if (code === 4001) {
      this.#isFrozen = true;
      await this.host.signal("frozen");
    } else if (code === 1001 || code === 1006) this.#drop(1006);
    else this.client?.close();
    await settle();
  }

  async closed(code: number): Promise<void> {
    this.#drop(code);
    await settle();
  }

  #drop(code: number): void {
    if (this.#socket?.readyState === 1) this.#socket.drop(code);
  }

  /** Make the client want what this request asks for. `refusal` is the server's answer, if it refuses. */
  async send(message: Message, refusal: Message | undefined): Promise<void> {
    this.#refusal = refusal;
    this.#request(message as Message & Fields);
    await settle();
    await this.host.advance(0); // the end of what lingers
    this.#refusal = undefined;
  }

  #request({ type, users = [], rooms = [], everyone, mode, room = "", data, state, token, ...rest }: Message & Fields) {
    const { client } = this;
    if (!client) return;
    const counts = mode === "count";
    if (type === "WATCH") {
      if (everyone && counts) this.#want("count everyone", () => client.count("everyone").subscribe(() => {}));
      else if (everyone) this.#want("everyone", () => client.everyone.subscribe(() => {}));
      for (const id of counts ? [] : users) this.#want(`user ${id}`, () => client.user(id).subscribe(() => {}));
      for (const name of rooms) {
        if (counts) this.#want(`count ${name}`, () => client.count({ room: name }).subscribe(() => {}));
        else this.#want(`room ${name}`, () => client.room(name).subscribe(() => {}));
      }
    } else if (type === "UNWATCH") {
      if (everyone) this.#end("everyone", "count everyone");
      for (const id of users) this.#end(`user ${id}`);
      for (const name of rooms) this.#end(`room ${name}`, `count ${name}`);
    } else if (type === "JOIN" || type === "SET_MEMBER") {
      const member = this.#members.get(room);
      if (member) void member.setData(data ?? undefined).catch(() => {});
      else if (type === "JOIN") this.#members.set(room, client.join(room, data));
    } else if (type === "LEAVE") {
      this.#members.get(room)?.leave();
      this.#members.delete(room);
      this.#end(`room ${room}`);
    } else if (type === "SET_STATUS") void client.setStatus(rest as never).catch(() => {});
    else if (type === "ACTIVITY") client.setActive(state === "active");
    else if (type === "AUTH" && token) {
      // The client renews its token when the server asks for it.
      this.#token = token;
      this.#socket?.receive({ type: "AUTH_EXPIRING", expiresAt: this.host.time + 60_000 } as never);
    }
  }

  #want(scope: string, subscribe: () => (() => void) | undefined): void {
    if (!this.#ends.has(scope)) this.#ends.set(scope, subscribe() ?? (() => {}));
  }

  #end(...scopes: readonly string[]): void {
    for (const scope of scopes) {
      this.#ends.get(scope)?.();
      this.#ends.delete(scope);
    }
  }

  #answer({ type, id }: Message): void {
    const socket = this.#socket;
    if (socket?.readyState !== 1 || id === undefined) return;
    if (type === "PING") socket.receive({ type: "PONG", id, serverTime: this.host.time } as never);
    else if (this.#refusal) socket.receive({ ...this.#refusal, id });
    else socket.receive({ type: "ACK", id } as never);
  }
}

interface Fields {
  readonly users?: readonly (string | number)[];
  readonly rooms?: readonly string[];
  readonly everyone?: boolean;
  readonly mode?: string;
  readonly room?: string;
  readonly data?: unknown;
  readonly state?: string;
  readonly token?: string;
}
