/**
 * The form that connects a user. The browser stores the chosen protocol and device for later tabs.
 */

import { byId, setText } from "./dom.js";
import { savePreference, loadPreference } from "./browser-storage.js";
import { defaultDesiredState } from "./v1-desired-state.js";

/**
 * @typedef {import("./v1-desired-state.js").DesiredState} DesiredState
 *
 * @typedef {object} Hooks
 * @property {(userId: string, desired: DesiredState | null) => boolean} connect Return whether the page connects;
 *   `desired` is null for the classic protocol.
 * @property {(name: string) => boolean} isTaken
 * @property {(isV1: boolean, needsToken: boolean) => void} changed
 */

const PROTOCOL_KEY = "presenced.protocol";
const DEVICE_KEY = "presenced.device";

const HINTS = new Map([
  ["classic", "Who comes online and who goes offline."],
  ["v1", "Statuses, rooms, and sessions that resume without loss."],
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
    const wanted = loadPreference(PROTOCOL_KEY);
    for (const radio of this.#radios) radio.checked = radio.value === (HINTS.has(wanted) ? wanted : "v1");
    const device = loadPreference(DEVICE_KEY);
    if ([...this.#device.options].some(({ value }) => device && value === device)) this.#device.value = device;
    this.#form.addEventListener("change", ({ target }) => {
      if (target === this.#field || target === this.#token) return;
      savePreference(PROTOCOL_KEY, this.#protocol);
      savePreference(DEVICE_KEY, this.#device.value);
      this.#show();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!hooks.connect(this.#field.value, this.desired)) return;
      this.suggest();
      // Not after a click, because it would open the keyboard of a phone.
      if (document.activeElement === this.#field) this.#field.select();
    });
    this.#show();
  }

  /** Desired state of a new connection; null for the classic protocol. */
  get desired() {
    return this.#protocol === "v1" ? defaultDesiredState(this.#device.value) : null;
  }

  /** The user's token, or an empty string. It is not stored. */
  get token() {
    return this.#token.value.trim();
  }

  /**
   * Show or hide the field for a token.
   *
   * @param {boolean} isNeeded
   */
  askForToken(isNeeded) {
    byId("token-label", HTMLLabelElement).hidden = !isNeeded;
    this.#show();
  }

  /** Fill in an id that is not in use. */
  suggest() {
    const free = SUGGESTIONS.filter((name) => !this.#hooks.isTaken(name));
    this.#field.value = free[Math.floor(Math.random() * free.length)] ?? String(Math.floor(Math.random() * 1e6));
  }

  /**
   * Display why the page does not connect.
   *
   * @param {string} reason
   */
  refuse(reason) {
    this.#field.setCustomValidity(reason);
    this.#field.reportValidity();
    this.#field.setCustomValidity("");
  }

  get #protocol() {
    return this.#radios.find(({ checked }) => checked)?.value ?? "v1";
  }

  get #radios() {
    return [...this.#form.querySelectorAll("input")].filter(({ type }) => type === "radio");
  }

  #show() {
    setText(byId("protocol-hint", HTMLParagraphElement), HINTS.get(this.#protocol) ?? "");
    byId("device-label", HTMLLabelElement).hidden = this.#protocol !== "v1";
    this.#hooks.changed(this.#protocol === "v1", !byId("token-label", HTMLLabelElement).hidden);
  }
}
