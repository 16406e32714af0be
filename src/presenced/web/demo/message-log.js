/**
 * The log of all messages of all connections, newest first.
 */

import { byId, clockTime, isolatedText, make, setText, setPhrase } from "./dom.js";

/** @typedef {import("./connection.js").Direction} Direction */

/** Maximum number of entries; the oldest are evicted. */
export const MAX_ENTRIES = 500;

const SIGNS = new Map([
  ["in", { sign: "←", word: "received" }],
  ["out", { sign: "→", word: "sent" }],
  ["end", { sign: "×", word: "ended" }],
  ["state", { sign: "·", word: "state" }],
]);

export class MessageLog {
  #list = byId("log", HTMLOListElement);
  #note = byId("log-note", HTMLParagraphElement);
  #filter = byId("filter", HTMLInputElement);
  /** @type {HTMLLIElement[]} Entries that are not in the list yet, oldest first. */
  #fresh = [];

  constructor() {
    this.#filter.addEventListener("input", () => this.#applyFilter());
    byId("clear", HTMLButtonElement).addEventListener("click", () => {
      this.#fresh = [];
      this.#list.replaceChildren();
      this.#applyFilter();
    });
    this.#applyFilter();
  }

  /**
   * Add an entry. `show` displays it.
   *
   * @param {import("./v1-descriptions.js").Phrase} whose The connection.
   * @param {Direction} direction
   * @param {string} text
   * @param {import("./v1-descriptions.js").Phrase} [phrase] Description of the message.
   */
  add(whose, direction, text, phrase = []) {
    const now = Date.now();
    const entry = make("li", direction);
    const time = make("time", "", clockTime(now, true));
    time.dateTime = new Date(now).toISOString();
    const sign = make("span", "sign", SIGNS.get(direction)?.sign);
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", SIGNS.get(direction)?.word ?? "");
    const label = make("span", "whose");
    setPhrase(label, whose);
    label.title = isolatedText(whose); // CSS truncates long labels
    entry.append(time, label, sign);
    if (phrase.length) {
      const says = make("p", "says");
      setPhrase(says, phrase);
      entry.append(says);
    }
    entry.append(make("code", "", text));
    this.#fresh.push(entry);
    if (this.#fresh.length > MAX_ENTRIES) this.#fresh.shift();
  }

  /**
   * Add an entry of a connection: the hook `logged`.
   *
   * @param {import("./connection.js").Connection} connection
   * @param {Direction} direction
   * @param {string} text
   * @param {import("./v1-descriptions.js").Phrase} [phrase]
   */
  addOf = (connection, direction, text, phrase) => this.add(connection.labelPhrase, direction, text, phrase);

  /** Display new entries. Call it once per frame, however many there are. */
  show() {
    if (!this.#fresh.length) return;
    this.#list.prepend(...this.#fresh.reverse());
    this.#fresh = [];
    while (this.#list.childElementCount > MAX_ENTRIES) this.#list.lastElementChild?.remove();
    this.#applyFilter();
  }

  #applyFilter() {
    const wanted = this.#filter.value.trim().toLowerCase();
    let shown = 0;
    for (const entry of this.#list.children) {
      const fits = !wanted || (entry.textContent ?? "").toLowerCase().includes(wanted);
      entry.toggleAttribute("hidden", !fits);
      shown += fits ? 1 : 0;
    }
    const all = this.#list.childElementCount;
    const limit = all === MAX_ENTRIES ? `Only the newest ${all} are stored.` : "";
    const note = wanted ? `${shown} of ${all} entries match. ${limit}` : limit;
    setText(this.#note, all ? note.trim() : "Messages of this page's connections appear here.");
  }
}
