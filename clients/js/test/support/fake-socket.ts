/** A WebSocket whose other end is the test. */

import type { SocketLike } from "../../src/host.js";

export type Message = Readonly<Record<string, unknown>> & { readonly type: string };

export const LIMITS = {
  maxMessageSize: 65_536,
  maxWatchedUsers: 1_000,
  maxRooms: 100,
  maxDataSize: 2_048,
  maxTextLength: 140,
  requestsPerSecond: 10,
  requestBurst: 50,
};

export class FakeSocket implements SocketLike {
  readyState = 0;
  onopen: unknown = null;
  onmessage: unknown = null;
  onclose: unknown = null;
  onerror: unknown = null;
  /** Messages that the client sent, oldest first. */
  readonly sent: Message[] = [];
  /** Whether the client closed it. */
  isClosed = false;
  /** Code with which the client closed it. */
  closeCode: number | undefined;
  /** Called with each message of the client. */
  onSend: (message: Message) => void = () => {};

  constructor(
    readonly url: string,
    readonly protocols: readonly string[],
    readonly openedAt: number,
  ) {}

  get parameters(): Record<string, string> {
    const pairs = this.url.split("?")[1]?.split("&") ?? [];
    return Object.fromEntries(pairs.map((pair) => pair.split("=").map(decodeURIComponent)));
  }

  /** Messages of one type that the client sent. */
  sentOf(type: string): Message[] {
    return this.sent.filter((message) => message.type === type);
  }

  send(text: string): void {
    if (this.readyState !== 1) throw new Error(`a message for a socket in state ${this.readyState}`);
    const message = JSON.parse(text) as Message;
    this.sent.push(message);
    this.onSend(message);
  }

  close(code?: number): void {
    if (this.readyState === 3) return;
    this.isClosed = true;
    this.closeCode = code;
    this.readyState = 3;
  }

  /** The handshake succeeds. */
  open(): this {
    this.readyState = 1;
    (this.onopen as (event: unknown) => void)({});
    return this;
  }

  receive(message: Message | { readonly type: string }): this {
    return this.receiveText(JSON.stringify(message));
  }

  receiveText(data: string): this {
    (this.onmessage as (event: unknown) => void)({ data });
    return this;
  }

  /** The connection ends. 1006: without a close frame. */
  drop(code = 1006, reason = ""): void {
    this.readyState = 3;
    if (code === 1006) (this.onerror as (event: unknown) => void)({});
    (this.onclose as (event: unknown) => void)({ code, reason });
  }

  /** The handshake succeeds, and the server sends its first messages, with these snapshots. */
  establish(
    fields: Readonly<Record<string, unknown>> = {},
    now = this.openedAt,
    snapshots: readonly Message[] = [],
  ): this {
    this.open();
    this.receive({
      type: "CONNECTION_ESTABLISHED",
      userId: "ada",
      timestamp: new Date(now).toISOString(),
      connectionId: `ada-${now}`,
      sessionId: "session-1",
      resumed: false,
      epoch: "epoch-1",
      serverTime: now,
      heartbeatInterval: 30,
      resumeWindow: 120,
      settling: 0,
      limits: LIMITS,
      ...fields,
    });
    this.receive({ type: "SELF", status: "online", chosen: "auto", cause: "connect" });
    for (const message of snapshots) this.receive(message);
    return this.receive({ type: "PRESENCE_CHANGES", position: "epoch-1-1", users: [] });
  }

  /** Accept every request, those that were sent already included. */
  acceptAll(): this {
    const accept = ({ type, id }: Message) => {
      if (id === undefined) return;
      if (type === "PING") this.receive({ type: "PONG", id, serverTime: this.openedAt });
      else this.receive({ type: "ACK", id });
    };
    for (const message of [...this.sent]) accept(message);
    // The answer arrives later than `send` returns, as from any server.
    this.onSend = (message) => queueMicrotask(() => this.readyState === 1 && accept(message));
    return this;
  }
}
