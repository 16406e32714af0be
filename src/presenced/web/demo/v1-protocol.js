/**
 * Messages and URL of presenced.v1. User ids are always strings here, although numbers on the wire may be JSON numbers.
 */

import { webSocketAddress } from "./protocol.js";

export const SUBPROTOCOL = "presenced.v1";

/**
 * @typedef {object} UserPresence Presence of one user, as others see it. Missing fields are empty.
 * @property {string} userId
 * @property {string} status `online`, `away`, `busy` or `offline`.
 * @property {number} since Start of the status. All times are epoch milliseconds by the server's clock.
 * @property {number} version
 * @property {number} lastSeen
 * @property {string} text
 * @property {string} emoji
 * @property {string} data JSON.
 * @property {number} until End of the chosen status.
 * @property {readonly string[]} devices
 * @property {string} name Display name from the user's token; empty if it is not a string.
 * @property {string} cause Cause of the change; empty unless the server sends it.
 *
 * @typedef {{ text: string, emoji: string, until: number }} Choice
 *
 * @typedef {object} Self True state of the connection's own user.
 * @property {string} status May be `invisible`.
 * @property {string} chosen `auto` if nothing was chosen.
 * @property {boolean} claimed Whether a backend's claim decides the status.
 * @property {Choice} choice Text, emoji and end of the user's choice; a claim may display others.
 * @property {string} text
 * @property {string} emoji
 * @property {number} until
 * @property {readonly string[]} devices
 * @property {string} cause Cause of the change.
 *
 * @typedef {object} Member
 * @property {string} userId
 * @property {number} joinedAt
 * @property {string} data JSON.
 * @property {UserPresence | null} presence
 *
 * @typedef {object} Established
 * @property {"CONNECTION_ESTABLISHED"} type
 * @property {string} connectionId
 * @property {string} sessionId
 * @property {boolean} resumed
 * @property {string} epoch Id of the server's start. Versions of different starts cannot be compared.
 * @property {number} heartbeatInterval Seconds.
 * @property {number} resumeWindow Seconds.
 * @property {number} settling Seconds that a restarted server gives users to reconnect.
 * @property {number} maxTextLength
 *
 * @typedef {{ type: "PRESENCE_SNAPSHOT", watch: string, page: number, pages: number,
 *   users: UserPresence[] }} Snapshot
 * @typedef {{ type: "PRESENCE_CHANGES", position: string, users: UserPresence[] }} Changes
 * @typedef {{ type: "PRESENCE_COUNT", watch: string, room: string, online: number }} Count
 * @typedef {{ type: "ROOM_SNAPSHOT", room: string, mode: string, count: number, page: number,
 *   pages: number, members: Member[] }} RoomSnapshot
 * @typedef {{ type: "ROOM_CHANGES", room: string, mode: string, count: number, members: Member[],
 *   left: string[] }} RoomChanges
 * @typedef {{ type: "SELF", self: Self }} SelfMessage
 * @typedef {{ type: "ACK", id: string }} Ack
 * @typedef {{ type: "ERROR", id: string, code: number, name: string, message: string }} Refusal
 * @typedef {{ type: "PONG", id: string, serverTime: number }} Pong
 * @typedef {{ type: "GOING_AWAY", retryAfter: number }} GoingAway
 *
 * @typedef {Established | Snapshot | Changes | Count | RoomSnapshot | RoomChanges | SelfMessage | Ack | Refusal | Pong |
 *   GoingAway} MessageV1
 *
 * @typedef {Record<string, unknown>} Fields
 */

/** Status of users without known presence. */
export const OFFLINE = "offline";

/**
 * Return the presence of a user without known presence.
 *
 * @param {string} userId
 * @returns {UserPresence}
 */
export function offlineUser(userId) {
  return parseUser({ userId, status: OFFLINE });
}

/**
 * Return the URL of a connection.
 *
 * @param {string} userId
 * @param {object} how
 * @param {string} how.device Kind of device, or an empty string.
 * @param {boolean} how.everyone Whether a new session watches everyone.
 * @param {boolean} how.idle Whether nobody uses this device.
 * @param {Self | null} how.self Last SELF message, for a server that does not know the user.
 * @param {string} how.session The session to resume; empty for a new one.
 * @param {string} how.position Position of the session; empty to receive everything again.
 */
export function webSocketUrlV1(userId, { device, everyone, idle, self, session, position }) {
  const query = new URLSearchParams({ userId });
  if (device) query.set("device", device);
  if (!everyone) query.set("watch", "none");
  if (idle || session) query.set("activity", idle ? "idle" : "active");
  if (self && self.chosen !== "auto") query.set("status", self.chosen);
  if (self?.choice.text) query.set("text", self.choice.text);
  if (self?.choice.emoji) query.set("emoji", self.choice.emoji);
  if (self?.choice.until) query.set("until", String(self.choice.until));
  if (session) query.set("session", session);
  if (session && position) query.set("position", position);
  return `${webSocketAddress()}?${query}`;
}

