/**
 * The list "Who is online": one row per known user, sorted by id so that rows do not move when a status changes.
 */

import { byId, clockTime, make, setText, setPhrase } from "./dom.js";
import { describeDetails } from "./user-list.js";
import { onlineCount } from "./presence.js";
import { drawTimeline, makeTimeline } from "./timeline.js";

/**
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./presence.js").User} User
 * @typedef {import("./stats-poller.js").Stats} Stats
 *
 * @typedef {object} Row
 * @property {HTMLLIElement} element
 * @property {HTMLElement} status
 * @property {HTMLElement} details
 * @property {HTMLTimeElement} since
 * @property {SVGSVGElement} trace
 * @property {User} user The displayed user.
 */

/** Maximum number of rows. Offline users are left out first. */
const MAX_ROWS = 200;

const byUserId = new Intl.Collator(undefined, { numeric: true });

export class OnlineList {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #list = byId("users", HTMLUListElement);
  #note = byId("online-note", HTMLParagraphElement);
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
      .sort((a, b) => Number(b.online) - Number(a.online))
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
   * Redraw the timelines.
   *
   * @param {number} now
   */
  draw(now) {
    for (const { trace, user } of this.#rows.values()) drawTimeline(trace, user.spans, now);
  }

  /**
   * Explain what the list may lack.
   *
   * @param {Presence} presence
   * @param {Stats | null} stats Null if the server is unreachable.
   * @param {boolean} listening Whether any connection of this page is open.
   */
  explain(presence, stats, listening) {
    const notes = [];
    if (!stats) notes.push("The server is unreachable, so the list may be stale.");
    else if (!listening) notes.push("No connection of this page is open, so the list comes from the statistics.");
    const unnamed = stats ? stats.onlineUsers - onlineCount(presence) : 0;
    if (unnamed > 0) notes.push(`${unnamed} more ${unnamed === 1 ? "is" : "are"} online.`);
    if (presence.size > MAX_ROWS) notes.push(`Only ${MAX_ROWS} users are listed.`);
    if (stats && presence.size === 0 && unnamed <= 0) notes.unshift("Nobody is online.");
    if (presence.size) notes.push("The line below a name shows the last minute.");
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
  name.title = user.userId; // CSS truncates long ids
  const status = make("span", "status");
  const since = make("time");
  const trace = makeTimeline();
  const details = make("span", "details");
  element.append(dot, name, status, since, details, trace);
  const row = { element, status, since, details, trace, user };
  fill(row, user, false);
  return row;
}

/**
 * @param {Row} row
 * @param {User} user
 * @param {boolean} highlight Whether to highlight the change.
 */
function fill(row, user, highlight) {
  row.user = user;
  row.element.dataset.online = String(user.online);
  row.element.dataset.status = statusOf(user);
  row.element.classList.toggle("changed", highlight);
  row.element.dataset.userId = user.userId;
  setText(row.status, statusOf(user));
  setPhrase(row.details, user.details ? describeDetails(user.details) : []);
  setText(row.since, `since ${clockTime(user.since)}`);
  row.since.dateTime = new Date(user.since).toISOString();
}

/**
 * @param {User} user
 */
function statusOf(user) {
  return user.details?.status ?? (user.online ? "online" : "offline");
}
