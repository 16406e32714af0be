/**
 * The client's copy of the server's state: users, rooms and counts.
 *
 * When the server sends everything again, the copy stays visible. Until the server has sent a scope again, that scope is
 * *awaited*: it is shown, but it is not known.
 *
 * The copy holds only state that is *covered*: the server has agreed to send its changes, or will be asked to. Everything
 * else is forgotten, because it would become wrong unnoticed.
 */

import type { DesiredState } from "./desired-state.js";
import { createKeyed } from "./keyed.js";
import { collect } from "./pages.js";
import type { Requests } from "./requests.js";
import { createRooms } from "./rooms.js";
import { createRoster } from "./roster.js";
import { bitsOf, COUNT, EVERYONE, FULL, JOIN, nameOf, ROOM, setBits, USER } from "./scope.js";
import type { PresenceCount, PresenceSnapshot, RoomChanges, RoomSnapshot, ServerMessage, UserRecord } from "./wire.js";

export type Replica = ReturnType<typeof createReplica>;

/** `plan` is called when a room must be requested again. */
export function createReplica(desired: DesiredState, requests: Requests, plan: () => void) {
  const rooms = createRooms();
  const roster = createRoster(rooms.hasMember);
  const counts = createKeyed<number | null>(() => null);
  /** Records of the pages of incomplete snapshots, by scope. */
  const incomplete = new Map<string, unknown[]>();
  /** Whether the snapshot of everyone has arrived. */
  let knowsEveryone = false;
  /** Awaited scopes. A key is a bit and a scope. */
  let awaited = new Set<string>();

  const agreedBits = (scope: string): number => bitsOf(requests.agreed, scope);

  const coveredBits = (scope: string): number =>
    agreedBits(scope) | (bitsOf(desired.scopes, scope) & ~bitsOf(requests.refused, scope));

  /** Whether a user is covered. The server may have sent the record before it processed an UNWATCH. */
  const isUserCovered = ({ userId }: UserRecord): boolean =>
    ((coveredBits(EVERYONE) | coveredBits(USER + userId)) & FULL) > 0 || rooms.hasMember(String(userId));

  const isKnown = (scope: string, bits: number): boolean => {
    const name = nameOf(scope);
    if (bits & COUNT && (awaited.has(COUNT + scope) || !counts.known.has(scope))) return false;
    if (!(bits & FULL)) return true;
    // A snapshot of everyone also answers for users by id: the server sends no other one.
    if (scope === EVERYONE || (knowsEveryone && scope.startsWith(USER))) return knowsEveryone;
    if (awaited.has(FULL + scope)) return false;
    return scope.startsWith(USER) ? roster.known.has(name) : rooms.get(name).known;
  };

  /** Forget all state except that of these bits of each scope. */
  const keepOnly = (keptBits: (scope: string) => number): void => {
    rooms.forget((name) => !(keptBits(ROOM + name) & (FULL | JOIN)));
    roster.membersChanged();
    counts.forget((scope) => !(keptBits(scope) & COUNT));
    if (keptBits(EVERYONE) & FULL) return;
    knowsEveryone = false;
    const byId = [...requests.agreed.keys()].filter((scope) => scope.startsWith(USER)).map(nameOf);
    roster.forget((key) => !keptBits(USER + key) && !rooms.hasMember(key), byId);
  };

  const forgetUncovered = (): void => keepOnly(coveredBits);

  const receiveUsers = (message: PresenceSnapshot): void => {
    const users = collect(incomplete, message.watch, message, message.users);
    if (!users) return;
    if (message.watch === EVERYONE) {
      knowsEveryone = true;
      for (const key of awaited) if (key.startsWith(FULL + USER)) awaited.delete(key);
      roster.replaceAll(users);
      // It answers for users by id even if everyone is no longer watched.
      if (!(coveredBits(EVERYONE) & FULL)) forgetUncovered();
    } else {
      for (const { userId } of users) awaited.delete(FULL + USER + userId);
      roster.apply(users.filter(isUserCovered), true);
    }
  };

  const receiveRoom = (message: RoomSnapshot): void => {
    const { room: name } = message;
    const members = collect(incomplete, ROOM + name, message, message.members);
    if (!members || !(coveredBits(ROOM + name) & (FULL | JOIN))) return;
    awaited.delete(FULL + ROOM + name);
    roster.applyMembers(members.map(({ presence }) => presence));
    const before = rooms.get(name).members;
    rooms.replace({ ...message, members });
    roster.membersChanged();
    if ([...before.keys()].some((key) => !rooms.hasMember(key))) forgetUncovered();
  };

  const receiveRoomChanges = (message: RoomChanges): void => {
    const scope = ROOM + message.room;
    // An awaited room needs no changes: the snapshot that follows contains them.
    if (!(coveredBits(scope) & (FULL | JOIN)) || awaited.has(FULL + scope)) return;
    roster.applyMembers((message.members ?? []).map(({ presence }) => presence));
    if (rooms.change(message)) {
      setBits(requests.agreed, scope, agreedBits(scope) & ~FULL);
      plan();
    }
    roster.membersChanged();
    // The server sends no changes of users who left.
    if (message.left || message.mode === "counts") forgetUncovered();
  };

  const receiveCount = ({ room, watch, online }: PresenceCount): void => {
    const scope = room === undefined ? watch : ROOM + room;
    awaited.delete(COUNT + scope);
    if (coveredBits(scope) & COUNT) counts.update([[scope, online]]);
  };

  /** Forget a room that the server has ended, because a newer token of this user does not allow it. */
  const endRoom = (name: string): void => {
    const scope = ROOM + name;
    requests.forget(scope);
    requests.refused.set(scope, COUNT | FULL | JOIN);
    rooms.setJoined(name, false);
    forgetUncovered();
  };

  return {
    roster,
    rooms,
    counts,
    /** Return whether the server has sent all of this scope since `expectAll`. */
    isKnown,
    /** Return the bits of a scope that the server has agreed to, or will be asked for. */
    coveredBits,
    /** Forget state whose changes the server no longer sends. State that is still to be requested stays. */
    forgetUncovered,
    /** Forget state that the server has not agreed to send: more is wanted than the server allows. */
    forgetNotAgreed: () => keepOnly(agreedBits),
    forgetAll() {
      for (const { forget } of [roster, rooms, counts]) forget(() => true);
      knowsEveryone = false;
    },
    /** Expect that the server sends everything again. `settling`: users and members whom it does not name stay for now. */
    expectAll(settling: boolean) {
      incomplete.clear();
      knowsEveryone = false;
      awaited = new Set([
        ...[...roster.known.keys()].map((key) => FULL + USER + key),
        ...[...rooms.known.keys()].map((name) => FULL + ROOM + name),
        ...[...counts.known.keys()].map((scope) => COUNT + scope),
      ]);
      roster.expectAll(settling);
      rooms.expectAll(settling);
    },
    /** Whether all users and members from before `expectAll` are back. */
    isConfirmed: () => roster.isConfirmed() && rooms.isConfirmed(),
    /** Show earlier users and members whom the server has not sent as gone: it knows who has returned. */
    settled() {
      rooms.settled();
      forgetUncovered();
      roster.settled();
    },
    received(message: ServerMessage) {
      if (message.type === "PRESENCE_SNAPSHOT") receiveUsers(message);
      else if (message.type === "PRESENCE_CHANGES") roster.apply(message.users.filter(isUserCovered));
      else if (message.type === "PRESENCE_COUNT") receiveCount(message);
      else if (message.type === "ROOM_SNAPSHOT") receiveRoom(message);
      else if (message.type === "ROOM_CHANGES") receiveRoomChanges(message);
      else if (message.type === "ERROR" && message.room) endRoom(message.room);
    },
  };
}
