/**
 * The state that one session of presenced.v1 has received: an immutable value, and pure functions that update it.
 *
 * A user who is not in `users` is offline. Each function returns its argument if nothing changed.
 */

import { offlineUser, OFFLINE } from "./v1-protocol.js";

/**
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-protocol.js").UserPresence} UserPresence
 * @typedef {import("./v1-protocol.js").Self} Self
 *
 * @typedef {object} Subscription Users and rooms whose changes the server sends.
 * @property {boolean} everyone
 * @property {ReadonlySet<string>} users
 * @property {ReadonlySet<string>} rooms
 *
 * @typedef {UserPresence & { uncertain: boolean }} KnownUser
 *   `uncertain`: known from before a restart of the server, which does not know yet whether the user comes back.
 *
 * @typedef {object} Room
 * @property {string} mode `full`, `coalesced` or `counts`.
 * @property {number} count
 * @property {ReadonlyMap<string, RoomMember>} members Empty in mode `counts`.
 *
 * @typedef {{ joinedAt: number, data: string }} RoomMember
 *
 * @typedef {object} View
 * @property {string} sessionId
 * @property {string} position Position of the last PRESENCE_CHANGES; resuming starts from it.
 * @property {string} epoch Id of the server's start.
 * @property {boolean} settling Whether uncertain users are kept, because the server has just restarted.
 * @property {Subscription} subscription
 * @property {ReadonlyMap<string, KnownUser>} users Users in the subscription and members of its rooms.
 * @property {ReadonlyMap<string, Room>} rooms
 * @property {ReadonlyMap<string, number>} counts Numbers of online users, by `countKey`.
 * @property {Self | null} self
 * @property {ReadonlySet<string> | null} snapshotUsers Users in the received pages of an incomplete snapshot of everyone.
 */

/** @type {Subscription} */
export const NO_SUBSCRIPTION = { everyone: false, users: new Set(), rooms: new Set() };

/** @type {View} */
export const EMPTY_VIEW = {
  sessionId: "",
  position: "",
  epoch: "",
  settling: false,
  subscription: NO_SUBSCRIPTION,
  users: new Map(),
  rooms: new Map(),
  counts: new Map(),
  self: null,
  snapshotUsers: null,
};

/**
 * Return the key of a count in `counts`.
 *
 * @param {string} watch `everyone`, `users` or `room`.
 * @param {string} [room]
 */
export function countKey(watch, room = "") {
  return watch === "room" ? `room ${room}` : watch;
}

/**
 * Begin a new session. Known users stay until the snapshot is complete, so that the two can be compared.
 *
 * @param {View} view
 * @param {Subscription} subscription
 * @returns {View}
 */
export function beginSession(view, subscription) {
  return { ...view, subscription, rooms: new Map(), counts: new Map() };
}

/**
 * Change the subscription, after the server has accepted the change.
 *
 * @param {View} view
 * @param {Subscription} subscription
 * @returns {View}
 */
export function withSubscription(view, subscription) {
  const rooms = new Map([...view.rooms].filter(([name]) => subscription.rooms.has(name)));
  return withoutUnsubscribed({ ...view, subscription, rooms });
}

/**
 * Remove all counts, because the server no longer sends them.
 *
 * @param {View} view
 * @returns {View}
 */
export function withoutCounts(view) {
  return { ...view, counts: new Map() };
}

/**
 * End the time in which users reconnect to a restarted server. Users who have not reconnected are offline.
 *
 * @param {View} view
 * @returns {View}
 */
export function endSettling(view) {
  const users = new Map([...view.users].filter(([, user]) => !user.uncertain));
  return view.settling ? { ...view, settling: false, users } : view;
}

/**
 * A message came.
 *
 * @param {View} view
 * @param {MessageV1} message
 * @returns {View}
 */
export function applyMessage(view, message) {
  switch (message.type) {
    case "CONNECTION_ESTABLISHED":
      return established(view, message);
    case "PRESENCE_SNAPSHOT":
      return snapshot(view, message);
    case "PRESENCE_CHANGES":
      return { ...view, position: message.position, users: withUsers(view, message.users) };
    case "PRESENCE_COUNT":
      return { ...view, counts: new Map(view.counts).set(countKey(message.watch, message.room), message.online) };
    case "ROOM_SNAPSHOT":
      return roomSnapshot(view, message);
    case "ROOM_CHANGES":
      return roomChanges(view, message);
    case "SELF":
      return { ...view, self: message.self };
    default:
      return view;
  }
}

