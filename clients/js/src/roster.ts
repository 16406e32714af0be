/**
 * Users as far as they are known. All records of one message appear together: first all values change, then listeners
 * are called.
 *
 *     unknown --record--> known --newer record--> known --forget--> unknown
 *
 * After a loss, known users stay. If the server then sends everything again, they are *unconfirmed*: any version
 * replaces them, and users whom the server does not mention are offline. A server that has just started does not know
 * yet who returns, so unconfirmed users stay as they are until it has settled.
 */

import { type Presence, type RecordOf, toPresence, type UserId } from "./presence.js";
import { guarded, Listeners, same } from "./store.js";

/** Maximum number of `unknown` values kept for users without a subscriber. The oldest is dropped. */
const MAX_UNKNOWN = 10_000;

/** Fields that do not make a change by themselves: they differ after a restart of the server, though nobody moved. */
const BOOKKEEPING = { version: 0, since: 0, lastSeen: 0, cause: "" };

export type Change = (current: Presence, previous: Presence) => void;

interface Readers {
  stores: Set<() => void>;
  changes: Set<{ call: Change }>;
}

export class Roster {
  readonly #known = new Map<string, Presence>();
  readonly #unknown = new Map<string, Presence>();
  readonly #readers = new Map<string, Readers>();
  readonly #versions = new Map<string, number>();
  #unconfirmed = new Set<string>();
  #settling = false;
  /** Called after each batch that changed someone who is, or was, online. */
  readonly changed = new Listeners();

  get size(): number {
    return this.#known.size;
  }

  get known(): Iterable<Presence> {
    return this.#known.values();
  }

  get(id: UserId): Presence {
    const key = String(id);
    return this.#known.get(key) ?? this.#unknownUser(key, id);
  }

  isKnown(id: UserId): boolean {
    return this.#known.has(String(id));
  }

  /** Call `listener` after each batch that changed one of these users: once, even if it changed several. */
  subscribe(ids: Iterable<UserId>, listener: () => void): () => void {
    const store = () => listener(); // its identity counts, not that of the listener
    return this.#add(ids, (readers) => readers.stores, store);
  }

  /** Call `change` for each change of one of these users. */
  watch(ids: Iterable<UserId>, call: Change): () => void {
    return this.#add(ids, (readers) => readers.changes, { call });
  }

  /** Apply records. Old versions are ignored. */
  apply(records: Iterable<RecordOf>): void {
    this.#publish(this.#newer(records));
  }

  /** A complete snapshot of everyone: users without a record are offline. */
  replaceAll(records: readonly RecordOf[]): void {
    const named = new Set(records.map(({ userId }) => String(userId)));
    const gone = [...this.#known.values()].filter(({ userId, status }) => {
      const key = String(userId);
      return !named.has(key) && status !== "offline" && !(this.#settling && this.#unconfirmed.has(key));
    });
    this.#publish([...this.#newer(records), ...gone.map(offline)]);
  }

  /** The server sends everything again. Versions of before do not count, because it may have started anew. */
  expectAll(settling: boolean): void {
    this.#settling = settling;
    this.#unconfirmed = new Set(this.#known.keys());
  }

  /** The server knows who has returned, or has sent everything: all others are offline. */
  settled(): void {
    this.#settling = false;
    const gone = [...this.#unconfirmed].flatMap((key) => this.#known.get(key) ?? []);
    this.#unconfirmed = new Set();
    this.#publish(gone.filter(({ status }) => status !== "offline").map(offline));
  }

  /** Forget users, so that they are unknown again. */
  forget(isForgotten: (key: string) => boolean = () => true): void {
    const keys = [...this.#known.keys()].filter(isForgotten);
    for (const key of keys) {
      this.#versions.delete(key);
      this.#unconfirmed.delete(key);
    }
    this.#publish(keys.map((key) => toPresence({ userId: this.#known.get(key)?.userId ?? key })));
  }

  #newer(records: Iterable<RecordOf>): Presence[] {
    const news: Presence[] = [];
    for (const record of records) {
      const key = String(record.userId);
      const version = record.version ?? 0;
      if (this.#unconfirmed.has(key)) {
        if (this.#settling && record.since === 0) continue; // the server does not know this user yet
        this.#unconfirmed.delete(key);
      } else if (version <= (this.#versions.get(key) ?? -1)) continue;
      this.#versions.set(key, version);
      news.push(toPresence(record));
    }
    return news;
  }

  #publish(news: readonly Presence[]): void {
    const changed: [string, Presence, Presence][] = [];
    for (const current of news) {
      const key = String(current.userId);
      const previous = this.get(current.userId);
      if (same({ ...current, version: 0 }, { ...previous, version: 0 })) continue;
      if (current.status === "unknown") this.#known.delete(key);
      else this.#known.set(key, current);
      this.#unknown.delete(key);
      changed.push([key, current, previous]);
    }
    if (!changed.length) return;
    const stores = new Set<() => void>();
    for (const [key] of changed) for (const store of this.#readers.get(key)?.stores ?? []) stores.add(store);
    for (const store of stores) guarded(store);
    this.changed.notify();
    for (const [key, current, previous] of changed) {
      if (previous.status === "unknown" || current.status === "unknown" || isRepeated(current, previous)) continue;
      for (const { call } of [...(this.#readers.get(key)?.changes ?? [])]) guarded(() => call(current, previous));
    }
  }

  #add<T>(ids: Iterable<UserId>, part: (readers: Readers) => Set<T>, entry: T): () => void {
    const keys = new Set([...ids].map(String));
    for (const key of keys) {
      const readers = this.#readers.get(key) ?? { stores: new Set(), changes: new Set() };
      this.#readers.set(key, readers);
      part(readers).add(entry);
    }
    return () => {
      for (const key of keys) {
        const readers = this.#readers.get(key);
        if (!readers) continue;
        part(readers).delete(entry);
        if (!readers.stores.size && !readers.changes.size) this.#readers.delete(key);
      }
    };
  }

  #unknownUser(key: string, id: UserId): Presence {
    const known = this.#unknown.get(key);
    if (known) return known;
    const user = toPresence({ userId: id });
    this.#unknown.set(key, user);
    const [oldest] = this.#unknown.keys();
    if (this.#unknown.size > MAX_UNKNOWN && oldest && !this.#readers.has(oldest)) this.#unknown.delete(oldest);
    return user;
  }
}

function offline({ userId, version }: Presence): Presence {
  return toPresence({ userId, status: "offline", version });
}

function isRepeated(current: Presence, previous: Presence): boolean {
  return same({ ...current, ...BOOKKEEPING }, { ...previous, ...BOOKKEEPING });
}
