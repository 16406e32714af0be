/**
 * What one session of presenced.v1 has been told: a value, and pure functions from one value to the next.
 *
 * Whoever is not in `users` is offline. Each function returns the value it was given when nothing changed.
 */

import { absent, OFFLINE } from "./v1-protocol.js";

/**
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-protocol.js").Seen} Seen
 * @typedef {import("./v1-protocol.js").Self} Self
 *
 * @typedef {object} Watched Whom the server tells this session of.
 * @property {boolean} everyone
 * @property {ReadonlySet<string>} users
 * @property {ReadonlySet<string>} rooms
 *
 * @typedef {Seen & { uncertain: boolean }} Known
 *   `uncertain`: from before the server started again, which does not know yet who comes back.
 *
 * @typedef {object} Room
 * @property {string} mode `full`, `coalesced` or `counts`.
 * @property {number} count
 * @property {ReadonlyMap<string, RoomMember>} members None in mode `counts`.
 *
 * @typedef {{ joinedAt: number, data: string }} RoomMember
 *
 * @typedef {object} View
 * @property {string} sessionId
 * @property {string} position Up to where it has been told; only PRESENCE_CHANGES say so.
 * @property {string} epoch The start of the server that tells.
 * @property {boolean} settling Whether those it knew are kept although the server does not know them.
 * @property {Watched} watched
 * @property {ReadonlyMap<string, Known>} users Those watched and the members of the rooms.
 * @property {ReadonlyMap<string, Room>} rooms
 * @property {ReadonlyMap<string, number>} counts How many are online: by `countKey`.
 * @property {Self | null} self
 * @property {ReadonlySet<string> | null} arrived Users in the pages of a snapshot of everyone that is not complete.
 */

/** @type {Watched} */
export const WATCHING_NOBODY = { everyone: false, users: new Set(), rooms: new Set() };

/** @type {View} */
export const NOTHING_SEEN = {
  sessionId: "",
  position: "",
  epoch: "",
  settling: false,
  watched: WATCHING_NOBODY,
  users: new Map(),
  rooms: new Map(),
  counts: new Map(),
  self: null,
  arrived: null,
};

/**
 * @param {string} watch `everyone`, `users` or `room`.
 * @param {string} [room]
 */
export function countKey(watch, room = "") {
  return watch === "room" ? `room ${room}` : watch;
}

/**
 * A new session begins: what was known before stays, for comparison, until the server has told all.
 *
 * @param {View} view
 * @param {Watched} watched
 * @returns {View}
 */
export function begun(view, watched) {
  return { ...view, watched, rooms: new Map(), counts: new Map() };
}

/**
 * The server has agreed that other users are watched.
 *
 * @param {View} view
 * @param {Watched} watched
 * @returns {View}
 */
export function watching(view, watched) {
  const rooms = new Map([...view.rooms].filter(([name]) => watched.rooms.has(name)));
  return pruned({ ...view, watched, rooms });
}

/**
 * Numbers are no longer told.
 *
 * @param {View} view
 * @returns {View}
 */
export function uncounted(view) {
  return { ...view, counts: new Map() };
}

/**
 * The server has had its time to learn who comes back: who has not is offline.
 *
 * @param {View} view
 * @returns {View}
 */
export function settled(view) {
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
export function heard(view, message) {
  switch (message.type) {
    case "CONNECTION_ESTABLISHED":
      return established(view, message);
    case "PRESENCE_SNAPSHOT":
      return snapshot(view, message);
    case "PRESENCE_CHANGES":
      return { ...view, position: message.position, users: withSeen(view, message.users) };
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
 * Those watched by name, as they are seen: with `everyone` those who are not offline, else all that were asked for.
 *
 * @param {View} view
 * @returns {Known[]}
 */
export function listed(view) {
  if (view.watched.everyone) return [...view.users.values()];
  return [...view.watched.users].map((userId) => seenOf(view, userId));
}

/**
 * @param {View} view
 * @param {string} userId
 * @returns {Known}
 */
export function seenOf(view, userId) {
  return view.users.get(userId) ?? { ...absent(userId), uncertain: false };
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").Established} message
 * @returns {View}
 */
function established(view, message) {
  const common = { ...view, sessionId: message.sessionId, epoch: message.epoch, arrived: null };
  if (message.resumed) return { ...common, settling: false };
  // All will be told again, perhaps by another server, whose versions begin anew.
  const users = new Map([...view.users].map(([id, user]) => [id, { ...user, version: 0, uncertain: true }]));
  return { ...common, settling: message.settling > 0 && users.size > 0, users, rooms: new Map(), counts: new Map() };
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").Snapshot} message
 * @returns {View}
 */
function snapshot(view, message) {
  const next = { ...view, users: withSeen(view, message.users) };
  if (message.watch === "users") return next; // it names whoever was asked for
  const arrived = new Set(message.page === 1 ? [] : view.arrived);
  for (const { userId } of message.users) arrived.add(userId);
  if (message.page < message.pages) return { ...next, arrived };
  // Complete. Whoever is in no page is offline.
  const users = new Map(
    [...next.users].filter(([id, user]) => arrived.has(id) || (view.settling && user.uncertain)),
  );
  return { ...next, users, arrived: null };
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").RoomSnapshot} message
 * @returns {View}
 */
function roomSnapshot(view, message) {
  const known = message.page === 1 ? undefined : view.rooms.get(message.room)?.members;
  return pruned(withRoom(view, message, withMembers(known, message.members)));
}

/**
 * @param {View} view
 * @param {import("./v1-protocol.js").RoomChanges} message
 * @returns {View}
 */
function roomChanges(view, message) {
  const room = view.rooms.get(message.room);
  if (!room) return view; // it was left meanwhile
  const members = withMembers(message.mode === "counts" ? undefined : room.members, message.members);
  for (const userId of message.left) members.delete(userId);
  return pruned(withRoom(view, message, members));
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
  return { ...view, users: withSeen(view, presences), rooms };
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
 * @param {readonly Seen[]} news
 * @returns {ReadonlyMap<string, Known>}
 */
function withSeen({ users, watched, settling }, news) {
  const result = new Map(users);
  for (const seen of news) {
    const known = result.get(seen.userId);
    if (known && seen.version <= known.version) continue;
    if (known?.uncertain && settling && seen.since === 0) continue; // the server knows nothing of them, yet
    if (seen.status === OFFLINE && !watched.users.has(seen.userId)) result.delete(seen.userId);
    else result.set(seen.userId, { ...seen, uncertain: false });
  }
  return result;
}

/**
 * Without users of whom the server tells no more.
 *
 * @param {View} view
 * @returns {View}
 */
function pruned(view) {
  const { watched, rooms } = view;
  const users = [...view.users].filter(
    ([id, { status }]) =>
      (watched.everyone && status !== OFFLINE) ||
      watched.users.has(id) ||
      [...rooms.values()].some(({ members }) => members.has(id)),
  );
  return users.length === view.users.size ? view : { ...view, users: new Map(users) };
}
