/** The card of a person: their device, how they see the others, and what they can do. */

import { find, fromTemplate, make, setText } from "./dom.js";

/**
 * @typedef {import("./person.js").Person} Person
 *
 * @typedef {object} Actions
 * @property {(person: Person) => void} connect
 * @property {(person: Person) => void} signOut
 * @property {(person: Person, isCut: boolean) => void} setNetwork
 * @property {(person: Person) => void} reload
 * @property {(person: Person, status: string, text: string) => Promise<void>} choose Ends with the server's answer.
 *
 * @typedef {import("./client.js").Presence} Presence
 */

const STATUSES = new Map([
  ["online", "Online"],
  ["away", "Away"],
  ["busy", "Busy"],
  ["invisible", "Invisible"],
  ["offline", "Offline"],
]);

/** What the person's own screen says, above the other people. */
const NOTES = new Map(
  /** @type {[string, (person: Person) => string][]} */ ([
    ["out", ({ name, device }) => `${name}'s ${device} is off.`],
    ["connecting", () => "Connecting …"],
    ["here", ({ name }) => `${name} sees`],
    ["cut", () => "No connection. This may be out of date."],
    ["reloading", () => "The page is loading …"],
  ]),
);

/** What stands beside the device while the person's own status is not known, or does not count. */
const STATES = new Map([
  ["out", "not connected"],
  ["connecting", "connecting"],
  ["cut", "no network"],
  ["reloading", "loading"],
]);

export class PersonCard {
  element = fromTemplate("person-template");
  #person;
  #actions;
  #form = /** @type {HTMLFormElement} */ (find(this.element, "form"));
  #status = /** @type {HTMLSelectElement} */ (find(this.element, "select"));
  #text = /** @type {HTMLInputElement} */ (find(this.element, "input"));
  #sign = find(this.element, ".sign");
  #cut = find(this.element, ".cut");
  #reload = find(this.element, ".reload");
  /** The choice that the server has not answered yet. */
  #pending = "";
  /** Rows of the other people. @type {Map<Person, HTMLElement>} */
  #rows = new Map();

  /**
   * @param {Person} person
   * @param {readonly Person[]} others
   * @param {Actions} actions
   */
  constructor(person, others, actions) {
    this.#person = person;
    this.#actions = actions;
    const { element } = this;
    element.setAttribute("aria-label", person.name);
    element.dataset.person = person.name;
    find(element, "header").prepend(makeAvatar(person));
    setText(find(element, "h3"), person.name);
    find(element, ".seen").setAttribute("aria-label", `${person.name} sees`);
    for (const other of others) {
      const row = make("li");
      row.append(makeAvatar(other), make("span", "who", other.name), make("span", "status"), make("bdi", "text"));
      this.#rows.set(other, row);
      find(element, ".seen").append(row);
    }
    this.#form.setAttribute("aria-label", `Status of ${person.name}`);
    this.#status.setAttribute("aria-label", `${person.name}'s status`);
    this.#text.setAttribute("aria-label", `${person.name}'s status text`);
    this.#status.addEventListener("change", () => this.#choose());
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#choose();
    });
    this.#text.addEventListener("change", () => this.#choose());
    this.#sign.addEventListener("click", () => {
      if (person.condition === "out") actions.connect(person);
      else actions.signOut(person);
    });
    this.#cut.setAttribute("aria-label", `Cut ${person.name}'s network`);
    this.#cut.addEventListener("click", () => {
      if (isEnabled(this.#cut)) actions.setNetwork(person, !person.network.isCut);
    });
    this.#reload.setAttribute("aria-label", `Reload ${person.name}'s page`);
    this.#reload.addEventListener("click", () => {
      if (isEnabled(this.#reload)) actions.reload(person);
    });
  }

  show() {
    const { condition, self, name, device, network } = this.#person;
    const { element } = this;
    const status = self?.status ?? "offline";
    const isOut = condition === "out";
    element.dataset.condition = condition;
    find(element, "header").dataset.status = isOut ? "offline" : condition === "here" ? status : "unsure";
    setText(find(element, ".at"), `${device}, ${STATES.get(condition) ?? status}`);
    setText(find(element, ".screen-note"), NOTES.get(condition)?.(this.#person) ?? "");
    setText(this.#sign, isOut ? "Connect" : "Sign out");
    this.#sign.setAttribute("aria-label", isOut ? `Connect ${name}` : `Sign ${name} out`);
    this.#sign.classList.toggle("quiet", !isOut);
    this.#cut.setAttribute("aria-checked", String(network.isCut && condition === "cut"));
    setEnabled(this.#cut, !isOut && condition !== "reloading");
    setEnabled(this.#reload, condition === "here" || condition === "connecting");
    this.#form.hidden = find(element, ".actions").hidden = isOut;
    find(element, ".seen").hidden = isOut || condition === "reloading";
    if (self && !this.#pending && document.activeElement !== this.#status) this.#status.value = optionOf(self.chosen);
    if (self && !this.#pending && document.activeElement !== this.#text) this.#text.value = self.text;
    for (const [other, row] of this.#rows) showRow(row, this.#person.sees(other));
  }

  #choose() {
    const [status, text] = [this.#status.value, this.#text.value.trim()];
    const { self } = this.#person;
    const choice = `${status} ${text}`;
    // Enter submits the form, and leaving the field afterwards changes nothing.
    if (choice === this.#pending || (self && self.chosen === status && self.text === text)) return;
    this.#pending = choice;
    void this.#actions.choose(this.#person, status, text).finally(() => {
      this.#pending = "";
    });
  }
}

/**
 * Return the option for a chosen status. There is one for being online, whether it is chosen or detected.
 *
 * @param {string} chosen
 */
function optionOf(chosen) {
  return chosen === "online" ? "auto" : chosen;
}

/**
 * @param {HTMLElement} row
 * @param {Presence | null} presence
 */
function showRow(row, presence) {
  const status = presence?.status ?? "offline";
  row.dataset.status = status;
  setText(find(row, ".status"), STATUSES.get(status) ?? status);
  setText(find(row, ".text"), presence?.text ?? "");
}

/**
 * @param {Person} person
 */
function makeAvatar({ name }) {
  const avatar = make("span", "avatar", name.charAt(0));
  avatar.dataset.person = name;
  avatar.setAttribute("aria-hidden", "true"); // the name and the status stand beside it
  avatar.append(make("span", "dot"));
  return avatar;
}

/**
 * @param {HTMLElement} control
 */
function isEnabled(control) {
  return control.getAttribute("aria-disabled") !== "true";
}

/**
 * Enable or disable a control. It keeps the focus, which `disabled` would lose.
 *
 * @param {HTMLElement} control
 * @param {boolean} isOn
 */
function setEnabled(control, isOn) {
  control.setAttribute("aria-disabled", String(!isOn));
}
