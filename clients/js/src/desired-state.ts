/**
 * Desired state of the application: the sum of its readers and memberships.
 *
 * A scope without readers lingers for a while, so that a component that unmounts and mounts again costs nothing.
 *
 *     wanted --last reader leaves--> lingering --`linger` seconds--> not wanted
 *        ^----- another reader ---------'
 */

import type { Host } from "./host.js";
// Numbers of readers are stored like bits: a key with 0 has no entry.
import { bitsOf, bitsOf as countOf, FULL, JOIN, setBits, setBits as setCount, USER } from "./scope.js";
import { once } from "./store.js";

export type DesiredState = ReturnType<typeof createDesiredState>;

/** `changed` is called when more or less is wanted. */
export function createDesiredState(host: Host, lingerMs: number, changed: () => void) {
  /** Bits of each wanted scope. */
  const scopes = new Map<string, number>();
  /** Data of the joined rooms, by scope. */
  const data = new Map<string, unknown>();
  /** Numbers of readers. A key is a bit and a scope. */
  const readers = new Map<string, number>();
  /** When the last reader of each key left, oldest first. */
  const lingering = new Map<string, number>();

  const update = (keys: Iterable<string>): void => {
    let isChanged = false;
    for (const key of keys) {
      const scope = key.slice(1);
      const bit = Number(key[0]);
      const before = bitsOf(scopes, scope);
      const after = readers.has(key) || lingering.has(key) ? before | bit : before & ~bit;
      setBits(scopes, scope, after);
      isChanged ||= after !== before;
    }
    if (isChanged) changed();
  };

  /** End the scopes that have lingered since this time or longer. A scope that is read again lingers no more. */
  const sweep = (since: number): void => {
    const over = [...lingering].filter(([, start]) => start <= since).map(([key]) => key);
    for (const key of over) lingering.delete(key);
    update(over);
  };

  return {
    scopes,
    data,
    /** Want these scopes until the returned function is called. */
    retain(wanted: readonly string[], bit: number): () => void {
      const keys = wanted.map((scope) => bit + scope);
      for (const key of keys) {
        setCount(readers, key, countOf(readers, key) + 1);
        lingering.delete(key);
      }
      update(keys);
      return once(() => {
        const now = host.now();
        for (const key of keys) {
          setCount(readers, key, countOf(readers, key) - 1);
          if (readers.has(key)) continue;
          if (bit === JOIN) data.delete(key.slice(1));
          else lingering.set(key, now);
        }
        update(keys);
        changed(); // users beyond the server's limit may take the place of those that linger
        if (bit !== JOIN) host.schedule(lingerMs, () => sweep(now));
      });
    },
    /** End the users who have lingered longest, until at most `maximum` are wanted. Return whether more are left. */
    dropLingering(maximum: number): boolean {
      const excess = [...scopes.keys()].filter((scope) => scope.startsWith(USER)).length - maximum;
      const dropped = [...lingering.keys()].filter((key) => key.startsWith(FULL + USER)).slice(0, Math.max(0, excess));
      for (const key of dropped) lingering.delete(key);
      update(dropped);
      return excess > dropped.length;
    },
  };
}
