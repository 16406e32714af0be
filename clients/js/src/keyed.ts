/** Values by key, as stores. All changes of one update appear together: first all values change, then listeners are called. */

import { guarded } from "./store.js";

/** Maximum number of unknown values. Beyond it, the oldest is dropped, unless its key has a listener. */
const MAX_UNKNOWN = 10_000;

export interface Keyed<T> {
  readonly known: ReadonlyMap<string, T>;
  /** Return the known value, or an unknown one: the same object until the value changes. */
  get(key: string): T;
  /** Call `listener` after each update that changed one of these keys: once, even if it changed several. */
  subscribe(keys: readonly string[], listener: () => void): () => void;
  /** Set values; `undefined` makes one unknown. `isRenewed`: unknown values are created again, too. */
  update(changes: Iterable<readonly [key: string, value: T | undefined]>, isRenewed?: boolean): void;
  /** Make known values unknown. */
  forget(isForgotten: (key: string) => boolean): void;
}

/** Create a map of stores. `createUnknown` returns the value of a key that is not known. */
export function createKeyed<T>(createUnknown: (key: string) => T): Keyed<T> {
  const known = new Map<string, T>();
  const unknown = new Map<string, T>();
  const listeners = new Map<string, Set<() => void>>();
  const update = (changes: Iterable<readonly [key: string, value: T | undefined]>, isRenewed = false): void => {
    const calls = new Set<() => void>();
    const changed = (key: string) => {
      for (const call of listeners.get(key) ?? []) calls.add(call);
    };
    for (const [key, value] of changes) {
      if (value === known.get(key)) continue;
      if (value !== (known.get(key) ?? unknown.get(key))) changed(key);
      if (value === undefined) known.delete(key);
      else known.set(key, value);
      unknown.delete(key);
    }
    if (isRenewed) {
      for (const key of unknown.keys()) changed(key);
      unknown.clear();
    }
    for (const call of calls) guarded(call);
  };

  return {
    known,
    get(key) {
      const value = known.get(key) ?? unknown.get(key) ?? createUnknown(key);
      if (known.has(key) || unknown.has(key)) return value;
      unknown.set(key, value);
      const [oldest] = unknown.keys();
      if (unknown.size > MAX_UNKNOWN && oldest !== undefined && !listeners.has(oldest)) unknown.delete(oldest);
      return value;
    },
    subscribe(keys, listener) {
      const call = () => listener(); // its identity counts: the same listener may be added twice
      for (const key of keys) {
        const calls = listeners.get(key) ?? new Set();
        listeners.set(key, calls.add(call));
      }
      return () => {
        for (const key of keys) {
          const calls = listeners.get(key);
          if (calls?.delete(call) && !calls.size) listeners.delete(key);
        }
      };
    },
    update,
    forget: (isForgotten) => update([...known.keys()].filter(isForgotten).map((key) => [key, undefined])),
  };
}
