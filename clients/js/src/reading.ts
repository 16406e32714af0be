/** Stores that subscribe on the server while they have readers. */

import type { DesiredState } from "./desired-state.js";
import type { Keyed } from "./keyed.js";
import type { Presence, UserId } from "./presence.js";
import type { Replica } from "./replica.js";
import { COUNT, EVERYONE, FULL, ROOM, USER } from "./scope.js";
import { type Store, same } from "./store.js";

export function createReading(desired: DesiredState, { roster, rooms, counts }: Replica) {
  const reading = <T>(
    scopes: readonly string[],
    bit: number,
    get: () => T,
    subscribe: Store<T>["subscribe"],
  ): Store<T> => ({
    get,
    subscribe(listener) {
      const stop = subscribe(listener);
      const end = desired.retain(scopes, bit);
      return () => {
        stop();
        end();
      };
    },
  });

  const single = <T>(values: Keyed<T>, key: string, scope: string, bit = FULL): Store<T> =>
    reading(
      [scope],
      bit,
      () => values.get(key),
      (listener) => values.subscribe([key], listener),
    );

  const users = (ids: Iterable<UserId>): Store<ReadonlyMap<string, Presence>> => {
    const keys = Array.from(ids, String);
    let map: ReadonlyMap<string, Presence> = new Map();
    const get = () => {
      if (keys.some((key) => roster.get(key) !== map.get(key)))
        map = new Map(keys.map((key) => [key, roster.get(key)]));
      return map;
    };
    return reading(
      keys.map((key) => USER + key),
      FULL,
      get,
      (listener) => roster.subscribe(keys, listener),
    );
  };

  return {
    reading,
    users,
    user: (id: UserId) => single<Presence>(roster, String(id), USER + id),
    room: (name: string) => single(rooms, name, ROOM + name),
    count(scope: "everyone" | { room: string }): Store<number | null> {
      const key = scope === EVERYONE ? EVERYONE : ROOM + scope.room;
      return single(counts, key, key, COUNT);
    },
    /** Call `listener` for each change between known states of these users. */
    watch(ids: Iterable<UserId>, listener: (current: Presence, previous: Presence) => void): () => void {
      const store = users(ids);
      let before = store.get();
      return store.subscribe(() => {
        const previous = before;
        before = store.get();
        for (const [key, user] of before) {
          const old = previous.get(key);
          if (old && old !== user && isChange(user, old)) listener(user, old);
        }
      });
    },
  };
}

/** Fields that make no change by themselves: they differ after a restart of the server, though nobody moved. */
const BOOKKEEPING = { version: 0, since: 0, lastSeen: 0, cause: "" };

function isChange(user: Presence, old: Presence): boolean {
  if (user.status === "unknown" || old.status === "unknown") return false;
  return !same({ ...user, ...BOOKKEEPING }, { ...old, ...BOOKKEEPING });
}
