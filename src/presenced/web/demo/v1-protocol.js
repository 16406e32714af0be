/**
 * What goes over the wire of presenced.v1: its messages as values, and the URL. Ids are texts here, always.
 */

import { webSocketAddress } from "./protocol.js";

export const SUBPROTOCOL = "presenced.v1";

/**
 * @typedef {object} Seen What is seen of one user. What is not said is empty.
 * @property {string} userId
 * @property {string} status `online`, `away`, `busy` or `offline`.
 * @property {number} since When the status began: epoch milliseconds by the server's clock, as all times.
 * @property {number} version
 * @property {number} lastSeen
 * @property {string} text
 * @property {string} emoji
 * @property {string} data JSON.
 * @property {number} until When the chosen status ends.
 * @property {readonly string[]} devices
 * @property {string} name Of what the user's token gives for others to see; empty when it is no text.
 * @property {string} cause Why it changed; empty unless the server tells.
 *
 * @typedef {{ text: string, emoji: string, until: number }} Own
 *
 * @typedef {object} Self The truth about the user.
 * @property {string} status May be `invisible`.
 * @property {string} chosen `auto` if nothing was chosen.
 * @property {boolean} claimed Whether a backend's claim decides the status.
 * @property {Own} own Text, emoji and end of the user's choice; a claim may show others.
 * @property {string} text
 * @property {string} emoji
 * @property {number} until
 * @property {readonly string[]} devices
 * @property {string} cause Why it became this.
 *
 * @typedef {object} Member
 * @property {string} userId
 * @property {number} joinedAt
 * @property {string} data JSON.
 * @property {Seen | null} presence
 *
 * @typedef {object} Established
 * @property {"CONNECTION_ESTABLISHED"} type
 * @property {string} connectionId
 * @property {string} sessionId
 * @property {boolean} resumed
 * @property {string} epoch The start of the server: versions of another one can't be compared.
 * @property {number} heartbeatInterval Seconds.
 * @property {number} resumeWindow Seconds.
 * @property {number} settling Seconds for which a server that has just started does not know who comes back.
 * @property {number} maxTextLength
 *
 * @typedef {{ type: "PRESENCE_SNAPSHOT", watch: string, page: number, pages: number,
 *   users: Seen[] }} Snapshot
 * @typedef {{ type: "PRESENCE_CHANGES", position: string, users: Seen[] }} Changes
 * @typedef {{ type: "PRESENCE_COUNT", watch: string, room: string, online: number }} Count
 * @typedef {{ type: "ROOM_SNAPSHOT", room: string, mode: string, count: number, page: number,
 *   pages: number, members: Member[] }} RoomSnapshot
 * @typedef {{ type: "ROOM_CHANGES", room: string, mode: string, count: number, members: Member[],
 *   left: string[] }} RoomChanges
 * @typedef {{ type: "SELF", self: Self }} OwnTruth
 * @typedef {{ type: "ACK", id: string }} Ack
 * @typedef {{ type: "ERROR", id: string, code: number, name: string, message: string }} Refusal
 * @typedef {{ type: "PONG", id: string, serverTime: number }} Pong
 * @typedef {{ type: "GOING_AWAY", retryAfter: number }} GoingAway
 *
 * @typedef {Established | Snapshot | Changes | Count | RoomSnapshot | RoomChanges | OwnTruth | Ack | Refusal | Pong |
 *   GoingAway} MessageV1
 *
 * @typedef {Record<string, unknown>} Fields
 */

/** The status of a user of whom nothing is known. */
export const OFFLINE = "offline";

/**
 * @param {string} userId
 * @returns {Seen}
 */
export function absent(userId) {
  return seen({ userId, status: OFFLINE });
}

/**
 * The address of a connection.
 *
 * @param {string} userId
 * @param {object} how
 * @param {string} how.device Kind of device; empty when not said.
 * @param {boolean} how.everyone Whether a new session watches everyone.
 * @param {boolean} how.idle Whether nobody is at this device.
 * @param {Self | null} how.self Last SELF message, for a server that knows nothing of the user.
 * @param {string} how.session The session to resume; empty for a new one.
 * @param {string} how.position Position of the session; empty to receive everything again.
 */
export function webSocketUrlV1(userId, { device, everyone, idle, self, session, position }) {
  const query = new URLSearchParams({ userId });
  if (device) query.set("device", device);
  if (!everyone) query.set("watch", "none");
  if (idle || session) query.set("activity", idle ? "idle" : "active");
  if (self && self.chosen !== "auto") query.set("status", self.chosen);
  if (self?.own.text) query.set("text", self.own.text);
  if (self?.own.emoji) query.set("emoji", self.own.emoji);
  if (self?.own.until) query.set("until", String(self.own.until));
  if (session) query.set("session", session);
  if (session && position) query.set("position", position);
  return `${webSocketAddress()}?${query}`;
}

/**
 * A message, or null for what this page does not know: a later server may say more.
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
      return { type: m.type, self: own(m) };
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
  return { position: text(m.position), users: list(m.users).map(seen) };
}

/**
 * @param {unknown} value
 * @returns {Seen}
 */
function seen(value) {
  const m = fields(value);
  return {
    ...custom(m),
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
function own(m) {
  const claimed = m.claimed === true;
  const { text: words, emoji, until } = custom(claimed ? fields(m.choice) : m);
  return {
    ...custom(m),
    status: text(m.status),
    chosen: text(m.chosen),
    cause: text(m.cause),
    claimed,
    own: { text: words, emoji, until },
  };
}

/**
 * @param {Fields} m
 */
function custom(m) {
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
  const presence = m.presence ? seen(m.presence) : null;
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
