/** An environment whose time, chance, sockets and signals a test controls. */

import type { Host, Signal } from "../../src/host.js";
import { createPresence, type PresenceClient, type PresenceOptions } from "../../src/index.js";
import { FakeSocket } from "./fake-socket.js";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly call: () => void;
}

/** Let everything happen that needs no time: microtasks, and those that they start. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 25; turn += 1) await null;
}

/** Return a generator of numbers from 0 to below 1 (mulberry32). The same seed gives the same numbers. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class FakeHost {
  time: number;
  /** All sockets that the client opened, oldest first. */
  readonly sockets: FakeSocket[] = [];
  /** Storage of a page: share it between hosts for a reload, copy it for a duplicated tab. */
  readonly storage: Map<string, string>;
  /** The host that `createPresence` gets. */
  readonly host: Host;
  isHidden = false;
  /** Called with each socket that the client opens. */
  onOpen: (socket: FakeSocket) => void = () => {};
  random: () => number;
  readonly #signals = new Set<(signal: Signal) => void>();
  readonly #inputs = new Set<() => void>();
  readonly #timers = new Set<Timer>();
  #order = 0;

  constructor({ time = 1_700_000_000_000, seed = 1, storage = new Map<string, string>() } = {}) {
    this.time = time;
    this.random = seeded(seed);
    this.storage = storage;
    this.host = {
      openSocket: (url, protocols) => {
        const socket = new FakeSocket(url, protocols, this.time);
        this.sockets.push(socket);
        this.onOpen(socket);
        return socket;
      },
      now: () => this.time,
      random: () => this.random(),
      schedule: (delayMs, call) => {
        this.#order += 1;
        const timer = { at: this.time + Math.max(0, delayMs), order: this.#order, call };
        this.#timers.add(timer);
        return () => this.#timers.delete(timer);
      },
      load: (key) => this.storage.get(key) ?? null,
      save: (key, value) => {
        if (value === null) this.storage.delete(key);
        else this.storage.set(key, value);
      },
      onSignal: (listener) => subscribed(this.#signals, listener),
      onInput: (listener) => subscribed(this.#inputs, listener),
      isHidden: () => this.isHidden,
    };
  }

  /** The socket that the client opened last. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("the client has opened no socket");
    return socket;
  }

  /** Number of listeners and timers that the client has left behind. */
  get leftovers(): number {
    return this.#signals.size + this.#inputs.size + this.#timers.size;
  }

  client(options: PresenceOptions = {}): PresenceClient {
    return createPresence({ url: "wss://presence.test", userId: "ada", activity: false, ...options, host: this.host });
  }

  /** Let time pass. Timers run in their order, each with all that it starts. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    await settle();
    for (let next = this.#next(end); next; next = this.#next(end)) {
      this.time = Math.max(this.time, next.at);
      this.#timers.delete(next);
      next.call();
      await settle();
    }
    this.time = end;
  }

  async signal(signal: Signal): Promise<void> {
    if (signal === "hidden" || signal === "visible") this.isHidden = signal === "hidden";
    for (const listener of [...this.#signals]) listener(signal);
    await settle();
  }

  async input(): Promise<void> {
    for (const listener of [...this.#inputs]) listener();
    await settle();
  }

  #next(end: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.at > end) continue;
      if (!first || timer.at < first.at || (timer.at === first.at && timer.order < first.order)) first = timer;
    }
    return first;
  }
}

function subscribed<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
