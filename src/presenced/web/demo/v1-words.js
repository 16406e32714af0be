/**
 * What happened, in words: made from what was known before and what is known after.
 *
 * Words are parts; one in a list of its own is an id or somebody's text, which is kept apart from the sentence around
 * it, whatever its direction of writing.
 */

import { clockTime } from "./dom.js";
import { OFFLINE } from "./v1-protocol.js";
import { seenOf } from "./v1-state.js";

/**
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-protocol.js").Seen} Seen
 * @typedef {import("./v1-protocol.js").Self} Self
 * @typedef {import("./v1-state.js").View} View
 *
 * @typedef {readonly (string | readonly [string])[]} Words
 */

/** Happenings told one by one, of one message. */
const MAX_TOLD = 8;

/**
 * What a message says; empty when it says nothing to people.
 *
 * @param {View} before
 * @param {MessageV1} message
 * @returns {Words}
 */
export function told(before, message) {
  switch (message.type) {
    case "PRESENCE_SNAPSHOT":
      return [`${count(message.users.length, "user")}${pageOf(message)}`];
    case "PRESENCE_CHANGES":
      return joined(message.users.filter((user) => isNews(before, user)).map((user) => turned(before, user)));
    case "PRESENCE_COUNT":
      return message.watch === "room"
        ? [[message.room], `: ${message.online} online`]
        : [`${message.watch}: ${message.online} online`];
    case "ROOM_SNAPSHOT":
      return [[message.room], `: ${count(message.count, "member")}, ${message.mode}${pageOf(message)}`];
    case "ROOM_CHANGES":
      return [[message.room], ": ", ...joined(roomTurns(before, message)), ` · ${count(message.count, "member")}`];
    case "SELF":
      return ["you: ", ...ownWords(message.self), ...(message.self.cause ? [` (${message.self.cause})`] : [])];
    case "CONNECTION_ESTABLISHED":
      if (message.resumed) return ["resumed"];
      return [message.sessionId === before.sessionId ? "the same session" : "a new session"];
    case "ERROR":
      return [[message.message]];
    case "GOING_AWAY":
      return [`come back in ${message.retryAfter} s`];
    default:
      return [];
  }
}

/**
 * What became different between two moments, each user and member once.
 *
 * @param {View} before
 * @param {View} after
 * @returns {Words[]}
 */
export function missed(before, after) {
  const ids = new Set([...before.users.keys(), ...after.users.keys()]);
  /** @type {Words[]} */
  const turns = [];
  for (const userId of ids) {
    const words = turned(before, seenOf(after, userId));
    if (words.length) turns.push(words);
  }
  for (const name of new Set([...before.rooms.keys(), ...after.rooms.keys()])) {
    const [then, now] = [before.rooms.get(name)?.members, after.rooms.get(name)?.members];
    for (const userId of now?.keys() ?? []) if (!then?.has(userId)) turns.push([[userId], " joined ", [name]]);
    for (const userId of then?.keys() ?? []) if (!now?.has(userId)) turns.push([[userId], " left ", [name]]);
  }
  return turns;
}

/**
 * Several, one after the other.
 *
 * @param {readonly Words[]} all
 * @returns {Words}
 */
export function joined(all) {
  const some = all.filter((words) => words.length);
  const parts = some.slice(0, MAX_TOLD).flatMap((words, i) => (i ? ["; ", ...words] : words));
  return some.length > MAX_TOLD ? [...parts, `; and ${some.length - MAX_TOLD} more`] : parts;
}

/**
 * What people add to their status: `🍕 lunch until 13:00:00`.
 *
 * @param {{ text: string, emoji: string, until: number }} custom
 * @returns {Words}
 */
export function customWords({ text, emoji, until }) {
  /** @type {(string | readonly [string])[]} */
  const parts = [];
  if (emoji) parts.push([emoji]);
  if (text) parts.push(...(parts.length ? [" "] : []), [text]);
  if (until) parts.push(`${parts.length ? " " : ""}until ${clockTime(until)}`);
  return parts;
}

/**
 * @param {Self} self
 * @returns {Words}
 */
export function ownWords(self) {
  const custom = customWords(self);
  return [self.status, howDecided(self), ...(custom.length ? [" · ", ...custom] : [])];
}

/**
 * The source of the status: a backend's claim, the user's choice, or detection.
 *
 * @param {Self} self
 */
function howDecided({ claimed, chosen }) {
  if (claimed) return chosen === "auto" ? ", claimed by a backend" : `, claimed by a backend over your choice of ${chosen}`;
  return chosen === "auto" ? ", as detected" : ", chosen";
}

/**
 * The parts as one text.
 *
 * @param {Words} words
 */
export function plain(words) {
  return words.map((part) => (typeof part === "string" ? part : part[0])).join("");
}

/**
 * A version that is not above the known one is old news.
 *
 * @param {View} before
 * @param {Seen} seen
 */
function isNews(before, seen) {
  return seen.version > seenOf(before, seen.userId).version;
}

/**
 * How what is seen of one user differs from before; empty when it does not.
 *
 * @param {View} before
 * @param {Seen} seen
 * @returns {Words}
 */
function turned(before, seen) {
  const was = seenOf(before, seen.userId);
  /** @type {Words[]} */
  const turns = [];
  if (was.status !== seen.status) turns.push([`${was.status} → ${seen.status}`]);
  if (was.text !== seen.text || was.emoji !== seen.emoji || was.until !== seen.until) {
    const custom = customWords(seen);
    if (custom.length) turns.push(custom);
    else if (seen.status !== OFFLINE) turns.push(["no text"]);
  }
  if (was.name !== seen.name && seen.name) turns.push(["is called ", [seen.name]]);
  const isThere = was.status !== OFFLINE && seen.status !== OFFLINE;
  if (isThere && String(was.devices) !== String(seen.devices)) {
    turns.push(["on ", [seen.devices.join(", ") || "an unknown device"]]);
  }
  if (!turns.length) return [];
  const all = turns.flatMap((words, i) => (i ? [", ", ...words] : words));
  return [[seen.userId], " ", ...all, ...(seen.cause ? [` (${seen.cause})`] : [])];
}

/**
 * @param {View} before
 * @param {import("./v1-protocol.js").RoomChanges} message
 * @returns {Words[]}
 */
function roomTurns(before, message) {
  const known = before.rooms.get(message.room)?.members;
  const came = message.members.map(({ userId, data }) =>
    known?.has(userId) ? [[userId], " data ", [data || "none"]] : [[userId], " joined"],
  );
  return /** @type {Words[]} */ ([...came, ...message.left.map((userId) => [[userId], " left"])]);
}

/**
 * @param {number} n
 * @param {string} what
 */
export function count(n, what) {
  return `${n} ${what}${n === 1 ? "" : "s"}`;
}

/**
 * @param {{ page: number, pages: number }} message
 */
function pageOf({ page, pages }) {
  return pages > 1 ? `, page ${page} of ${pages}` : "";
}
