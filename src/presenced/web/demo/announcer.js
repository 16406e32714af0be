/**
 * Speaks to screen readers, politely: a few words at a time, however much happens.
 */

import { byId } from "./dom.js";

/** Between two announcements. */
const PAUSE_MS = 1_500;

/** Said in one go; what is more is only counted. */
const MAX_WORDS = 3;

export class Announcer {
  #region = byId("announcer", HTMLDivElement);
  /** @type {string[]} The oldest `MAX_WORDS` that wait. */
  #waiting = [];
  #more = 0;
  #timer = 0;

  /**
   * @param {string} text
   */
  say(text) {
    if (this.#waiting.length < MAX_WORDS) this.#waiting.push(text);
    else this.#more += 1;
    if (!this.#timer) this.#timer = setTimeout(() => this.#speak(), this.#region.textContent ? PAUSE_MS : 0);
  }

  #speak() {
    this.#timer = 0;
    if (this.#waiting.length) {
      this.#region.textContent = this.#waiting.join(" ") + (this.#more ? ` And ${this.#more} more.` : "");
      this.#waiting = [];
      this.#more = 0;
      this.#timer = setTimeout(() => this.#speak(), PAUSE_MS);
    } else {
      this.#region.textContent = ""; // so that the same words are heard when they come again
    }
  }
}
