/**
 * Desired state of the application: the sum of its readers and memberships.
 *
 * A *scope* is `everyone`, `user ID` or `room NAME`. A set of bits says how it is wanted. A scope without readers
 * lingers for a while, so that a component that unmounts and mounts again costs nothing.
 *
 *     wanted --last reader leaves--> lingering --`linger` seconds--> not wanted
 *        ^------- a reader comes --------'
 */

import type { Host } from "./host.js";
import { once } from "./store.js";

export const COUNT = 1;
export const FULL = 2;
/** A member also receives the room in full. */
export const JOIN = 4;

export const EVERYONE = "everyone";
export const USER = "user ";
export const ROOM = "room ";

export type DesiredState = ReturnType<typeof createDesiredState>;

/** `changed` is called whenever more or less is wanted. */
export function createDesiredState(host: Host, lingerMs: number, changed: () => void) {
  /** Bits of each wanted scope. */
  const scopes = new Map<string, number>();
  /** Data of the joined rooms, by scope. */
  const data = new Map<string, unknown>();
  /** Numbers of readers. A key is a bit and a scope. */
  const readers = new Map<string, number>();
  /** When each key without a reader ends, oldest first. */
  const lingering = new Map<string, number>();
  let isSweepPlanned = false;

  const update = (keys: Iterable<string>): void => {
    let isChanged = false;
    for (const key of keys) {
      const scope = key.slice(1);
      const before = scopes.get(scope) ?? 0;
      const bit = Number(key[0]);
      const after = readers.has(key) || lingering.has(key) ? before | bit : before & ~bit;
      if (after) scopes.set(scope, after);
      else scopes.delete(scope);
      isChanged ||= after !== before;
    }
    if (isChanged) changed();
  };

  const planSweep = (): void => {
    const [first] = lingering.values();
    if (isSweepPlanned || first === undefined) return;
    isSweepPlanned = true;
    host.schedule(Math.max(0, first - host.now()), () => {
      isSweepPlanned = false;
      // A scope that is read again has left `lingering` meanwhile.
      const over = [...lingering].filter(([, ends]) => ends <= host.now()).map(([key]) => key);
      for (const key of over) lingering.delete(key);
      update(over);
      planSweep();
    });
  };

  return {
    scopes,
    data,
    /** Want these scopes until the returned function is called. */
    retain(wanted: Iterable<string>, bit: number): () => void {
      const keys = [...new Set(wanted)].map((scope) => bit + scope);
      for (const key of keys) {
        readers.set(key, (readers.get(key) ?? 0) + 1);
        lingering.delete(key);
      }
      update(keys);
      return once(() => {
        for (const key of keys) {
          const left = (readers.get(key) ?? 0) - 1;
          readers.set(key, left);
          if (left > 0) continue;
          readers.delete(key);
          if (bit === JOIN) data.delete(key.slice(1));
          else lingering.set(key, host.now() + lingerMs);
        }
        update(keys);
        planSweep();
      });
    },
    /** End what has lingered longest, until at most `maximum` users are wanted or none lingers. */
    dropLingering(maximum: number) {
      let excess = [...scopes.keys()].filter((scope) => scope.startsWith(USER)).length - maximum;
      for (const key of [...lingering.keys()]) {
        if (excess <= 0) return;
        if (!key.startsWith(FULL + USER)) continue;
        lingering.delete(key);
        update([key]);
        excess -= 1;
      }
    },
  };
}
