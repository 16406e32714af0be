/**
 * Own status in a user's card: the true status, the status others see, and the form to choose one.
 */

import { find, fromTemplate, setText, setPhrase } from "./dom.js";
import { describeSelf } from "./v1-descriptions.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-connection.js").V1Connection} V1Connection
 * @typedef {import("./v1-connection.js").Own} Own
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
  /** The connection that sends the choice; null if none is open. @type {V1Connection | null} */
  #connection = null;
  /** @type {Own | null} */
  #own = null;

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
    const all = connections.flatMap(({ v1 }) => v1 ?? []);
    this.#connection = all.find(({ state }) => state === "open") ?? null;
    const own = (this.#connection ?? all.find((each) => each.own))?.own ?? null;
    this.element.hidden = !own;
    if (!own) return;
    this.#own = own;
    this.element.dataset.status = own.status;
    setPhrase(find(this.element, ".own-truth"), describeSelf(own));
    const differs = others !== own.status;
    setText(find(this.element, ".own-others"), differs ? `Others see: ${others}.` : "Others see the same.");
    this.element.classList.toggle("differs", differs);
    if (this.#connection) this.#toggle.removeAttribute("aria-disabled");
    else this.#toggle.setAttribute("aria-disabled", "true");
  }

  /**
   * @param {boolean} isOpen
   */
  #open(isOpen) {
    if (isOpen && !this.#connection) return;
    const { status, text, emoji, amount } = this.#fields;
    this.#form.hidden = !isOpen;
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) {
      this.#toggle.focus();
      return;
    }
    status.value = this.#own?.chosen || "auto";
    text.value = this.#own?.choice.text ?? "";
    text.maxLength = this.#connection?.client.wire.limits.maxTextLength || 140;
    emoji.value = this.#own?.choice.emoji ?? "";
    amount.value = "";
    find(this.#form, ":checked").focus();
  }

  #choose() {
    const { status, text, emoji, amount, unit } = this.#fields;
    const expiresIn = Number(amount.value) * Number(unit.value);
    this.#connection?.setStatus({
      status: /** @type {import("./client.js").Choice["status"]} */ (status.value || "auto"),
      text: text.value.trim(),
      emoji: emoji.value.trim(),
      ...(expiresIn ? { expiresIn } : {}),
    });
    this.#open(false);
  }

  get #fields() {
    const { elements } = /** @type {HTMLFormElement} */ (this.#form);
    const named = ["status", "text", "emoji", "amount", "unit"].map((name) => [name, elements.namedItem(name)]);
    return /** @type {Fields} */ (Object.fromEntries(named));
  }
}
