/** One connection of the server in memory: messages take time, keep their order, and get lost with it. */

import type { FakeHost } from "./fake-host.js";
import type { FakeSocket, LIMITS, Message } from "./fake-socket.js";

export interface Session {
  readonly id: string;
  everyone: boolean;
  readonly users: Set<string>;
  readonly rooms: Set<string>;
  readonly joined: Map<string, unknown>;
  readonly counts: Set<string>;
  isIdle: boolean;
  /** Number of its messages PRESENCE_CHANGES. */
  writes: number;
  /** The write after its last snapshot. A client that did not receive it cannot resume. */
  resumableFrom: number;
}

export class Link {
  session: Session | undefined;
  isAlive = true;
  #arrivesAt = 0;
  #repliesAt = 0;
  #tokens: number;
  #countedAt: number;

  constructor(
    readonly socket: FakeSocket,
    readonly host: FakeHost,
    readonly latency: () => number,
    readonly limits: typeof LIMITS,
    readonly trace: string[],
  ) {
    this.#tokens = limits.requestBurst;
    this.#countedAt = host.time;
  }

  /** Call `handle` for each message of the client, when it arrives. */
  listen(handle: (message: Message) => void): void {
    this.socket.onSend = (message) => {
      this.trace.push(`${this.host.time} > ${JSON.stringify(message)}`);
      this.#arrivesAt = Math.max(this.#arrivesAt, this.host.time + this.latency());
      this.host.host.schedule(this.#arrivesAt - this.host.time, () => this.isAlive && handle(message));
    };
  }

  send(message: Message): void {
    this.#repliesAt = Math.max(this.#repliesAt, this.host.time + this.latency());
    const text = JSON.stringify(message);
    this.host.host.schedule(this.#repliesAt - this.host.time, () => {
      if (!this.isAlive || this.socket.readyState !== 1) return;
      this.trace.push(`${this.host.time} < ${text}`);
      this.socket.receiveText(text);
    });
  }

  /** Nothing passes from now on. The client notices it later. */
  lose(noticedAfter: number): void {
    this.isAlive = false;
    this.host.host.schedule(noticedAfter, () => {
      if (this.socket.readyState !== 3) this.socket.drop(1006);
    });
  }

  /** Return whether the rate of requests allows one more. */
  isAllowed(): boolean {
    const { requestsPerSecond, requestBurst } = this.limits;
    const gained = ((this.host.time - this.#countedAt) / 1_000) * requestsPerSecond;
    this.#tokens = Math.min(requestBurst, this.#tokens + gained);
    this.#countedAt = this.host.time;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
