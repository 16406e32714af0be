/**
 * What a connection of presenced.v1 shows beyond a classic one: its session, whom it watches, its rooms.
 */

import { find, fromTemplate, make, setText, setWords } from "./dom.js";
import { showPeople } from "./people.js";
import { RoomList } from "./v1-rooms.js";
import { OFFLINE } from "./v1-protocol.js";
import { listed } from "./v1-state.js";
import { count } from "./v1-words.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-session.js").Return} Return
 * @typedef {import("./v1-session.js").V1Session} V1Session
 * @typedef {import("./v1-wishes.js").WatchWish} WatchWish
 */

const WHOM = new Map([
  ["everyone", "everyone"],
  ["users", "some"],
  ["nobody", "nobody"],
]);

const RETURNS = new Map([
  ["resumed", "Resumed."],
  ["told again", "The same session, told all again."],
  ["new", "The session could not be resumed; a new one was told all again."],
]);

/** What was missed is told one by one, up to so many. */
const MAX_MISSED = 8;

export class Panel {
  element = fromTemplate("session-template");
  #connection;
  #session;
  #rooms;
  #watching = find(this.element, ".watching");
  #form = /** @type {HTMLFormElement} */ (find(this.#watching, "form"));
  /** What is shown now. @type {unknown[]} */
  #shown = [];

  /**
   * @param {Connection} connection
   * @param {V1Session} session
   */
  constructor(connection, session) {
    this.#connection = connection;
    this.#session = session;
    this.#rooms = new RoomList(find(this.element, ".rooms"), connection, session);
    this.#form.setAttribute("aria-label", `Whom ${connection.label} watches`);
    find(this.#watching, ".people").setAttribute("aria-label", `Seen by ${connection.label}`);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#watch();
    });
    this.#form.addEventListener("change", () => this.#showFields());
    this.#reset();
  }

  /** Bring the page up to date. */
  show() {
    const { state } = this.#connection;
    const { view, wishes, back, refusal, roundTrip } = this.#session;
    const now = [state, view, wishes, back, refusal, roundTrip];
    if (now.every((value, i) => value === this.#shown[i])) return;
    if (wishes.watch !== /** @type {typeof wishes | undefined} */ (this.#shown[2])?.watch) this.#reset();
    this.#shown = now;
    const isOpen = state === "open";
    this.#rooms.show();
    for (const field of this.element.querySelectorAll("button")) {
      if (isOpen) field.removeAttribute("aria-disabled");
      else field.setAttribute("aria-disabled", "true");
    }
    this.#showSession();
    this.#showBack(back);
    setWords(find(this.element, ".refusal"), refusal ? ["Refused: ", [refusal]] : []);
    find(this.element, ".refusal").hidden = !refusal;
    this.#showWatching();
  }

  #showSession() {
    const { view, wishes, roundTrip, resumeWindow } = this.#session;
    const { state } = this.#connection;
    const parts = [];
    if (wishes.device) parts.push(wishes.device);
    if (view.sessionId) parts.push(`session ${view.sessionId.slice(0, 6)}…`);
    if (view.position) parts.push(`position ${view.position.split("-")[1] ?? view.position}`);
    if (state === "open" && roundTrip) parts.push(`round trip ${Math.max(1, Math.round(roundTrip))} ms`);
    if (state === "dropped" && view.sessionId) parts.push(`can be resumed for ${resumeWindow} s`);
    setText(find(this.element, ".session-line"), parts.join(" · "));
  }

  /**
   * @param {Return | null} back
   */
  #showBack(back) {
    const element = find(this.element, ".back");
    element.hidden = !back?.missed;
    if (!back?.missed) return;
    const { how, missed } = back;
    element.dataset.how = how;
    const nothing = how === "resumed" ? "Nothing was missed." : "";
    const said = missed.length ? `Missed: ${count(missed.length, "change")}.` : nothing;
    setText(find(element, ".back-line"), `${RETURNS.get(how)} ${said}`.trim());
    const items = missed.slice(0, MAX_MISSED).map((words) => {
      const item = make("li");
      setWords(item, words);
      return item;
    });
    if (missed.length > MAX_MISSED) items.push(make("li", "", `and ${missed.length - MAX_MISSED} more`));
    find(element, ".back-missed").replaceChildren(...items);
    find(element, ".back-missed").setAttribute("aria-label", `Missed by ${this.#connection.label}`);
  }

  #showWatching() {
    const { view, wishes } = this.#session;
    const { whom, counted, users } = wishes.watch;
    const people = counted || whom === "nobody" ? [] : listed(view);
    const online = counted ? view.counts.get(whom) : people.filter(({ status }) => status !== OFFLINE).length;
    const named = whom === "users" ? count(users.length, "user") : (WHOM.get(whom) ?? whom);
    const number = `${online ?? "…"} online`;
    setText(find(this.#watching, "summary"), `Watches ${named}${whom === "nobody" ? "" : `: ${number}`}`);
    const note = find(this.#watching, ".watch-count");
    note.hidden = !counted || whom === "nobody";
    setText(note, `${number}, told by number`);
    showPeople(find(this.#watching, ".people"), people);
  }

  /** Have the form say what is wished for. */
  #reset() {
    const { whom, users, counted } = this.#session.wishes.watch;
    for (const field of this.#form.querySelectorAll("input, textarea")) {
      if (field instanceof HTMLTextAreaElement) field.value = users.join("\n");
      else if (!(field instanceof HTMLInputElement)) continue;
      else field.checked = field.name === "counted" ? counted : field.value === whom;
    }
    this.#showFields();
  }

  #showFields() {
    const whom = new FormData(this.#form).get("whom");
    find(this.#form, ".watch-users").hidden = whom !== "users";
    find(this.#form, ".check").hidden = whom === "nobody";
  }

  #watch() {
    if (this.#connection.state !== "open") return;
    const fields = new FormData(this.#form);
    const whom = /** @type {WatchWish["whom"]} */ (fields.get("whom"));
    const lines = String(fields.get("users")).split("\n").map((line) => line.trim());
    const users = whom === "users" ? [...new Set(lines.filter(Boolean))] : [];
    this.#session.watch({ whom, users, counted: whom !== "nobody" && fields.get("counted") !== null });
    this.#shown = [];
    this.show();
  }
}
