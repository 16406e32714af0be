/**
 * Lists of users with presence from presenced.v1. Rows have no controls, so each change rebuilds them.
 */

import { clockTime, make, setPhrase } from "./dom.js";
import { describeCustom, nameOf, OFFLINE } from "./v1-descriptions.js";

/**
 * @typedef {import("./client.js").Presence} Presence
 *
 * @typedef {object} Options
 * @property {(userId: string) => string} [note] Return additional text for a user.
 * @property {boolean} [isStale] Whether what is shown may be old.
 */

/** Maximum number of rows in a list; the other users are counted. */
const MAX_ROWS = 100;

const byUserId = new Intl.Collator(undefined, { numeric: true });

/**
 * Show users in a list.
 *
 * @param {HTMLElement} list
 * @param {readonly Presence[]} people
 * @param {Options} [options]
 */
export function showUsers(list, people, { note = () => "", isStale = false } = {}) {
  const sorted = [...people].sort((a, b) => byUserId.compare(String(a.userId), String(b.userId)));
  list.replaceChildren(...sorted.slice(0, MAX_ROWS).map((user) => row(user, note(String(user.userId)), isStale)));
  if (sorted.length > MAX_ROWS) list.append(make("li", "more", `and ${sorted.length - MAX_ROWS} more`));
}

/**
 * Describe what accompanies a status: display name, text and emoji, devices, last seen.
 *
 * @param {Presence} user
 * @returns {import("./v1-descriptions.js").Phrase}
 */
export function describeDetails(user) {
  /** @type {import("./v1-descriptions.js").Phrase[]} */
  const details = [nameOf(user) ? [[nameOf(user)]] : [], describeCustom(user)];
  if (user.devices.length) details.push([[user.devices.join(", ")]]);
  if (user.status === OFFLINE && user.lastSeen) details.push([`last seen ${clockTime(user.lastSeen)}`]);
  return details.filter((phrase) => phrase.length).flatMap((phrase, i) => (i ? [" · ", ...phrase] : phrase));
}

/**
 * @param {Presence} user
 * @param {string} note
 * @param {boolean} isStale
 */
function row(user, note, isStale) {
  const item = make("li", "person");
  const userId = String(user.userId);
  item.dataset.userId = userId;
  item.dataset.status = user.status;
  const dot = make("span", "dot");
  dot.setAttribute("aria-hidden", "true");
  const name = make("bdi", "name", userId);
  name.title = userId;
  const details = make("span", "details");
  setPhrase(details, describeDetails(user));
  item.append(dot, name, make("span", "status", isStale || !user.certain ? `${user.status}?` : user.status), details);
  if (note) item.append(make("bdi", "note", note));
  return item;
}
