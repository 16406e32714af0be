/**
 * The form that connects a user: the id, and which protocol to speak. The last choice is kept for later tabs.
 */

import { byId, setText } from "./dom.js";
import { prefer, preferred } from "./memory.js";
import { newWishes } from "./v1-wishes.js";

/**
 * @typedef {import("./v1-wishes.js").Wishes} Wishes
 *
 * @typedef {object} Hooks
 * @property {(userId: string, wishes: Wishes | null) => boolean} connect Whether it is done; `wishes` is null for the
 *   classic protocol.
 * @property {(name: string) => boolean} isTaken
 * @property {(isV1: boolean, needsToken: boolean) => void} chose Set how later connections are made.
 */

const PROTOCOL_KEY = "presenced.protocol";
const DEVICE_KEY = "presenced.device";

const HINTS = new Map([
  ["classic", "Who comes and who goes."],
  ["v1", "Who is here and how available, rooms, and no loss on coming back."],
]);

const SUGGESTIONS = [
  ..."ada bruno chiara dalia emil frida gus hana ines jonas kira leo mira".split(" "),
  ..."nils olga pablo quinn rosa sami tilda uma vera wim xenia yuri zoe".split(" "),
];

export class ConnectForm {
  #form = byId("connect", HTMLFormElement);
  #field = byId("user-id", HTMLInputElement);
  #device = byId("device", HTMLSelectElement);
  #token = byId("token", HTMLInputElement);
  #hooks;

  /**
   * @param {Hooks} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    const wanted = preferred(PROTOCOL_KEY);
    for (const radio of this.#radios) radio.checked = radio.value === (HINTS.has(wanted) ? wanted : "classic");
    const device = preferred(DEVICE_KEY);
    if ([...this.#device.options].some(({ value }) => device && value === device)) this.#device.value = device;
    this.#form.addEventListener("change", ({ target }) => {
      if (target === this.#field || target === this.#token) return;
      prefer(PROTOCOL_KEY, this.#protocol);
      prefer(DEVICE_KEY, this.#device.value);
      this.#show();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!hooks.connect(this.#field.value, this.wishes)) return;
      this.suggest();
      // Not after a click: on a phone it would bring the keyboard up.
      if (document.activeElement === this.#field) this.#field.select();
    });
    this.#show();
  }

  /** What a new connection is to want of presenced.v1; null for the classic protocol. */
  get wishes() {
    return this.#protocol === "v1" ? newWishes(this.#device.value) : null;
  }

  /** What shows who the user is; kept nowhere. Empty when nothing was given. */
  get token() {
    return this.#token.value.trim();
  }

  /**
   * Have a field for a token, or none.
   *
   * @param {boolean} isNeeded
   */
  askForToken(isNeeded) {
    byId("token-label", HTMLLabelElement).hidden = !isNeeded;
    this.#show();
  }

  /** Put a name into the field that nobody has yet. */
  suggest() {
    const free = SUGGESTIONS.filter((name) => !this.#hooks.isTaken(name));
    this.#field.value = free[Math.floor(Math.random() * free.length)] ?? String(Math.floor(Math.random() * 1e6));
  }

  /**
   * Say why there is no connection.
   *
   * @param {string} reason
   */
  refuse(reason) {
    this.#field.setCustomValidity(reason);
    this.#field.reportValidity();
    this.#field.setCustomValidity("");
  }

  get #protocol() {
    return this.#radios.find(({ checked }) => checked)?.value ?? "classic";
  }

  get #radios() {
    return [...this.#form.querySelectorAll("input")].filter(({ type }) => type === "radio");
  }

  #show() {
    setText(byId("protocol-hint", HTMLParagraphElement), HINTS.get(this.#protocol) ?? "");
    byId("device-label", HTMLLabelElement).hidden = this.#protocol !== "v1";
    this.#hooks.chose(this.#protocol === "v1", !byId("token-label", HTMLLabelElement).hidden);
  }
}
