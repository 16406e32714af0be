/** A browser with tabs: locks, channels, a common clock, and a server. A tab can close, crash, freeze or hang. */

import { vi } from "vitest";
import type { Signal } from "../../src/host.js";
import { createPresence, type Host, type PresenceClient, type PresenceOptions } from "../../src/index.js";
import { sharedTabs } from "../../src/tabs/index.js";
import { Server, type ServerSocket } from "./server.js";

/** Let everything happen that needs no time. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 300; turn += 1) await null;
}

interface Waiting {
  readonly tab: Tab;
  readonly callback: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const aborted = (): Error => Object.assign(new Error("the lock was taken away"), { name: "AbortError" });

/** The locks of an origin. */
class Locks {
  readonly #held = new Map<string, Waiting>();
  readonly #aborts = new Map<AbortSignal, (() => void)[]>();
  readonly #queues = new Map<string, Waiting[]>();

  request(tab: Tab, name: string, { signal, steal }: LockOptions, callback: () => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const waiting = { tab, callback, resolve, reject };
      const queue = this.#queues.get(name) ?? [];
      this.#queues.set(name, queue);
      if (steal) {
        this.#held.get(name)?.reject(aborted());
        this.#held.delete(name);
        queue.unshift(waiting);
      } else queue.push(waiting);
      if (signal) {
        this.#onAbort(signal, () => {
          if (queue.includes(waiting)) reject(aborted());
          this.#drop(name, waiting);
        });
      }
      if (signal?.aborted) reject(aborted());
      this.#next(name);
    });
  }

  /** A tab is gone: so are its locks and requests. */
  end(tab: Tab): void {
    for (const [name, queue] of this.#queues)
      for (const waiting of [...queue]) if (waiting.tab === tab) this.#drop(name, waiting);
    for (const [name, waiting] of [...this.#held]) if (waiting.tab === tab) this.#release(name, waiting);
  }

  /** Node.js warns of many listeners to one signal, so there is one. */
  #onAbort(signal: AbortSignal, call: () => void): void {
    const calls = this.#aborts.get(signal) ?? [];
    if (!calls.length) signal.addEventListener("abort", () => calls.forEach((each) => void each()));
    this.#aborts.set(signal, calls);
    calls.push(call);
  }

  #drop(name: string, waiting: Waiting): void {
    const queue = this.#queues.get(name) ?? [];
    if (queue.includes(waiting)) queue.splice(queue.indexOf(waiting), 1);
  }

  #release(name: string, waiting: Waiting): void {
    if (this.#held.get(name) !== waiting) return;
    this.#held.delete(name);
    this.#next(name);
  }

  #next(name: string): void {
    queueMicrotask(() => {
      const [waiting] = this.#queues.get(name) ?? [];
      if (!waiting || this.#held.has(name)) return;
      this.#drop(name, waiting);
      this.#held.set(name, waiting);
      void (async () => {
        const value = await waiting.callback();
        this.#release(name, waiting);
        waiting.resolve(value);
      })();
    });
  }
}

export class Browser {
  time = 1_700_000_000_000;
  readonly server = new Server(() => this.time);
  readonly locks = new Locks();
  readonly tabs: Tab[] = [];
  /** Everything that was said on the channels. */
  readonly said: Readonly<Record<string, unknown>>[] = [];
  canShare = true;
  /** A tab that receives nothing from the others. */
  deaf: Tab | undefined;

  open(options: PresenceOptions & { userId?: string } = {}, storage?: Map<string, string>): Tab {
    const tab = new Tab(this, this.tabs.length + 1, options, storage);
    this.tabs.push(tab);
    return tab;
  }

  /** Let time pass. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const timers = this.tabs.flatMap((tab) => (tab.isRunning ? [...tab.timers] : []));
      const next = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.time = Math.max(this.time, next.at);
      next.tab.timers.delete(next);
      next.call();
    }
    this.time = end;
  }
}

interface Timer {
  readonly tab: Tab;
  readonly at: number;
  readonly call: () => void;
}

export class Tab {
  readonly client: PresenceClient;
  readonly timers = new Set<Timer>();
  readonly channels = new Set<{ readonly name: string; onmessage?: (event: { data: unknown }) => void }>();
  readonly sockets: ServerSocket[] = [];
  readonly states: string[] = [];
  /** False once it is closed or crashed, and while it hangs. */
  isRunning = true;
  isHidden = false;
  tokens = 0;
  readonly #signals = new Set<(signal: Signal) => void>();
  readonly #inputs = new Set<() => void>();
  #late: (() => void)[] = [];

