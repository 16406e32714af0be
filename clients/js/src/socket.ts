/** One connection: a socket that reports its end exactly once. */

import type { Host, SocketLike } from "./host.js";
import { NO_CODE } from "./retry.js";

interface Hooks {
  opened(): void;
  received(text: string): void;
  ended(code: number, reason: string): void;
}

export class Socket {
  readonly openedAt: number;
  readonly #socket: SocketLike;

  /** Throw whatever `openSocket` of the host throws. */
  constructor(host: Host, url: string, protocols: string[], hooks: Hooks) {
    this.openedAt = host.now();
    this.#socket = host.openSocket(url, protocols);
    this.#socket.onopen = () => hooks.opened();
    this.#socket.onmessage = (event: { data: unknown }) => hooks.received(String(event.data));
    this.#socket.onerror = () => {}; // `onclose` follows
    this.#socket.onclose = (event: { code?: number; reason?: string } | undefined) => {
      this.#detach();
      hooks.ended(event?.code ?? NO_CODE, event?.reason ?? "");
    };
  }

  send(text: string): void {
    if (this.#socket.readyState === 1) this.#socket.send(text);
  }

  /** Close, and report nothing any more. */
  close(code?: number): void {
    this.#detach();
    this.#socket.close(code);
  }

  #detach(): void {
    // A socket whose `onerror` is null lets some hosts print the error.
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = this.#socket.onerror = () => {};
  }
}
