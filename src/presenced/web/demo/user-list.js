/**
 * Lists of users with presence from presenced.v1. Rows have no controls, so each change rebuilds them.
 */

import { clockTime, make, setPhrase } from "./dom.js";
import { OFFLINE } from "./v1-protocol.js";
import { describeCustom } from "./v1-descriptions.js";

/**
 * @typedef {import("./v1-view.js").KnownUser} KnownUser
 */

/** Maximum number of rows in a list; the other users are counted. */
const MAX_ROWS = 100;

const byUserId = new Intl.Collator(undefined, { numeric: true });

/**
 * Show users in a list.
 *
 * @param {HTMLElement} list
 * @param {readonly KnownUser[]} people
 * @param {(userId: string) => string} [note] Return additional text for a user.
 */
export function showUsers(list, people, note = () => "") {
  const sorted = [...people].sort((a, b) => byUserId.compare(a.userId, b.userId));
  list.replaceChildren(...sorted.slice(0, MAX_ROWS).map((user) => row(user, note(user.userId))));
  if (sorted.length > MAX_ROWS) list.append(make("li", "more", `and ${sorted.length - MAX_ROWS} more`));
}

/**
 * Describe what accompanies a status: display name, text and emoji, devices, last seen.
 *
 * @param {KnownUser | import("./v1-protocol.js").UserPresence} user
 * @returns {import("./v1-descriptions.js").Phrase}
 */
export function describeDetails(user) {
  /** @type {import("./v1-descriptions.js").Phrase[]} */
  const details = [user.name ? [[user.name]] : [], describeCustom(user)];
  if (user.devices.length) details.push([[user.devices.join(", ")]]);
  if (user.status === OFFLINE && user.lastSeen) details.push([`last seen ${clockTime(user.lastSeen)}`]);
  return details.filter((phrase) => phrase.length).flatMap((phrase, i) => (i ? [" · ", ...phrase] : phrase));
}

/**
 * @param {KnownUser} user
 * @param {string} note
 */
function row(user, note) {
  const item = make("li", "person");
  item.dataset.userId = user.userId;
  item.dataset.status = user.status;
  const dot = make("span", "dot");
  dot.setAttribute("aria-hidden", "true");
  const name = make("bdi", "name", user.userId);
  name.title = user.userId;
  const details = make("span", "details");
  setPhrase(details, describeDetails(user));
  item.append(dot, name, make("span", "status", user.uncertain ? `${user.status}?` : user.status), details);
  if (note) item.append(make("bdi", "note", note));
  return item;
}
