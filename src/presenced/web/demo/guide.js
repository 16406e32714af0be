/**
 * The list "What to try". A step is checked off once it has happened on this page.
 */

import { byId, make } from "./dom.js";
import { loadForTab, saveForTab } from "./browser-storage.js";

/** @typedef {"two" | "twice" | "tab" | "reload" | "kept" | "back" | "wait" | "kill" | "status" | "idle" | "resume"} Step */

const KEY = "presenced.tried";

export class Guide {
  /** @type {Set<string>} */
  #done = new Set();

  constructor() {
    for (const step of loadForTab(KEY)) this.#tick(step);
  }

  /**
   * @param {Step} step
   */
  saw(step) {
    if (this.#done.has(step)) return;
    this.#tick(step);
    saveForTab(KEY, [...this.#done]);
  }

  /**
   * @param {string} step
   */
  #tick(step) {
    this.#done.add(step);
    for (const element of byId("steps", HTMLOListElement).children) {
      if (!(element instanceof HTMLElement) || element.dataset.step !== step) continue;
      element.classList.add("done");
      element.append(make("span", "visually-hidden", " Done."));
    }
  }
}