/**
 * Parse a message. Return null for unknown types, because a later server may send more.
 *
 * @param {string} json
 * @returns {MessageV1 | null}
 */
export function parseV1(json) {
  /** @type {Fields} */
  let m;
  try {
    m = fields(JSON.parse(json));
  } catch {
    return null;
  }
  switch (m.type) {
    case "CONNECTION_ESTABLISHED":
      return {
        type: m.type,
        connectionId: text(m.connectionId),
        sessionId: text(m.sessionId),
        resumed: m.resumed === true,
        heartbeatInterval: number(m.heartbeatInterval),
        resumeWindow: number(m.resumeWindow),
        epoch: text(m.epoch),
        settling: number(m.settling),
        maxTextLength: number(fields(m.limits).maxTextLength),
      };
    case "PRESENCE_SNAPSHOT":
      return { type: m.type, users: users(m).users, watch: text(m.watch), ...paging(m) };
    case "PRESENCE_CHANGES":
      return { type: m.type, ...users(m) };
    case "PRESENCE_COUNT":
      return { type: m.type, watch: text(m.watch), room: text(m.room), online: number(m.online) };
    case "ROOM_SNAPSHOT":
      return { type: m.type, ...room(m), ...paging(m) };
    case "ROOM_CHANGES":
      return { type: m.type, ...room(m), left: list(m.left).map(id) };
    case "SELF":
      return { type: m.type, self: parseSelf(m) };
    case "ACK":
      return { type: m.type, id: id(m.id) };
    case "ERROR":
      return { type: m.type, id: id(m.id), code: number(m.code), name: text(m.name), message: text(m.message) };
    case "PONG":
      return { type: m.type, id: id(m.id), serverTime: number(m.serverTime) };
    case "GOING_AWAY":
      return { type: m.type, retryAfter: number(m.retryAfter) };
    default:
      return null;
  }
}

/**
 * @param {Fields} m
 */
function users(m) {
  return { position: text(m.position), users: list(m.users).map(parseUser) };
}

/**
 * @param {unknown} value
 * @returns {UserPresence}
 */
function parseUser(value) {
  const m = fields(value);
  return {
    ...parseCustom(m),
    userId: id(m.userId),
    status: text(m.status),
    since: number(m.since),
    version: number(m.version),
    lastSeen: number(m.lastSeen),
    data: json(m.data),
    name: text(fields(m.display).name),
    cause: text(m.cause),
  };
}

/**
 * @param {Fields} m
 * @returns {Self}
 */
function parseSelf(m) {
  const claimed = m.claimed === true;
  const { text: words, emoji, until } = parseCustom(claimed ? fields(m.choice) : m);
  return {
    ...parseCustom(m),
    status: text(m.status),
    chosen: text(m.chosen),
    cause: text(m.cause),
    claimed,
    choice: { text: words, emoji, until },
  };
}

/**
 * @param {Fields} m
 */
function parseCustom(m) {
  return { text: text(m.text), emoji: text(m.emoji), until: number(m.until), devices: list(m.devices).map(text) };
}

/**
 * @param {Fields} m
 */
function room(m) {
  return {
    room: text(m.room),
    mode: text(m.mode),
    count: number(m.count),
    members: list(m.members).map(member),
  };
}

/**
 * @param {unknown} value
 * @returns {Member}
 */
function member(value) {
  const m = fields(value);
  const presence = m.presence ? parseUser(m.presence) : null;
  return { userId: id(m.userId), joinedAt: number(m.joinedAt), data: json(m.data), presence };
}

/**
 * @param {Fields} m
 */
function paging(m) {
  return { page: number(m.page), pages: number(m.pages) };
}

/**
 * @param {unknown} value
 * @returns {Fields}
 */
function fields(value) {
  return typeof value === "object" && value !== null ? /** @type {Fields} */ (value) : {};
}

/**
 * @param {unknown} value
 * @returns {unknown[]}
 */
function list(value) {
  return Array.isArray(value) ? value : [];
}

/**
 * @param {unknown} value
 */
function text(value) {
  return typeof value === "string" ? value : "";
}

/**
 * @param {unknown} value
 */
function number(value) {
  return typeof value === "number" ? value : 0;
}

/**
 * @param {unknown} value
 */
function id(value) {
  return typeof value === "number" ? String(value) : text(value);
}

/**
 * @param {unknown} value
 */
function json(value) {
  return value === undefined || value === null ? "" : JSON.stringify(value);
}
