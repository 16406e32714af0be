/**
 * Descriptions of messages and changes for people, derived from the view before and after.
 *
 * A phrase is a list of parts. A part in an array of its own is text from a user, such as an id. The page isolates it
 * from the rest of the sentence, because its writing direction may differ.
 */

import { clockTime } from "./dom.js";
import { OFFLINE } from "./v1-protocol.js";
import { userOf } from "./v1-view.js";

/**
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-protocol.js").UserPresence} UserPresence
 * @typedef {import("./v1-protocol.js").Self} Self
 * @typedef {import("./v1-view.js").View} View
 *
 * @typedef {readonly (string | readonly [string])[]} Phrase
 */

/** Maximum number of changes in the description of one message; the others are counted. */
const MAX_LISTED = 8;

/**
 * Describe a message. Return an empty phrase for messages that mean nothing to people.
 *
 * @param {View} before
 * @param {MessageV1} message
 * @returns {Phrase}
 */
export function describeMessage(before, message) {
  switch (message.type) {
    case "PRESENCE_SNAPSHOT":
      return [`${count(message.users.length, "user")}${pageOf(message)}`];
    case "PRESENCE_CHANGES":
      return joinPhrases(message.users.filter((user) => isNewer(before, user)).map((user) => describeUserChange(before, user)));
    case "PRESENCE_COUNT":
      return message.watch === "room"
        ? [[message.room], `: ${message.online} online`]
        : [`${message.watch}: ${message.online} online`];
    case "ROOM_SNAPSHOT":
      return [[message.room], `: ${count(message.count, "member")}, ${message.mode}${pageOf(message)}`];
    case "ROOM_CHANGES":
      return [[message.room], ": ", ...joinPhrases(describeRoomChanges(before, message)), ` · ${count(message.count, "member")}`];
    case "SELF":
      return ["own status: ", ...describeSelf(message.self), ...(message.self.cause ? [` (${message.self.cause})`] : [])];
    case "CONNECTION_ESTABLISHED":
      if (message.resumed) return ["resumed"];
      return [message.sessionId === before.sessionId ? "the same session" : "a new session"];
    case "ERROR":
      return [[message.message]];
    case "GOING_AWAY":
      return [`reconnect in ${message.retryAfter} s`];
    default:
      return [];
  }
}

/**
 * Describe the differences between two views, each user and each member once.
 *
 * @param {View} before
 * @param {View} after
 * @returns {Phrase[]}
 */
export function describeDifferences(before, after) {
  const ids = new Set([...before.users.keys(), ...after.users.keys()]);
  /** @type {Phrase[]} */
  const turns = [];
  for (const userId of ids) {
    const phrase = describeUserChange(before, userOf(after, userId));
    if (phrase.length) turns.push(phrase);
  }
  for (const name of new Set([...before.rooms.keys(), ...after.rooms.keys()])) {
    const [then, now] = [before.rooms.get(name)?.members, after.rooms.get(name)?.members];
    for (const userId of now?.keys() ?? []) if (!then?.has(userId)) turns.push([[userId], " joined ", [name]]);
    for (const userId of then?.keys() ?? []) if (!now?.has(userId)) turns.push([[userId], " left ", [name]]);
  }
  return turns;
}

/**
 * Join phrases with semicolons.
 *
 * @param {readonly Phrase[]} all
 * @returns {Phrase}
 */
export function joinPhrases(all) {
  const some = all.filter((phrase) => phrase.length);
  const parts = some.slice(0, MAX_LISTED).flatMap((phrase, i) => (i ? ["; ", ...phrase] : phrase));
  return some.length > MAX_LISTED ? [...parts, `; and ${some.length - MAX_LISTED} more`] : parts;
}

/**
 * Describe the custom part of a status: `🍕 lunch until 13:00:00`.
 *
 * @param {{ text: string, emoji: string, until: number }} custom
 * @returns {Phrase}
 */
export function describeCustom({ text, emoji, until }) {
  /** @type {(string | readonly [string])[]} */
  const parts = [];
  if (emoji) parts.push([emoji]);
  if (text) parts.push(...(parts.length ? [" "] : []), [text]);
  if (until) parts.push(`${parts.length ? " " : ""}until ${clockTime(until)}`);
  return parts;
}

/**
 * Describe a user's own status and its source.
 *
 * @param {Self} self
 * @returns {Phrase}
 */
export function describeSelf(self) {
  const custom = describeCustom(self);
  return [self.status, describeSource(self), ...(custom.length ? [" · ", ...custom] : [])];
}

/**
 * Describe the source of the status: a backend's claim, the user's choice, or detection.
 *
 * @param {Self} self
 */
function describeSource({ claimed, chosen }) {
  if (claimed) return chosen === "auto" ? ", claimed by a backend" : `, claimed by a backend over your choice of ${chosen}`;
  return chosen === "auto" ? ", as detected" : ", chosen";
}

/**
 * Return a phrase as plain text.
 *
 * @param {Phrase} phrase
 */
export function plainText(phrase) {
  return phrase.map((part) => (typeof part === "string" ? part : part[0])).join("");
}

/**
 * Return whether the version is newer than the known one.
 *
 * @param {View} before
 * @param {UserPresence} seen
 */
function isNewer(before, seen) {
  return seen.version > userOf(before, seen.userId).version;
}

/**
 * Describe how a user's presence differs from before. Return an empty phrase if it does not.
 *
 * @param {View} before
 * @param {UserPresence} seen
 * @returns {Phrase}
 */
function describeUserChange(before, seen) {
  const was = userOf(before, seen.userId);
  /** @type {Phrase[]} */
  const turns = [];
  if (was.status !== seen.status) turns.push([`${was.status} → ${seen.status}`]);
  if (was.text !== seen.text || was.emoji !== seen.emoji || was.until !== seen.until) {
    const custom = describeCustom(seen);
    if (custom.length) turns.push(custom);
    else if (seen.status !== OFFLINE) turns.push(["no text"]);
  }
  if (was.name !== seen.name && seen.name) turns.push(["is called ", [seen.name]]);
  const isThere = was.status !== OFFLINE && seen.status !== OFFLINE;
  if (isThere && String(was.devices) !== String(seen.devices)) {
    turns.push(["on ", [seen.devices.join(", ") || "an unknown device"]]);
  }
  if (!turns.length) return [];
  const all = turns.flatMap((phrase, i) => (i ? [", ", ...phrase] : phrase));
  return [[seen.userId], " ", ...all, ...(seen.cause ? [` (${seen.cause})`] : [])];
}

/**
 * @param {View} before
 * @param {import("./v1-protocol.js").RoomChanges} message
 * @returns {Phrase[]}
 */
function describeRoomChanges(before, message) {
  const known = before.rooms.get(message.room)?.members;
  const came = message.members.map(({ userId, data }) =>
    known?.has(userId) ? [[userId], " data ", [data || "none"]] : [[userId], " joined"],
  );
  return /** @type {Phrase[]} */ ([...came, ...message.left.map((userId) => [[userId], " left"])]);
}

/**
 * Return a number with its noun: `1 user`, `2 users`.
 *
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
