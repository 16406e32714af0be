/**
 * Lists of users as presenced.v1 describes them. Rows hold nothing to press, so they are made anew with each change.
 */

import { clockTime, make, setWords } from "./dom.js";
import { OFFLINE } from "./v1-protocol.js";
import { customWords } from "./v1-words.js";

/**
 * @typedef {import("./v1-state.js").Known} Known
 */

/** Rows of one list; what is more is counted. */
const MAX_ROWS = 100;

const byUserId = new Intl.Collator(undefined, { numeric: true });

/**
 * @param {HTMLElement} list
 * @param {readonly Known[]} people
 * @param {(userId: string) => string} [note] What else there is to say of one.
 */
export function showPeople(list, people, note = () => "") {
  const sorted = [...people].sort((a, b) => byUserId.compare(a.userId, b.userId));
  list.replaceChildren(...sorted.slice(0, MAX_ROWS).map((user) => row(user, note(user.userId))));
  if (sorted.length > MAX_ROWS) list.append(make("li", "more", `and ${sorted.length - MAX_ROWS} more`));
}

/**
 * What goes with a status: the name that the user's token gives, text and emoji, devices, when last seen.
 *
 * @param {Known | import("./v1-protocol.js").Seen} user
 * @returns {import("./v1-words.js").Words}
 */
export function detailWords(user) {
  /** @type {import("./v1-words.js").Words[]} */
  const details = [user.name ? [[user.name]] : [], customWords(user)];
  if (user.devices.length) details.push([[user.devices.join(", ")]]);
  if (user.status === OFFLINE && user.lastSeen) details.push([`last seen ${clockTime(user.lastSeen)}`]);
  return details.filter((words) => words.length).flatMap((words, i) => (i ? [" · ", ...words] : words));
}

/**
 * @param {Known} user
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
  setWords(details, detailWords(user));
  item.append(dot, name, make("span", "status", user.uncertain ? `${user.status}?` : user.status), details);
  if (note) item.append(make("bdi", "note", note));
  return item;
}
