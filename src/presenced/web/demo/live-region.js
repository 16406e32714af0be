/**
 * Announcements for screen readers, a few at a time so that many changes do not flood them.
 */

import { byId } from "./dom.js";

/** Time between two announcements. */
const PAUSE_MS = 1_500;

/** Maximum number of texts in one announcement; the others are counted. */
const MAX_TEXTS = 3;

export class LiveRegion {
  #region = byId("live-region", HTMLDivElement);
  /** @type {string[]} The oldest waiting texts, at most `MAX_TEXTS`. */
  #waiting = [];
  #more = 0;
  #timer = 0;

  /**
   * @param {string} text
   */
  say(text) {
    if (this.#waiting.length < MAX_TEXTS) this.#waiting.push(text);
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
      this.#region.textContent = ""; // otherwise screen readers ignore a repeated text
    }
  }
}
