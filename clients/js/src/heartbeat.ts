/**
 * Finds connections that are dead although the browser reports them as open, as after a sleep.
 *
 * A browser answers the server's pings by itself, and does not show them. So the client sends a PING of its own when
 * nothing has arrived for a heartbeat interval, while somebody may be looking.
 */

import type { Host } from "./host.js";

/** Milliseconds without any message after a PING, until the connection counts as lost. */
const PROBE_MS = 3_000;
const HEARTBEAT_MS = 10_000;

/** A message this recent proves that the connection works. */
const RECENT_MS = 2_000;

interface Hooks {
  ping(): void;
  lost(): void;
}

export class Heartbeat {
  isVisible = true;
  readonly #host: Host;
  readonly #hooks: Hooks;
  #intervalMs = 0;
  #heardAt = 0;
  #cancel: (() => void) | undefined;

  constructor(host: Host, hooks: Hooks) {
    this.#host = host;
    this.#hooks = hooks;
  }

  start(intervalMs: number): void {
    this.#intervalMs = intervalMs;
    this.#heardAt = this.#host.now();
    this.#wait();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#intervalMs = 0;
  }

  /** A message arrived. */
  heard(): void {
    this.#heardAt = this.#host.now();
  }

  /** The page or the network is back: find out soon whether the connection still works. */
  probe(): void {
    if (this.#intervalMs && this.#host.now() - this.#heardAt >= RECENT_MS) this.#ping(PROBE_MS);
  }

  #wait(): void {
    this.#cancel?.();
    const silence = this.#host.now() - this.#heardAt;
    this.#cancel = this.#host.schedule(Math.max(0, this.#intervalMs - silence), () => {
      if (this.#host.now() - this.#heardAt < this.#intervalMs) this.#wait();
      else if (this.isVisible) this.#ping(HEARTBEAT_MS);
      else this.start(this.#intervalMs); // nobody looks: ask again after another interval
    });
  }

  #ping(patienceMs: number): void {
    const sentAt = this.#host.now();
    this.#hooks.ping();
    this.#cancel?.();
    this.#cancel = this.#host.schedule(patienceMs, () => {
      if (this.#heardAt < sentAt) this.#hooks.lost();
      else this.#wait();
    });
  }
}
