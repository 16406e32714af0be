/**
 * The list "Who is online": a row per user this page knows of, in the order of their ids, so that a row stays where
 * it is and only its dot changes.
 */

import { byId, clockTime, make, setText, setWords } from "./dom.js";
import { detailWords } from "./people.js";
import { onlineCount } from "./presence.js";
import { drawTrace, makeTrace } from "./trace.js";

/**
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./presence.js").User} User
 * @typedef {import("./server.js").Stats} Stats
 *
 * @typedef {object} Row
 * @property {HTMLLIElement} element
 * @property {HTMLElement} status
 * @property {HTMLElement} details
 * @property {HTMLTimeElement} since
 * @property {SVGSVGElement} trace
 * @property {User} user What it shows.
 */

/** Rows shown at most. */
const MAX_ROWS = 200;

const byUserId = new Intl.Collator(undefined, { numeric: true });

export class Roster {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #list = byId("users", HTMLUListElement);
  #note = byId("roster-note", HTMLParagraphElement);
  #forget = byId("forget", HTMLButtonElement);

  /**
   * @param {() => void} forget
   */
  constructor(forget) {
    this.#forget.addEventListener("click", forget);
  }

  /**
   * @param {Presence} presence
   * @param {number} now
   */
  show(presence, now) {
    const users = [...presence.values()]
      .sort((a, b) => Number(b.online) - Number(a.online)) // the offline ones are left out first
      .slice(0, MAX_ROWS)
      .sort((a, b) => byUserId.compare(a.userId, b.userId));
    const ids = new Set(users.map((user) => user.userId));
    for (const [userId, row] of this.#rows) {
      if (ids.has(userId)) continue;
      row.element.remove();
      this.#rows.delete(userId);
    }
    users.forEach((user, i) => {
      let row = this.#rows.get(user.userId);
      if (!row) this.#rows.set(user.userId, (row = makeRow(user)));
      else if (row.user !== user) fill(row, user, true);
      if (this.#list.children[i] !== row.element) this.#list.insertBefore(row.element, this.#list.children[i] ?? null);
    });
    const hadFocus = document.activeElement === this.#forget;
    this.#forget.hidden = onlineCount(presence) === presence.size;
    if (hadFocus && this.#forget.hidden) byId("user-id", HTMLInputElement).focus();
    this.draw(now);
  }

  /**
   * Move the traces on.
   *
   * @param {number} now
   */
  draw(now) {
    for (const { trace, user } of this.#rows.values()) drawTrace(trace, user.spans, now);
  }

  /**
   * Say how far the list can be trusted.
   *
   * @param {Presence} presence
   * @param {Stats | null} stats Null when the server does not answer.
   * @param {boolean} listening Whether any connection of this page is open.
   */
  explain(presence, stats, listening) {
    const notes = [];
    if (!stats) notes.push("The server does not answer: this is what was last known.");
    else if (!listening) notes.push("No connection of this page listens; the list comes from the statistics.");
    const unnamed = stats ? stats.onlineUsers - onlineCount(presence) : 0;
    if (unnamed > 0) notes.push(`${unnamed} more ${unnamed === 1 ? "is" : "are"} online.`);
    if (presence.size > MAX_ROWS) notes.push(`Only ${MAX_ROWS} users are listed.`);
    if (stats && presence.size === 0 && unnamed <= 0) notes.unshift("Nobody yet.");
    if (presence.size) notes.push("The line below a name is the last minute.");
    setText(this.#note, notes.join(" "));
  }
}

/**
 * @param {User} user
 * @returns {Row}
 */
function makeRow(user) {
  const element = make("li", "user");
  const dot = make("span", "dot");
  dot.setAttribute("aria-hidden", "true");
  const name = make("bdi", "name", user.userId);
  name.title = user.userId; // a long one is cut short
  const status = make("span", "status");
  const since = make("time");
  const trace = makeTrace();
  const details = make("span", "details");
  element.append(dot, name, status, since, details, trace);
  const row = { element, status, since, details, trace, user };
  fill(row, user, false);
  return row;
}

/**
 * @param {Row} row
 * @param {User} user
 * @param {boolean} isNews Whether to draw attention to it.
 */
function fill(row, user, isNews) {
  row.user = user;
  row.element.dataset.online = String(user.online);
  row.element.dataset.status = statusOf(user);
  row.element.classList.toggle("news", isNews);
  row.element.dataset.userId = user.userId;
  setText(row.status, statusOf(user));
  setWords(row.details, user.seen ? detailWords(user.seen) : []);
  setText(row.since, `since ${clockTime(user.since)}`);
  row.since.dateTime = new Date(user.since).toISOString();
}

/**
 * @param {User} user
 */
function statusOf(user) {
  return user.seen?.status ?? (user.online ? "online" : "offline");
}