/**
 * Return the users of the subscription: with `everyone` all who are not offline, otherwise all that it names.
 *
 * @param {View} view
 * @returns {KnownUser[]}
 */
export function subscribedUsers(view) {
  if (view.subscription.everyone) return [...view.users.values()];
  return [...view.subscription.users].map((userId) => userOf(view, userId));
}

/**
 * @param {View} view
 * @param {string} userId
 * @returns {KnownUser}
 */
export function userOf(view, userId) {
  return view.users.get(userId) ?? { ...offlineUser(userId), uncertain: false };
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").Established} message
 * @returns {View}
 */
function established(view, message) {
  const common = { ...view, sessionId: message.sessionId, epoch: message.epoch, snapshotUsers: null };
  if (message.resumed) return { ...common, settling: false };
  // The server sends everything again. Versions may start from 1, because it may be another server.
  const users = new Map([...view.users].map(([id, user]) => [id, { ...user, version: 0, uncertain: true }]));
  return { ...common, settling: message.settling > 0 && users.size > 0, users, rooms: new Map(), counts: new Map() };
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").Snapshot} message
 * @returns {View}
 */
function snapshot(view, message) {
  const next = { ...view, users: withUsers(view, message.users) };
  if (message.watch === "users") return next; // it contains only the users of one request
  const snapshotUsers = new Set(message.page === 1 ? [] : view.snapshotUsers);
  for (const { userId } of message.users) snapshotUsers.add(userId);
  if (message.page < message.pages) return { ...next, snapshotUsers };
  // The snapshot is complete: users in none of its pages are offline.
  const users = new Map(
    [...next.users].filter(([id, user]) => snapshotUsers.has(id) || (view.settling && user.uncertain)),
  );
  return { ...next, users, snapshotUsers: null };
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").RoomSnapshot} message
 * @returns {View}
 */
function roomSnapshot(view, message) {
  const known = message.page === 1 ? undefined : view.rooms.get(message.room)?.members;
  return withoutUnsubscribed(withRoom(view, message, withMembers(known, message.members)));
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").RoomChanges} message
 * @returns {View}
 */
function roomChanges(view, message) {
  const room = view.rooms.get(message.room);
  if (!room) return view; // the session has left it meanwhile
  const members = withMembers(message.mode === "counts" ? undefined : room.members, message.members);
  for (const userId of message.left) members.delete(userId);
  return withoutUnsubscribed(withRoom(view, message, members));
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").RoomSnapshot | import("./v1-protocol.js").RoomChanges} message
 * @param {ReadonlyMap<string, RoomMember>} members
 * @returns {View}
 */
function withRoom(view, message, members) {
  const presences = message.members.flatMap((member) => member.presence ?? []);
  const rooms = new Map(view.rooms).set(message.room, { mode: message.mode, count: message.count, members });
  return { ...view, users: withUsers(view, presences), rooms };
}

/**
 * @param {ReadonlyMap<string, RoomMember> | undefined} members
 * @param {readonly import("./v1-protocol.js").Member[]} news
 * @returns {Map<string, RoomMember>}
 */
function withMembers(members, news) {
  const result = new Map(members);
  for (const { userId, joinedAt, data } of news) result.set(userId, { joinedAt, data });
  return result;
}

/**
 * @param {View} view
 * @param {readonly UserPresence[]} news
 * @returns {ReadonlyMap<string, KnownUser>}
 */
function withUsers({ users, subscription, settling }, news) {
  const result = new Map(users);
  for (const seen of news) {
    const known = result.get(seen.userId);
    if (known && seen.version <= known.version) continue;
    if (known?.uncertain && settling && seen.since === 0) continue; // the server does not know the user yet
    if (seen.status === OFFLINE && !subscription.users.has(seen.userId)) result.delete(seen.userId);
    else result.set(seen.userId, { ...seen, uncertain: false });
  }
  return result;
}

/**
 * Remove users whose changes the server no longer sends.
 *
 * @param {View} view
 * @returns {View}
 */
function withoutUnsubscribed(view) {
  const { subscription, rooms } = view;
  const users = [...view.users].filter(
    ([id, { status }]) =>
      (subscription.everyone && status !== OFFLINE) ||
      subscription.users.has(id) ||
      [...rooms.values()].some(({ members }) => members.has(id)),
  );
  return users.length === view.users.size ? view : { ...view, users: new Map(users) };
}
