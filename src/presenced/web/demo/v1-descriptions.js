/**
 * Descriptions of messages and changes for people, derived from what was known before.
 *
 * A phrase is a list of parts. A part in an array of its own is text from a user, such as an id. The page isolates it
 * from the rest of the sentence, because its writing direction may differ.
 */

import { clockTime } from "./dom.js";

/**
 * @typedef {readonly (string | readonly [string])[]} Phrase
 *
 * @typedef {object} Person Presence of a user, as the library or the server reports it. Missing fields are empty.
 * @property {string | number} userId
 * @property {string} status
 * @property {number} [version]
 * @property {string} [text]
 * @property {string} [emoji]
 * @property {number} [until]
 * @property {readonly string[]} [devices]
 * @property {unknown} [display]
 * @property {string} [cause]
 *
 * @typedef {object} Before What was known before a message.
 * @property {(userId: string) => Person} user
 * @property {(room: string, userId: string) => boolean} hasMember
 * @property {string} sessionId
 *
 * @typedef {object} Known
 * @property {ReadonlyMap<string, Person>} users
 * @property {ReadonlyMap<string, ReadonlySet<string>>} rooms Ids of the members, by room.
 *
 * @typedef {Record<string, any>} Message A message of presenced.v1. The server has made it, so its fields are as
 *   specified.
 */

/** Status of users who are not there. */
export const OFFLINE = "offline";

/** Status of users of whom the library knows nothing. */
const UNKNOWN = "unknown";

/** Maximum number of changes in the description of one message; the others are counted. */
const MAX_LISTED = 8;

/**
 * Describe a message. Return an empty phrase for messages that mean nothing to people.
 *
 * @param {Before} before
 * @param {Message} message
 * @returns {Phrase}
 */
export function describeMessage(before, message) {
  switch (message.type) {
    case "PRESENCE_SNAPSHOT":
      return [`${count(message.users.length, "user")}${pageOf(message)}`];
    case "PRESENCE_CHANGES":
      return joinPhrases(message.users.map((/** @type {Person} */ user) => describeUpdate(before, user)));
    case "PRESENCE_COUNT":
      return message.watch === "room"
        ? [[message.room], `: ${message.online} online`]
        : [`${message.watch}: ${message.online} online`];
    case "ROOM_SNAPSHOT":
      return [[message.room], `: ${count(message.count, "member")}, ${message.mode}${pageOf(message)}`];
    case "ROOM_CHANGES":
      return [[message.room], ": ", ...joinPhrases(describeRoomChanges(before, message)), ` · ${count(message.count, "member")}`];
    case "SELF":
      return ["own status: ", ...describeSelf(message), ...(message.cause ? [` (${message.cause})`] : [])];
    case "CONNECTION_ESTABLISHED":
      if (message.resumed) return ["resumed"];
      return [message.sessionId === before.sessionId ? "the same session" : "a new session"];
    case "CERTAINTY":
      return [message.certainty === "stale" ? "users of other servers may be out of date" : "all users are current again"];
    case "ERROR":
      return [[message.message]];
    case "GOING_AWAY":
      return [`reconnect in ${message.retryAfter} s`];
    default:
      return [];
  }
}

/**
 * Describe the differences between what was known and what is known now, each user and each member once.
 *
 * @param {Known} before
 * @param {Known} after
 * @returns {Phrase[]}
 */
export function describeDifferences(before, after) {
  /** @type {Phrase[]} */
  const turns = [];
  for (const userId of new Set([...before.users.keys(), ...after.users.keys()])) {
    const gone = { userId, status: OFFLINE };
    const phrase = describeChange(before.users.get(userId) ?? gone, after.users.get(userId) ?? gone);
    if (phrase.length) turns.push(phrase);
  }
  for (const name of new Set([...before.rooms.keys(), ...after.rooms.keys()])) {
    const [then, now] = [before.rooms.get(name), after.rooms.get(name)];
    for (const userId of now ?? []) if (!then?.has(userId)) turns.push([[userId], " joined ", [name]]);
    for (const userId of then ?? []) if (!now?.has(userId)) turns.push([[userId], " left ", [name]]);
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
 * @param {{ text?: string, emoji?: string, until?: number }} custom
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
 * @param {Message} self SELF, or what the page has of it.
 * @returns {Phrase}
 */
export function describeSelf(self) {
  const custom = describeCustom(self);
  return [self.status, describeSource(self), ...(custom.length ? [" · ", ...custom] : [])];
}

/**
 * Describe the source of the status: a backend's claim, the user's choice, or detection.
 *
 * @param {Message} self
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
 * Describe how a user's presence differs from what is known. Return an empty phrase if it does not.
 *
 * @param {Before} before
 * @param {Person} seen
 * @returns {Phrase}
 */
function describeUpdate(before, seen) {
  const known = before.user(String(seen.userId));
  return known.status !== UNKNOWN && (seen.version ?? 0) <= (known.version ?? 0) ? [] : describeChange(known, seen);
}

/**
 * @param {Person} was
 * @param {Person} seen
 * @returns {Phrase}
 */
function describeChange(was, seen) {
  const wasStatus = was.status === UNKNOWN ? OFFLINE : was.status;
  /** @type {Phrase[]} */
  const turns = [];
  if (wasStatus !== seen.status) turns.push([`${wasStatus} → ${seen.status}`]);
  const differs = /** @type {const} */ (["text", "emoji", "until"]).some((name) => (was[name] ?? "") !== (seen[name] ?? "") && (was[name] || seen[name]));
  if (differs) {
    const custom = describeCustom(seen);
    if (custom.length) turns.push(custom);
    else if (seen.status !== OFFLINE) turns.push(["no text"]);
  }
  const name = nameOf(seen);
  if (name && nameOf(was) !== name) turns.push(["is called ", [name]]);
  const isThere = wasStatus !== OFFLINE && seen.status !== OFFLINE;
  if (isThere && String(was.devices ?? []) !== String(seen.devices ?? [])) {
    turns.push(["on ", [seen.devices?.join(", ") || "an unknown device"]]);
  }
  if (!turns.length) return [];
  const all = turns.flatMap((phrase, i) => (i ? [", ", ...phrase] : phrase));
  return [[String(seen.userId)], " ", ...all, ...(seen.cause ? [` (${seen.cause})`] : [])];
}

/**
 * Return the display name from the user's token, or an empty string.
 *
 * @param {Pick<Person, "display">} user
 */
export function nameOf({ display }) {
  const name = typeof display === "object" && display !== null && "name" in display ? display.name : "";
  return typeof name === "string" ? name : "";
}

/**
 * @param {Before} before
 * @param {Message} message
 * @returns {Phrase[]}
 */
function describeRoomChanges(before, { room, members = [], left = [] }) {
  const came = members.map((/** @type {{ userId: string | number, data?: unknown }} */ { userId, data }) =>
    before.hasMember(room, String(userId))
      ? [[String(userId)], " data ", [data === undefined ? "none" : JSON.stringify(data)]]
      : [[String(userId)], " joined"],
  );
  return [...came, ...left.map((/** @type {string | number} */ userId) => [[String(userId)], " left"])];
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
 * @param {Message} message
 */
function pageOf({ page, pages }) {
  return pages > 1 ? `, page ${page} of ${pages}` : "";
}
