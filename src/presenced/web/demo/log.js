/**
 * The log of all messages of all connections, newest first.
 */

import { byId, clockTime, isolated, make, setText, setWords } from "./dom.js";

/** @typedef {import("./connection.js").Direction} Direction */

/** Entries kept; the oldest go first. */
export const MAX_ENTRIES = 500;

const SIGNS = new Map([
  ["in", { sign: "←", word: "received" }],
  ["out", { sign: "→", word: "sent" }],
  ["end", { sign: "×", word: "ended" }],
]);

export class MessageLog {
  #list = byId("log", HTMLOListElement);
  #note = byId("log-note", HTMLParagraphElement);
  #filter = byId("filter", HTMLInputElement);
  /** @type {HTMLLIElement[]} Not yet in the list, oldest first. */
  #fresh = [];

  constructor() {
    this.#filter.addEventListener("input", () => this.#sift());
    byId("clear", HTMLButtonElement).addEventListener("click", () => {
      this.#fresh = [];
      this.#list.replaceChildren();
      this.#sift();
    });
    this.#sift();
  }

  /**
   * Take an entry; `show` puts it onto the page.
   *
   * @param {import("./v1-words.js").Words} whose The connection.
   * @param {Direction} direction
   * @param {string} text
   * @param {import("./v1-words.js").Words} [words] What it says.
   */
  add(whose, direction, text, words = []) {
    const now = Date.now();
    const entry = make("li", direction);
    const time = make("time", "", clockTime(now, true));
    time.dateTime = new Date(now).toISOString();
    const sign = make("span", "sign", SIGNS.get(direction)?.sign);
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", SIGNS.get(direction)?.word ?? "");
    const label = make("span", "whose");
    setWords(label, whose);
    label.title = isolated(whose); // a long one is cut short
    entry.append(time, label, sign);
    if (words.length) {
      const says = make("p", "says");
      setWords(says, words);
      entry.append(says);
    }
    entry.append(make("code", "", text));
    this.#fresh.push(entry);
    if (this.#fresh.length > MAX_ENTRIES) this.#fresh.shift();
  }

  /** Bring the page up to date; to be called once a frame, however many entries came. */
  show() {
    if (!this.#fresh.length) return;
    this.#list.prepend(...this.#fresh.reverse());
    this.#fresh = [];
    while (this.#list.childElementCount > MAX_ENTRIES) this.#list.lastElementChild?.remove();
    this.#sift();
  }

  #sift() {
    const wanted = this.#filter.value.trim().toLowerCase();
    let shown = 0;
    for (const entry of this.#list.children) {
      const fits = !wanted || (entry.textContent ?? "").toLowerCase().includes(wanted);
      entry.toggleAttribute("hidden", !fits);
      shown += fits ? 1 : 0;
    }
    const all = this.#list.childElementCount;
    const kept = all === MAX_ENTRIES ? `The newest ${all} are kept.` : "";
    const note = wanted ? `${shown} of ${all} entries match. ${kept}` : kept;
    setText(this.#note, all ? note.trim() : "What the connections of this page are told appears here.");
  }
}
