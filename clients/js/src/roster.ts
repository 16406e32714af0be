/**
 * Users as far as they are known.
 *
 *     unknown --record--> known --newer record--> known --forget--> unknown
 *
 * After a loss, known users stay. If the server then sends everything again, they are *unconfirmed*: any version
 * replaces them, and users whom the server does not mention are offline. A server that has just started does not know
 * yet who returns, so unconfirmed users stay as they are until it has settled.
 */

import { createKeyed } from "./keyed.js";
import { type Presence, type RecordOf, toPresence, type UserId } from "./presence.js";
import { createListeners, same } from "./store.js";

export type Roster = ReturnType<typeof createRoster>;

export function createRoster() {
  const users = createKeyed<Presence>((key) => toPresence({ userId: toUserId(key) }));
  const changed = createListeners();
  const versions = new Map<string, number>();
  let unconfirmed = new Set<string>();
  /** Users of whom no record has come since `expectAll`, not even one that says nothing yet. */
  let unanswered = new Set<string>();
  let isSettling = false;

  /** Return what newer records say. Old versions are ignored. */
  const newer = (records: Iterable<RecordOf>): Presence[] => {
    const news: Presence[] = [];
    for (const record of records) {
      const key = String(record.userId);
      const { version = 0 } = record;
      unanswered.delete(key);
      if (unconfirmed.has(key)) {
        if (isSettling && record.since === 0) continue; // the server does not know this user yet
        unconfirmed.delete(key);
      } else if (version <= (versions.get(key) ?? -1)) continue;
      versions.set(key, version);
      news.push(toPresence(record));
    }
    return news;
  };

  const publish = (news: readonly Presence[]): void => {
    const changes = news
      .filter((user) => !same({ ...users.get(String(user.userId)), version: 0 }, { ...user, version: 0 }))
      .map((user) => [String(user.userId), user.status === "unknown" ? undefined : user] as const);
    if (!changes.length) return;
    users.update(changes);
    changed.notify();
  };

  /** Known users who are not offline and for whom `isGone` holds are offline now. */
  const gone = (isGone: (key: string) => boolean): Presence[] =>
    [...users.known]
      .filter(([key, { status }]) => status !== "offline" && isGone(key))
      .map(([, { userId, version }]) => toPresence({ userId, status: "offline", version }));

  return {
    ...users,
    /** Return whether a user is known, and not only from before `expectAll`. */
    isCurrent: (key: string) => users.known.has(key) && !unanswered.has(key),
    /** Listeners to all changes. */
    changed,
    apply: (records: Iterable<RecordOf>) => publish(newer(records)),
    /** A complete snapshot of everyone: users without a record are offline. */
    replaceAll(records: readonly RecordOf[]) {
      const named = new Set(records.map(({ userId }) => String(userId)));
      // After AUTH with another token, the same versions may have other contents.
      for (const key of named) versions.delete(key);
      const absent = gone((key) => !named.has(key) && !(isSettling && unconfirmed.has(key)));
      publish([...newer(records), ...absent]);
    },
    /** The server sends everything again. Earlier versions do not count, because it may have started anew. */
    expectAll(settling: boolean) {
      isSettling = settling;
      unconfirmed = new Set(users.known.keys());
      unanswered = new Set(unconfirmed);
    },
    /** The server knows who has returned, or has sent everything: all others are offline. */
    settled() {
      isSettling = false;
      const absent = gone((key) => unconfirmed.has(key));
      unconfirmed.clear();
      publish(absent);
    },
    /** Forget users, so that they are unknown again. */
    forget(isForgotten: (key: string) => boolean) {
      const keys = [...users.known.keys()].filter(isForgotten);
      for (const key of keys) {
        versions.delete(key);
        unconfirmed.delete(key);
        unanswered.delete(key);
      }
      publish(keys.map((key) => toPresence({ userId: key })));
    },
  };
}

/** Return an id as the server writes it: canonical whole numbers are numbers. */
function toUserId(key: string): UserId {
  const number = Number(key);
  return Number.isSafeInteger(number) && number >= 0 && String(number) === key ? number : key;
}
