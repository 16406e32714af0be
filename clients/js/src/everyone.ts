/** Everyone who is not offline, as a store. The map is built at most ten times a second: copying 10,000 takes 4 ms. */

import type { Host } from "./host.js";
import type { Presence } from "./presence.js";
import type { Roster } from "./roster.js";
import { createListeners, type Store } from "./store.js";

const PAUSE_MS = 100;

export function createEveryone(host: Host, roster: Roster): Store<ReadonlyMap<string, Presence>> {
  const { add, notify } = createListeners();
  let map: ReadonlyMap<string, Presence> | undefined;
  let publishedAt = 0;
  let isPlanned = false;

  const publish = (): void => {
    isPlanned = false;
    publishedAt = host.now();
    map = undefined;
    notify();
  };

  roster.changed.add(() => {
    if (isPlanned) return;
    const wait = publishedAt + PAUSE_MS - host.now();
    isPlanned = wait > 0;
    if (isPlanned) host.schedule(wait, publish);
    else publish();
  });

  return {
    get() {
      map ??= new Map([...roster.known].filter(([, { online }]) => online));
      return map;
    },
    subscribe: add,
  };
}
