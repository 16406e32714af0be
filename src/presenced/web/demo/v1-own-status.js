/**
 * Own status in a user's card: the true status, the status others see, and the form to choose one.
 */

import { find, fromTemplate, setText, setPhrase } from "./dom.js";
import { describeSelf } from "./v1-descriptions.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-protocol.js").Self} Self
 * @typedef {import("./v1-session.js").V1Session} V1Session
 *
 * @typedef {object} Fields
 * @property {RadioNodeList} status
 * @property {HTMLInputElement} text
 * @property {HTMLInputElement} emoji
 * @property {HTMLInputElement} amount
 * @property {HTMLSelectElement} unit
 */

export class OwnStatus {
  element = fromTemplate("own-template");
  #form = find(this.element, "form");
  #toggle = find(this.element, ".own-open");
  /** @type {V1Session | null} */
  #session = null;
  /** @type {Self | null} */
  #self = null;

  /**
   * @param {string} userId
   */
  constructor(userId) {
    this.#toggle.setAttribute("aria-label", `Set status of ${userId}`);
    this.#form.setAttribute("aria-label", `Status of ${userId}`);
    this.#toggle.addEventListener("click", () => this.#open(Boolean(this.#form.hidden)));
    find(this.element, ".own-cancel").addEventListener("click", () => this.#open(false));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#choose();
    });
    this.#form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#open(false);
    });
  }

  /**
   * @param {readonly Connection[]} connections The user's connections on this page.
   * @param {string} others Status that others see.
   */
  show(connections, others) {
    const sessions = connections.flatMap(({ v1 }) => v1 ?? []);
    this.#session = connections.find(({ v1, state }) => v1 && state === "open")?.v1 ?? null;
    const self = (this.#session ?? sessions.find(({ view }) => view.self))?.view.self ?? null;
    this.element.hidden = !self;
    if (!self) return;
    this.#self = self;
    this.element.dataset.status = self.status;
    setPhrase(find(this.element, ".own-truth"), describeSelf(self));
    const differs = others !== self.status;
    setText(find(this.element, ".own-others"), differs ? `Others see: ${others}.` : "Others see the same.");
    this.element.classList.toggle("differs", differs);
    if (this.#session) this.#toggle.removeAttribute("aria-disabled");
    else this.#toggle.setAttribute("aria-disabled", "true");
  }

  /**
   * @param {boolean} isOpen
   */
  #open(isOpen) {
    if (isOpen && !this.#session) return;
    const { status, text, emoji, amount } = this.#fields;
    this.#form.hidden = !isOpen;
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) {
      this.#toggle.focus();
      return;
    }
    status.value = this.#self?.chosen || "auto";
    text.value = this.#self?.choice.text ?? "";
    text.maxLength = this.#session?.maxTextLength || 140;
    emoji.value = this.#self?.choice.emoji ?? "";
    amount.value = "";
    find(this.#form, ":checked").focus();
  }

  #choose() {
    const { status, text, emoji, amount, unit } = this.#fields;
    this.#session?.setStatus({
      status: status.value || "auto",
      text: text.value.trim(),
      emoji: emoji.value.trim(),
      expiresIn: Number(amount.value) * Number(unit.value),
    });
    this.#open(false);
  }

  get #fields() {
    const { elements } = /** @type {HTMLFormElement} */ (this.#form);
    const named = ["status", "text", "emoji", "amount", "unit"].map((name) => [name, elements.namedItem(name)]);
    return /** @type {Fields} */ (Object.fromEntries(named));
  }
}
