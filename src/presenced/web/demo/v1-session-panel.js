/**
 * Details of a presenced.v1 connection: its session, its subscription and its rooms.
 */

import { find, fromTemplate, make, setText, setPhrase } from "./dom.js";
import { showUsers } from "./user-list.js";
import { RoomList } from "./v1-rooms.js";
import { count } from "./v1-descriptions.js";

/**
 * @typedef {import("./v1-connection.js").V1Connection} V1Connection
 * @typedef {import("./v1-connection.js").Reconnect} Reconnect
 * @typedef {import("./v1-desired-state.js").DesiredWatch} DesiredWatch
 */

const TARGETS = new Map([
  ["everyone", "everyone"],
  ["users", "some"],
  ["nobody", "nobody"],
]);

const RECONNECTS = new Map([
  ["resumed", "Resumed."],
  ["resynced", "Same session, with a new snapshot."],
  ["new-session", "The session could not be resumed. A new one received a snapshot."],
]);

/** Maximum number of missed changes in the list; the others are counted. */
const MAX_MISSED = 8;

export class SessionPanel {
  element = fromTemplate("session-template");
  #connection;
  #rooms;
  #watching = find(this.element, ".watching");
  #form = /** @type {HTMLFormElement} */ (find(this.#watching, "form"));
  /** Version of the connection that is displayed now. */
  #shown = -1;
  /** The subscription in the form. @type {DesiredWatch | null} */
  #inForm = null;

  /**
   * @param {V1Connection} connection
   */
  constructor(connection) {
    this.#connection = connection;
    this.#rooms = new RoomList(find(this.element, ".rooms"), connection);
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
    const { state, version, desired, reconnected, refusal } = this.#connection;
    if (version === this.#shown) return;
    this.#shown = version;
    if (desired.watch !== this.#inForm) this.#reset();
    const isOpen = state === "open";
    this.#rooms.show();
    for (const field of this.element.querySelectorAll("button")) {
      if (isOpen) field.removeAttribute("aria-disabled");
      else field.setAttribute("aria-disabled", "true");
    }
    this.#showSession();
    this.#showReconnect(reconnected);
    setPhrase(find(this.element, ".refusal"), refusal ? ["Refused: ", [refusal]] : []);
    find(this.element, ".refusal").hidden = !refusal;
    this.#showWatching();
  }

  #showSession() {
    const { state, desired, sessionId, resumeWindowS, client, isStale } = this.#connection;
    const { position, knownUsers } = client.explain();
    const { latency } = client.connection.get();
    const parts = [];
    if (desired.device) parts.push(desired.device);
    if (sessionId) parts.push(`session ${sessionId.slice(0, 6)}…`);
    if (position) parts.push(`position ${String(position).split("-")[1] ?? position}`);
    if (state === "open") parts.push(`${count(Number(knownUsers), "known user")}${isStale ? ", may be out of date" : ""}`);
    if (state === "open" && latency) parts.push(`round trip ${Math.max(1, Math.round(latency))} ms`);
    if (state === "dropped" && sessionId) parts.push(`can be resumed for ${resumeWindowS} s`);
    setText(find(this.element, ".session-line"), parts.join(" · "));
  }

  /**
   * @param {Reconnect | null} reconnect
   */
  #showReconnect(reconnect) {
    const element = find(this.element, ".back");
    element.hidden = !reconnect;
    if (!reconnect) return;
    const { outcome, missed } = reconnect;
    element.dataset.how = outcome;
    const nothing = outcome === "resumed" ? "Nothing was missed." : "";
    const said = missed.length ? `Missed: ${count(missed.length, "change")}.` : nothing;
    setText(find(element, ".back-line"), `${RECONNECTS.get(outcome)} ${said}`.trim());
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
    const { desired, people, onlineCount, isStale, state } = this.#connection;
    const { target, countOnly, users } = desired.watch;
    const named = target === "users" ? count(users.length, "user") : (TARGETS.get(target) ?? target);
    const number = `${onlineCount ?? "…"} online`;
    setText(find(this.#watching, "summary"), `Watches ${named}${target === "nobody" ? "" : `: ${number}`}`);
    const note = find(this.#watching, ".watch-count");
    note.hidden = !countOnly || target === "nobody";
    setText(note, `${number}, without names`);
    showUsers(find(this.#watching, ".people"), people, { isStale: isStale && state === "open" });
  }

  /** Fill the form with the desired subscription. */
  #reset() {
    const { watch } = this.#connection.desired;
    const { target, users, countOnly } = watch;
    this.#inForm = watch;
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
    find(this.#form, ".check").hidden = target !== "everyone"; // the server counts everyone, or a room
  }

  #watch() {
    if (this.#connection.state !== "open") return;
    const fields = new FormData(this.#form);
    const target = /** @type {DesiredWatch["target"]} */ (fields.get("target"));
    const lines = String(fields.get("users")).split("\n").map((line) => line.trim());
    const users = target === "users" ? [...new Set(lines.filter(Boolean))] : [];
    this.#connection.watch({ target, users, countOnly: target === "everyone" && fields.get("countOnly") !== null });
  }
}
