/**
 * What the application wants to know and to be: the sum of its readers and memberships.
 *
 * A *scope* is `everyone`, `user ID` or `room NAME`. How it is wanted is a set of bits. Whatever is read no longer
 * lingers for a while, so that a component that unmounts and mounts again costs nothing.
 *
 *     wanted --last reader leaves--> lingering --`linger` seconds--> not wanted
 *        ^------- a reader comes --------'
 */

import type { Host } from "./host.js";
import { once, same } from "./store.js";

export const COUNT = 1;
export const FULL = 2;
/** A member also receives the room in full. */
export const JOIN = 4;

export const EVERYONE = "everyone";
export const USER = "user ";
export const ROOM = "room ";

export class DesiredState {
  /** Bits of each wanted scope. */
  readonly scopes = new Map<string, number>();
  /** Data of the joined rooms, by scope. */
  readonly data = new Map<string, unknown>();
  readonly #readers = new Map<string, number>();
  /** When each scope without a reader ends, oldest first. */
  readonly #lingering = new Map<string, number>();
  #cancelSweep: (() => void) | undefined;
  readonly #host: Host;
  readonly #lingerMs: number;
  readonly #changed: () => void;

  /** `changed` is called whenever more or less is wanted. */
  constructor(host: Host, lingerMs: number, changed: () => void) {
    this.#host = host;
    this.#lingerMs = lingerMs;
    this.#changed = changed;
  }

  /** Want these scopes until the returned function is called. */
  retain(scopes: Iterable<string>, bits: number): () => void {
    const keys = [...new Set(scopes)].map((scope) => `${bits}${scope}`);
    for (const key of keys) {
      this.#readers.set(key, (this.#readers.get(key) ?? 0) + 1);
      this.#lingering.delete(key);
    }
    this.#update(keys);
    return once(() => {
      const ends = bits === JOIN ? 0 : this.#host.now() + this.#lingerMs;
      for (const key of keys) {
        const left = (this.#readers.get(key) ?? 1) - 1;
        if (left) this.#readers.set(key, left);
        else {
          this.#readers.delete(key);
          if (ends) this.#lingering.set(key, ends);
          else this.data.delete(key.slice(1));
        }
      }
      if (ends) this.#planSweep();
      else this.#update(keys);
    });
  }

  /** Set the member's data in a joined room. */
  setData(scope: string, data: unknown): void {
    if (this.data.has(scope) && same(this.data.get(scope), data)) return;
    this.data.set(scope, data);
    this.#changed();
  }

  /** End what has lingered longest, until at most `maximum` users are wanted or nothing lingers. */
  dropLingering(maximum: number): void {
    let users = [...this.scopes.keys()].filter((scope) => scope.startsWith(USER)).length;
    for (const key of [...this.#lingering.keys()]) {
      if (users <= maximum) return;
      if (!key.startsWith(FULL + USER)) continue;
      this.#lingering.delete(key);
      this.#update([key]);
      users -= 1;
    }
  }

  /** Nothing lingers any more. */
  clear(): void {
    this.#cancelSweep?.();
    this.#cancelSweep = undefined;
    const keys = [...this.#lingering.keys()];
    this.#lingering.clear();
    this.#update(keys);
  }

  #update(keys: readonly string[]): void {
    let changed = false;
    for (const key of keys) {
      const scope = key.slice(1);
      let bits = 0;
      for (const bit of [COUNT, FULL, JOIN]) {
        if (this.#readers.has(bit + scope) || this.#lingering.has(bit + scope)) bits |= bit;
      }
      if (bits === (this.scopes.get(scope) ?? 0)) continue;
      changed = true;
      if (bits) this.scopes.set(scope, bits);
      else this.scopes.delete(scope);
    }
    if (changed) this.#changed();
  }

  #planSweep(): void {
    const [first] = this.#lingering.values();
    if (this.#cancelSweep || first === undefined) return;
    this.#cancelSweep = this.#host.schedule(Math.max(0, first - this.#host.now()), () => {
      this.#cancelSweep = undefined;
      const now = this.#host.now();
      // A scope that is read again has left `#lingering` meanwhile.
      const over = [...this.#lingering].filter(([, ends]) => ends <= now).map(([key]) => key);
      for (const key of over) this.#lingering.delete(key);
      this.#update(over);
      this.#planSweep();
    });
  }
}
