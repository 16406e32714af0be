/**
 * Details of a presenced.v1 connection: its session, its subscription and its rooms.
 */

import { find, fromTemplate, make, setText, setPhrase } from "./dom.js";
import { showUsers } from "./user-list.js";
import { RoomList } from "./v1-rooms.js";
import { OFFLINE } from "./v1-protocol.js";
import { subscribedUsers } from "./v1-view.js";
import { count } from "./v1-descriptions.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-session.js").Reconnect} Reconnect
 * @typedef {import("./v1-session.js").V1Session} V1Session
 * @typedef {import("./v1-desired-state.js").DesiredWatch} DesiredWatch
 */

const TARGETS = new Map([
  ["everyone", "everyone"],
  ["users", "some"],
  ["nobody", "nobody"],
]);

const RECONNECTS = new Map([
  ["resumed", "Resumed."],
  ["snapshot", "Same session, with a new snapshot."],
  ["new", "The session could not be resumed. A new one received a snapshot."],
]);

/** Maximum number of missed changes in the list; the others are counted. */
const MAX_MISSED = 8;

export class SessionPanel {
  element = fromTemplate("session-template");
  #connection;
  #session;
  #rooms;
  #watching = find(this.element, ".watching");
  #form = /** @type {HTMLFormElement} */ (find(this.#watching, "form"));
  /** Values that are displayed now. @type {unknown[]} */
  #shown = [];

  /**
   * @param {Connection} connection
   * @param {V1Session} session
   */
  constructor(connection, session) {
    this.#connection = connection;
    this.#session = session;
    this.#rooms = new RoomList(find(this.element, ".rooms"), connection, session);
    this.#form.setAttribute("aria-label", `Users watched by ${connection.label}`);
    find(this.#watching, ".people").setAttribute("aria-label", `Seen by ${connection.label}`);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#watch();
    });
    this.#form.addEventListener("change", () => this.#showFields());
    this.#reset();
  }

  /** Update the page. */
  show() {
    const { state } = this.#connection;
    const { view, desired, reconnect, refusal, roundTripMs } = this.#session;
    const now = [state, view, desired, reconnect, refusal, roundTripMs];
    if (now.every((value, i) => value === this.#shown[i])) return;
    if (desired.watch !== /** @type {typeof desired | undefined} */ (this.#shown[2])?.watch) this.#reset();
    this.#shown = now;
    const isOpen = state === "open";
    this.#rooms.show();
    for (const field of this.element.querySelectorAll("button")) {
      if (isOpen) field.removeAttribute("aria-disabled");
      else field.setAttribute("aria-disabled", "true");
    }
    this.#showSession();
    this.#showReconnect(reconnect);
    setPhrase(find(this.element, ".refusal"), refusal ? ["Refused: ", [refusal]] : []);
    find(this.element, ".refusal").hidden = !refusal;
    this.#showWatching();
  }

  #showSession() {
    const { view, desired, roundTripMs, resumeWindowS } = this.#session;
    const { state } = this.#connection;
    const parts = [];
    if (desired.device) parts.push(desired.device);
    if (view.sessionId) parts.push(`session ${view.sessionId.slice(0, 6)}…`);
    if (view.position) parts.push(`position ${view.position.split("-")[1] ?? view.position}`);
    if (state === "open" && roundTripMs) parts.push(`round trip ${Math.max(1, Math.round(roundTripMs))} ms`);
    if (state === "dropped" && view.sessionId) parts.push(`can be resumed for ${resumeWindowS} s`);
    setText(find(this.element, ".session-line"), parts.join(" · "));
  }

  /**
   * @param {Reconnect | null} reconnect
   */
  #showReconnect(reconnect) {
    const element = find(this.element, ".back");
    element.hidden = !reconnect?.missed;
    if (!reconnect?.missed) return;
    const { how, missed } = reconnect;
    element.dataset.how = how;
    const nothing = how === "resumed" ? "Nothing was missed." : "";
    const said = missed.length ? `Missed: ${count(missed.length, "change")}.` : nothing;
    setText(find(element, ".back-line"), `${RECONNECTS.get(how)} ${said}`.trim());
    const items = missed.slice(0, MAX_MISSED).map((phrase) => {
      const item = make("li");
      setPhrase(item, phrase);
      return item;
    });
    if (missed.length > MAX_MISSED) items.push(make("li", "", `and ${missed.length - MAX_MISSED} more`));
    find(element, ".back-missed").replaceChildren(...items);
    find(element, ".back-missed").setAttribute("aria-label", `Missed by ${this.#connection.label}`);
  }

  #showWatching() {
    const { view, desired } = this.#session;
    const { target, countOnly, users } = desired.watch;
    const people = countOnly || target === "nobody" ? [] : subscribedUsers(view);
    const online = countOnly ? view.counts.get(target) : people.filter(({ status }) => status !== OFFLINE).length;
    const named = target === "users" ? count(users.length, "user") : (TARGETS.get(target) ?? target);
    const number = `${online ?? "…"} online`;
    setText(find(this.#watching, "summary"), `Watches ${named}${target === "nobody" ? "" : `: ${number}`}`);
    const note = find(this.#watching, ".watch-count");
    note.hidden = !countOnly || target === "nobody";
    setText(note, `${number}, without names`);
    showUsers(find(this.#watching, ".people"), people);
  }

  /** Fill the form with the desired subscription. */
  #reset() {
    const { target, users, countOnly } = this.#session.desired.watch;
    for (const field of this.#form.querySelectorAll("input, textarea")) {
      if (field instanceof HTMLTextAreaElement) field.value = users.join("\n");
      else if (!(field instanceof HTMLInputElement)) continue;
      else field.checked = field.name === "countOnly" ? countOnly : field.value === target;
    }
    this.#showFields();
  }

  #showFields() {
    const target = new FormData(this.#form).get("target");
    find(this.#form, ".watch-users").hidden = target !== "users";
    find(this.#form, ".check").hidden = target === "nobody";
  }

  #watch() {
    if (this.#connection.state !== "open") return;
    const fields = new FormData(this.#form);
    const target = /** @type {DesiredWatch["target"]} */ (fields.get("target"));
    const lines = String(fields.get("users")).split("\n").map((line) => line.trim());
    const users = target === "users" ? [...new Set(lines.filter(Boolean))] : [];
    this.#session.watch({ target, users, countOnly: target !== "nobody" && fields.get("countOnly") !== null });
    this.#shown = [];
    this.show();
  }
}
