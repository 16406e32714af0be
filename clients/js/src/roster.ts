/**
 * Users as far as they are known.
 *
 *     unknown --record--> known --newer record--> known --forget--> unknown
 *
 * When the connection is lost, known users stay. If the server then sends everything again, they are *unconfirmed*: any
 * version replaces them, and users whom the server does not mention are offline. A server that has just started does not
 * know yet which users return, so unconfirmed users stay as they are until it has settled.
 */

import { createKeyed } from "./keyed.js";
import { type Presence, type RecordOf, toPresence, type UserId } from "./presence.js";
import { createListeners, same } from "./store.js";

export type Roster = ReturnType<typeof createRoster>;

/** `isMember` returns whether a user is a member of a known room. */
export function createRoster(isMember: (key: string) => boolean) {
  /** Whether users without a record are offline, because a snapshot of everyone does not name them. */
  let isComplete = false;
  const users = createKeyed<Presence>((key) =>
    toPresence({ userId: toUserId(key), status: isComplete ? "offline" : "unknown" }),
  );
  const changed = createListeners();
  const versions = new Map<string, number>();
  let unconfirmed = new Set<string>();
  /**
   * Records that say "never seen" about members of rooms: the viewer may see these users in the room only. They count
   * when the member leaves.
   */
  const hidden = new Map<string, RecordOf>();
  let isSettling = false;

  /** Return the users of records that are newer than the known ones. `ofRoom`: the records are those of members. */
  const newer = (records: Iterable<RecordOf>, ofRoom = false): Presence[] => {
    const news: Presence[] = [];
    for (const record of records) {
      const key = String(record.userId);
      const { version = 0 } = record;
      const known = users.known.get(key);
      if (ofRoom && known && isNeverSeen(known)) {
        hidden.set(key, known);
        versions.delete(key);
      } else if (isNeverSeen(record) && isMember(key)) {
        hidden.set(key, record);
        continue;
      }
      const isUnconfirmed = unconfirmed.has(key);
      const isNewer = version > (versions.get(key) ?? -1);
      // The record of a member comes before the room, or once more after it, only if its user is visible by id.
      if (!ofRoom && (isUnconfirmed || !isNewer)) hidden.delete(key);
      if (isUnconfirmed) {
        if (isSettling && record.since === 0) continue; // the server does not know this user yet
        unconfirmed.delete(key);
      } else if (!isNewer) continue;
      versions.set(key, version);
      news.push(toPresence(record));
    }
    return news;
  };

  const publish = (news: readonly Presence[], complete = isComplete): void => {
    const isRenewed = complete !== isComplete;
    let isVisible = false;
    const changes: [string, Presence | undefined][] = [];
    for (const user of news) {
      const key = String(user.userId);
      const before = users.get(key);
      const isSame = same({ ...before, version: 0 }, { ...user, version: 0 });
      // A user may be known now and look the same, if the snapshot of everyone did not name this user.
      const next = isSame ? before : user;
      changes.push([key, next.status === "unknown" ? undefined : next]);
      isVisible ||= !isSame;
    }
    isComplete = complete;
    users.update(changes, isRenewed);
    if (isVisible || isRenewed) changed.notify();
  };

  /** Return the known users with `isGone` as offline, except users who are offline already. */
  const gone = (isGone: (key: string) => boolean): Presence[] =>
    [...users.known]
      .filter(([key, { status }]) => status !== "offline" && isGone(key))
      .map(([, { userId, version }]) => toPresence({ userId, status: "offline", version }));

  /** Let records of the known versions count, too: after AUTH with another token, their contents may differ. */
  const expectOther = (records: readonly RecordOf[]): void => {
    for (const { userId } of records) versions.delete(String(userId));
  };

  return {
    ...users,
    /** Listeners to all changes. */
    changed,
    /** Whether everyone is known. */
    isComplete: () => isComplete,
    /** Apply changes, or a snapshot of users by id. */
    apply(records: readonly RecordOf[], isSnapshot = false) {
      if (isSnapshot) expectOther(records);
      publish(newer(records));
    },
    /** Apply the records of members of a room. */
    applyMembers: (records: Iterable<RecordOf>) => publish(newer(records, true)),
    /** Apply hidden records of users who have left all rooms. */
    membersChanged() {
      const left = [...hidden].filter(([key]) => !isMember(key));
      for (const [key] of left) {
        hidden.delete(key);
        versions.delete(key);
      }
      publish(newer(left.map(([, record]) => record)));
    },
    /** Apply a complete snapshot of everyone. Users without a record are offline. */
    replaceAll(records: readonly RecordOf[]) {
      expectOther(records);
      const named = new Set(records.map(({ userId }) => String(userId)));
      for (const key of named) hidden.delete(key); // visible by id
      const absent = gone((key) => {
        if (named.has(key) || (isSettling && unconfirmed.has(key))) return false;
        // In a room, users are visible who otherwise are not.
        if (isMember(key)) hidden.set(key, { userId: toUserId(key), status: "offline", since: 0 });
        return !isMember(key);
      });
      publish([...newer(records), ...absent], true);
    },
    /** Expect that the server sends everything again. Earlier versions do not count, because it may have restarted. */
    expectAll(settling: boolean) {
      isSettling = settling;
      versions.clear();
      hidden.clear();
      unconfirmed = new Set(users.known.keys());
    },
    /** Whether the server has sent every user who is shown as online. */
    isConfirmed: () => ![...unconfirmed].some((key) => users.get(key).status !== "offline"),
    /** Show all users as certain, because the server is certain again. */
    assure() {
      for (const [key, record] of hidden) hidden.set(key, { ...record, certainty: "" });
      publish([...users.known.values()].filter(({ certain }) => !certain).map((user) => ({ ...user, certain: true })));
    },
    /** Show unconfirmed users as offline: the server has sent everyone who is there. */
    settled() {
      isSettling = false;
      const absent = gone((key) => unconfirmed.has(key));
      unconfirmed.clear();
      publish(absent);
    },
    /** Forget users, so that they are unknown again. `stays`: other users who are subscribed to. */
    forget(isForgotten: (key: string) => boolean, stays: readonly string[] = []) {
      const keys = [...users.known.keys()].filter(isForgotten);
      const unnamed = isComplete ? stays.filter((key) => !users.known.has(key)).map(users.get) : [];
      for (const key of keys) {
        versions.delete(key);
        hidden.delete(key);
        unconfirmed.delete(key);
      }
      publish([...keys.map((key) => toPresence({ userId: key })), ...unnamed], false);
    },
  };
}

function isNeverSeen({ since, status }: RecordOf): boolean {
  return since === 0 && status === "offline";
}

/** Return an id as the server writes it: canonical whole numbers are numbers. */
function toUserId(key: string): UserId {
  const number = Number(key);
  return Number.isSafeInteger(number) && number >= 0 && String(number) === key ? number : key;
}
