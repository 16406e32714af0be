/**
 * One session of presenced.v1: what the server has sent, and what it is asked for.
 *
 *     new session       the server knows nothing of this client: everything wanted is requested
 *     resumed           the server sends what was missed
 *     resynced          the same session, but the server sends everything again
 *
 * In all three cases what is shown stays, and changes only where the server says something else. The session has
 * *caught up* when everything requested is answered and known.
 */

import { createModuleRequests } from "./calls.js";
import type { DesiredState } from "./desired-state.js";
import type { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import { createKeyed } from "./keyed.js";
import { createOutbox, type Message } from "./outbox.js";
import { createOwnStatus } from "./own-status.js";
import { createRooms } from "./rooms.js";
import { createRoster } from "./roster.js";
import { bitsOf, COUNT, EVERYONE, FULL, JOIN, nameOf, ROOM, USER } from "./scope.js";
import { type Self, toSelf } from "./self.js";
import { createListeners, createValue } from "./store.js";
import { createSubscriptions } from "./subscriptions.js";
import type { ConnectionEstablished, RoomSnapshot, SelfMessage, ServerMessage, UserRecord } from "./wire.js";

export type Outcome = "resumed" | "resynced" | "new-session";

/** State that survives a reload of the page. */
export interface SavedSession {
  readonly sessionId: string;
  readonly agreed: readonly (readonly [scope: string, bits: number])[];
  readonly data: readonly (readonly [scope: string, data: unknown])[];
  /** The next URL names the choice again, for a server that has restarted meanwhile. */
  readonly self: SelfMessage | undefined;
}

export type Session = ReturnType<typeof createSession>;

export function createSession(host: Host, desired: DesiredState) {
  const rooms = createRooms();
  const roster = createRoster(rooms.hasMember);
  const counts = createKeyed<number | null>(() => null);
  const self = createValue<Self | null>(null);
  const caughtUp = createValue(false);
  const settling = createValue(false);
  const reconnected = createListeners<[{ outcome: Outcome }]>();
  const rejected = createListeners<[PresenceError]>();
  const reject = (error: PresenceError) => {
    if (rejected.size()) rejected.notify(error);
    else console.warn(`presenced: ${error.message} (${error.code})`); // nobody would know otherwise
  };
  const moduleRequests = createModuleRequests();
  const ownStatus = createOwnStatus(host);
  const subscriptions = createSubscriptions(desired, {
    ended: () => forgetUncovered(),
    endedUnsurely() {
      position = ""; // the next connection gets everything again
    },
    joined: rooms.setJoined,
    rejected: reject,
  });
  const { requests } = subscriptions;
  const outbox = createOutbox(host, [subscriptions, ownStatus, moduleRequests], reject, () => checkCaughtUp());
  /** Records of the pages of incomplete snapshots, by what they are of. */
  const pages = new Map<string, unknown[]>();
  let established: ConnectionEstablished | undefined;
  let lastSelf: SelfMessage | undefined;
  let sessionId = "";
  let position = "";
  let outcome: Outcome | undefined;
  let hasChanges = false;
  let knowsEveryone = false;
  /** Scopes, after their bit, that are known from an earlier session, and that this one has not answered yet. */
  let awaited = new Set<string>();
  /** What the server sends again on its own, because the session is the same. */
  let resynced: [scope: string, bits: number][] = [];
  let cancelSettling: (() => void) | undefined;

  /** Collect a page. Return the records of all pages with the last one: they appear together. */
  const collect = <T>(key: string, { page, pages: total }: { page: number; pages: number }, records: readonly T[]) => {
    const all = [...(page > 1 ? ((pages.get(key) as T[] | undefined) ?? []) : []), ...records];
    pages.set(key, all);
    if (page < total) return undefined;
    pages.delete(key);
    return all;
  };

  const settle = (seconds: number): void => {
    cancelSettling?.();
    settling.set(seconds > 0);
    if (!seconds) return;
    cancelSettling = host.schedule(seconds * 1_000, () => {
      if (caughtUp.get()) settled();
      settling.set(false);
    });
  };

  /** The server knows who has returned: earlier users and members that it has not sent are gone. */
  const settled = (): void => {
    rooms.settled();
    forgetUncovered();
    roster.settled();
  };

  /** Whether a scope is wanted and not refused, or was not yet ended with the server. */
  const isWanted = (scope: string, bits: number): boolean => {
    const wanted = bitsOf(desired.scopes, scope) & ~bitsOf(requests.refused, scope);
    return ((bitsOf(requests.agreed, scope) | wanted) & bits) !== 0;
  };

  /** Whether the state of a user is wanted. The server may have sent it before it processed an UNWATCH. */
  const covers = ({ userId }: UserRecord): boolean =>
    isWanted(EVERYONE, FULL) || isWanted(USER + userId, FULL) || rooms.hasMember(String(userId));

  const isKnown = (scope: string, bits: number): boolean => {
    const name = nameOf(scope);
    if (bits & COUNT && (awaited.has(COUNT + scope) || !counts.known.has(scope))) return false;
    if (!(bits & FULL)) return true;
    // A snapshot of everyone is the answer for users by id, too: the server sends no other one.
    if (scope === EVERYONE || (knowsEveryone && scope.startsWith(USER))) return knowsEveryone;
    if (awaited.has(FULL + scope)) return false;
    return scope.startsWith(USER) ? roster.known.has(name) : rooms.get(name).known;
  };

  const checkCaughtUp = (): void => {
    if (caughtUp.get() || !hasChanges || !outbox.isDone()) return;
    if (![...requests.agreed].every(([scope, bits]) => isKnown(scope, bits))) return;
    forgetUncovered(false); // what is wanted and not agreed to now is more than the server allows
    if (!settling.get()) settled();
    caughtUp.set(true);
    if (outcome) reconnected.notify({ outcome });
    outcome = undefined;
  };

  /**
   * Forget users and rooms if the server no longer sends their changes. State that is wanted, and that a new session has
   * not requested yet, stays as known.
   */
  const forgetUncovered = (keepsWanted = true): void => {
    const has = (scope: string, bits: number): boolean =>
      keepsWanted ? isWanted(scope, bits) : (bitsOf(requests.agreed, scope) & bits) !== 0;
    rooms.forget((name) => !has(ROOM + name, FULL | JOIN));
    roster.membersChanged();
    counts.forget((scope) => !has(scope, COUNT));
    if (has(EVERYONE, FULL)) return;
    knowsEveryone = false;
    const byId = [...requests.agreed.keys()].filter((scope) => scope.startsWith(USER)).map(nameOf);
    roster.forget((key) => !has(USER + key, FULL) && !rooms.hasMember(key), byId);
  };

  /**
   * The server has sent the whole session again. Of what is missing, it has not received the request, or it has ended
   * the room, and the message about that was lost.
   */
  const requestMissing = (): void => {
    const missing = resynced.filter(([scope, bits]) => !isKnown(scope, bits));
    resynced = [];
    for (const [scope] of missing) requests.forget(scope);
    if (missing.length) outbox.plan();
  };

  /** The next connection begins a new session. The known state stays. */
  const end = (): void => {
    sessionId = position = "";
    requests.clear();
  };

  const forget = (): void => {
    const all = () => true;
    roster.forget(all);
    rooms.forget(all);
    counts.forget(all);
    knowsEveryone = false;
    position = ""; // if the session can still be resumed, the server must send everything again
  };

  return {
    roster,
    rooms,
    counts,
    self,
    /** Whether all that is wanted is known, since the connection opened. */
    caughtUp,
    /** Whether a server that has just started does not know yet which of the known users return. */
    settling,
    reconnected,
    rejected,
    moduleRequests,
    ownStatus,
    subscriptions,
    outbox,
    end,
    /** Forget all users, rooms and counts. */
    forget,
    established: () => established,
    lastSelf: () => lastSelf,
    sessionId: () => sessionId,
    position: () => position,

    /** A connection opened. */
    opened(message: ConnectionEstablished, send: (message: Message) => void) {
      const isSame = message.sessionId === sessionId;
      outcome = !sessionId ? undefined : message.resumed ? "resumed" : isSame ? "resynced" : "new-session";
      if (established && established.epoch !== message.epoch) ownStatus.restarted();
      established = message;
      sessionId = message.sessionId;
      hasChanges = false;
      resynced = isSame && !message.resumed ? [...requests.agreed] : [];
      if (!isSame) {
        requests.clear();
        // A member who left meanwhile sends no LEAVE.
        for (const name of rooms.joined())
          if (!(bitsOf(desired.scopes, ROOM + name) & JOIN)) rooms.setJoined(name, false);
      }
      if (!message.resumed) {
        requests.refused.clear(); // the token may allow more
        position = "";
        knowsEveryone = false;
        awaited = new Set([
          ...[...roster.known.keys()].map((key) => FULL + USER + key),
          ...[...rooms.known.keys()].map((name) => FULL + ROOM + name),
          ...[...counts.known.keys()].map((scope) => COUNT + scope),
        ]);
        roster.expectAll(message.settling > 0);
        rooms.expectAll(message.settling > 0);
        settle(roster.known.size + rooms.known.size ? message.settling : 0);
      }
      outbox.open(send, message.limits);
    },

    /** The connection ended. The session may be resumed. */
    lost() {
      pages.clear();
      outbox.close();
      caughtUp.set(false);
    },

    /** Forget everything, because the user signed out. */
    reset() {
      settle(0);
      end();
      forget();
      lastSelf = undefined;
      ownStatus.reset();
      self.set(null);
    },

    save: (): SavedSession => ({
      sessionId,
      agreed: [...requests.agreed],
      data: [...requests.sentData],
      self: lastSelf,
    }),

    /** Go on with the session of the page before its reload. Without a position, the server sends everything again. */
    restore(saved: SavedSession) {
      sessionId = saved.sessionId;
      lastSelf = saved.self;
      for (const [scope, bits] of saved.agreed) {
        requests.agreed.set(scope, bits);
        if (bits & JOIN) rooms.setJoined(nameOf(scope), true);
      }
      for (const [scope, data] of saved.data) requests.sentData.set(scope, data);
    },

    received(message: ServerMessage) {
      switch (message.type) {
        case "PRESENCE_SNAPSHOT": {
          const users = collect(message.watch, message, message.users);
          if (!users) break;
          if (message.watch === EVERYONE) {
            knowsEveryone = true;
            for (const key of awaited) if (key.startsWith(FULL + USER)) awaited.delete(key);
            roster.replaceAll(users);
            // It is the answer for users by id, too, even if everyone is no longer watched.
            if (!isWanted(EVERYONE, FULL)) forgetUncovered();
          } else {
            for (const { userId } of users) awaited.delete(FULL + USER + userId);
            roster.apply(users.filter(covers), true);
          }
          break;
        }
        case "PRESENCE_CHANGES":
          position = message.position;
          hasChanges = true;
          requestMissing();
          roster.apply(message.users.filter(covers));
          break;
        case "PRESENCE_COUNT":
          {
            const scope = message.room === undefined ? message.watch : ROOM + message.room;
            awaited.delete(COUNT + scope);
            if (isWanted(scope, COUNT)) counts.update([[scope, message.online]]);
          }
          break;
        case "ROOM_SNAPSHOT": {
          const members = collect<RoomSnapshot["members"][number]>(ROOM + message.room, message, message.members);
          if (!members || !isWanted(ROOM + message.room, FULL | JOIN)) break;
          awaited.delete(FULL + ROOM + message.room);
          roster.applyMembers(members.map(({ presence }) => presence));
          const before = rooms.get(message.room).members;
          rooms.replace({ ...message, members });
          roster.membersChanged();
          if ([...before.keys()].some((key) => !rooms.hasMember(key))) forgetUncovered();
          break;
        }
        case "ROOM_CHANGES":
          if (!isWanted(ROOM + message.room, FULL | JOIN)) break;
          if (awaited.has(FULL + ROOM + message.room)) break; // the snapshot that follows has them, too
          roster.applyMembers((message.members ?? []).map(({ presence }) => presence));
          if (rooms.change(message)) {
            requests.requestAgain(ROOM + message.room);
            outbox.plan();
          }
          roster.membersChanged();
          // The server sends no changes of users who left.
          if (message.left || message.mode === "counts") forgetUncovered();
          break;
        case "ERROR":
          if (!message.room) break;
          requests.forget(ROOM + message.room);
          requests.refused.set(ROOM + message.room, COUNT | FULL | JOIN);
          for (const bit of [COUNT, FULL]) awaited.delete(bit + ROOM + message.room);
          rooms.setJoined(message.room, false);
          forgetUncovered();
          break;
        case "SELF":
          lastSelf = message;
          ownStatus.selfChanged(message);
          self.set(toSelf(established?.userId ?? "", message));
      }
      checkCaughtUp();
      if (settling.get() && caughtUp.get() && roster.isConfirmed() && rooms.isConfirmed()) {
        settled(); // all who were there are back
        settle(0);
      }
    },
  };
}
