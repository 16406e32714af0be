/** The client's log, and its last lines for bug reports. */

import { guarded } from "./store.js";

/** One line of the client's log. It never contains tokens. */
export interface LogEntry {
  /** Epoch milliseconds. */
  readonly at: number;
  readonly kind: "received" | "sent" | "state";
  readonly text: string;
}

/** What the client knows of itself, for bug reports. */
export type Report = Readonly<Record<string, unknown>>;

/** Number of entries kept for `explain`. The oldest is dropped. */
const MAX_ENTRIES = 50;

/** Maximum length of the text of a kept entry. */
const MAX_TEXT = 500;

export class Trace {
  readonly #entries: LogEntry[] = [];
  readonly #log: ((entry: LogEntry) => void) | undefined;
  readonly #now: () => number;

  constructor(now: () => number, log: ((entry: LogEntry) => void) | undefined) {
    this.#now = now;
    this.#log = log ?? (isDebugged() ? console.debug : undefined);
  }

  get entries(): readonly LogEntry[] {
    return this.#entries;
  }

  add(kind: LogEntry["kind"], text: string): void {
    const entry = { at: this.#now(), kind, text };
    this.#entries.push({ ...entry, text: text.slice(0, MAX_TEXT) });
    if (this.#entries.length > MAX_ENTRIES) this.#entries.shift();
    const log = this.#log;
    if (log) guarded(() => log(entry));
  }
}

function isDebugged(): boolean {
  try {
    return localStorage.presenced === "debug";
  } catch {
    return false; // there is none, or the browser forbids it
  }
}