  constructor(
    readonly browser: Browser,
    number: number,
    options: PresenceOptions,
    readonly storage = new Map<string, string>(),
  ) {
    const tab = this;
    let count = 0;
    const host: Host = {
      openSocket: (url, protocols) => {
        const socket = browser.server.connect(url, protocols);
        this.sockets.push(socket);
        return socket;
      },
      now: () => browser.time,
      random: () => {
        count += 1;
        return (number * 1_000 + count) / 1_000_000;
      },
      schedule: (delayMs, call) => {
        const timer = { tab, at: browser.time + Math.max(0, delayMs), call };
        this.timers.add(timer);
        return () => this.timers.delete(timer);
      },
      load: (key) => this.storage.get(key) ?? null,
      save: (key, value) => (value === null ? this.storage.delete(key) : this.storage.set(key, value)),
      isHidden: () => this.isHidden,
      onSignal: (listener) => {
        this.#signals.add(listener);
        return () => this.#signals.delete(listener);
      },
      onInput: (listener) => {
        this.#inputs.add(listener);
        return () => this.#inputs.delete(listener);
      },
    };
    const locks = {
      request: (name: string, options: LockOptions, callback: () => unknown) =>
        browser.locks.request(this, name, options, callback),
    };
    class Channel {
      onmessage?: (event: { data: unknown }) => void;
      constructor(readonly name: string) {
        tab.channels.add(this);
      }
      postMessage(data: unknown): void {
        const copy = structuredClone(data) as Readonly<Record<string, unknown>>;
        browser.said.push(copy);
        for (const other of browser.tabs) {
          if (other === browser.deaf) continue;
          for (const channel of other.channels) {
            if ((channel as unknown) === this || channel.name !== this.name) continue;
            other.run(() => other.channels.has(channel) && channel.onmessage?.({ data: structuredClone(copy) }));
          }
        }
      }
      close(): void {
        tab.channels.delete(this);
      }
    }
    vi.stubGlobal("navigator", browser.canShare ? { locks } : {});
    vi.stubGlobal("BroadcastChannel", Channel);
    this.client = createPresence({
      url: "wss://presence.test",
      activity: false,
      tabs: sharedTabs(options.userId ?? "ada"),
      linger: 0,
      ...options,
      host,
    });
    vi.unstubAllGlobals();
    this.client.connection.subscribe(() => {
      const { state } = this.client.connection.get();
      if (this.states.at(-1) !== state) this.states.push(state);
    });
    this.client.connect();
  }

  /** Run a task of this tab; later, while it hangs. */
  run(call: () => void): void {
    queueMicrotask(() => {
      if (this.isRunning) call();
      else this.#late.push(call);
    });
  }

  signal(signal: Signal): void {
    if (signal === "hidden" || signal === "visible") this.isHidden = signal === "hidden";
    for (const listener of [...this.#signals]) listener(signal);
  }

  input(): void {
    for (const listener of [...this.#inputs]) listener();
  }

  /** The tab ends with its process: nothing in it runs afterwards. */
  crash(code = 1006): void {
    this.isRunning = false;
    this.channels.clear();
    this.browser.locks.end(this);
    for (const socket of this.sockets) {
      if (socket.readyState === 3) continue;
      socket.readyState = 3;
      this.browser.server.ended(socket, code);
    }
  }

  /** A person closes the tab. */
  end(): void {
    this.signal("leaving");
    this.crash(1001);
  }

  /** Its event loop stops for a while. */
  hang(): void {
    this.isRunning = false;
  }

  wake(): void {
    this.isRunning = true;
    for (const call of this.#late.splice(0)) call();
  }

  status(userId: string): string {
    return this.client.user(userId).get().status;
  }

  /** Read users, as a component does. Return the end of it. */
  read(...ids: string[]): () => void {
    return this.client.users(ids).subscribe(() => {});
  }
}
