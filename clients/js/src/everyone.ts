/** Everyone who is not offline, as a store. The map is built at most ten times a second: copying 10,000 takes 4 ms. */

import type { Host } from "./host.js";
import type { Everyone } from "./presence.js";
import type { Roster } from "./roster.js";
import { createListeners, type Store } from "./store.js";

const PAUSE_MS = 100;

export function createEveryone(host: Host, roster: Roster): Store<Everyone> & { flush(): void } {
  const { add, notify } = createListeners();
  let map: Everyone | undefined;
  let publishedAt = 0;
  let isPlanned = false;

  const publish = (): void => {
    if (!isPlanned) return;
    isPlanned = false;
    publishedAt = host.now();
    map = undefined;
    notify();
  };

  roster.changed.add(() => {
    if (isPlanned) return;
    isPlanned = true;
    const wait = Math.min(publishedAt + PAUSE_MS - host.now(), PAUSE_MS); // the clock may go back
    if (wait > 0) host.schedule(wait, publish);
    else publish();
  });

  return {
    get() {
      map ??= Object.assign(new Map([...roster.known].filter(([, { online }]) => online)), {
        known: roster.isComplete(),
      });
      return map;
    },
    subscribe: add,
    /** Show changes that wait for the pause to end. */
    flush: publish,
  };
}
