/** The client's log, and its last lines for bug reports. */

import { guarded } from "./store.js";

/** One line of the client's log. It never contains tokens. */
export interface LogEntry {
  /** Epoch milliseconds. */
  readonly at: number;
  readonly kind: "received" | "sent" | "state";
  readonly text: string;
}

/** State of the client, for bug reports. */
export type Report = Readonly<Record<string, unknown>>;

/** Number of entries kept for `explain`, and their length. The oldest is dropped. */
const MAX_ENTRIES = 50;
const MAX_TEXT = 500;

export function createTrace(now: () => number, log: ((entry: LogEntry) => void) | undefined) {
  const entries: LogEntry[] = [];
  const print = log ?? (isDebugged() ? console.debug : undefined);
  return {
    entries,
    add(kind: LogEntry["kind"], text: string) {
      const entry = { at: now(), kind, text };
      entries.push({ ...entry, text: text.slice(0, MAX_TEXT) });
      if (entries.length > MAX_ENTRIES) entries.shift();
      if (print) guarded(() => print(entry));
    },
  };
}

function isDebugged(): boolean {
  try {
    return localStorage.presenced === "debug";
  } catch {
    return false; // there is none, or the browser forbids it
  }
}
