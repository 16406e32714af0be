/** The demonstration: three people, each with a client and a device of their own. */

import { loadForTab, saveForTab } from "./browser-storage.js";
import { byId, setText } from "./dom.js";
import { Person } from "./person.js";
import { PersonCard } from "./person-card.js";
import { Story } from "./story.js";

/** @typedef {import("./person.js").Profile} Profile */

/** @type {readonly Profile[]} */
const PROFILES = [
  { name: "Ada", pronoun: "she", device: "laptop" },
  { name: "Bob", pronoun: "he", device: "phone" },
  { name: "Cleo", pronoun: "she", device: "tablet" },
];

const SUFFIX_KEY = "presenced.demo.suffix";
const CONNECTED_KEY = "presenced.demo.connected";

/** Time until the story is told, so that changes that two people see count as one, and are announced once. */
const PAUSE_MS = 150;

export class Demonstration {
  #people;
  #cards;
  #story;
  #line = byId("story", HTMLParagraphElement);
  #connectAll = byId("connect-all", HTMLButtonElement);
  #frame = 0;
  #timer = 0;
  #isBlocked = false;

  constructor() {
    const suffix = suffixOfTab();
    this.#people = PROFILES.map(
      (profile) =>
        new Person(profile, `demo-${profile.name.toLowerCase()}-${suffix}`, {
          changed: () => this.#requestRender(),
          saw: (viewer, current) => this.#story.saw(viewer, current),
          back: (person) => this.#story.back(person),
        }),
    );
    this.#story = new Story(this.#people, () => this.#requestRender(), () => performance.now());
    this.#cards = this.#people.map(
      (person) =>
        new PersonCard(person, this.#others(person), {
          connect: () => this.#connect(person),
          signOut: () => {
            this.#story.signedOut(person);
            person.signOut();
            this.#save();
          },
          setNetwork: (_, isCut) => this.#setNetwork(person, isCut),
          reload: () => {
            this.#story.broke(person, "reload");
            person.reload();
          },
          choose: (_, status, text) => this.#choose(person, status, text),
        }),
    );
    byId("people", HTMLDivElement).append(...this.#cards.map(({ element }) => element));
    this.#connectAll.addEventListener("click", () => {
      for (const person of this.#people) this.#connect(person);
    });
    for (const name of loadForTab(CONNECTED_KEY)) {
      const person = this.#people.find((each) => each.name === name);
      if (person) this.#connect(person);
    }
    this.#requestRender();
  }

  /** Connect now instead of waiting, because the server is reachable again. */
  reconnect() {
    for (const person of this.#people) person.reconnect();
  }

  /**
   * Say that the server needs tokens, or that it does not.
   *
   * @param {boolean} needsTokens
   */
  block(needsTokens) {
    this.#isBlocked = needsTokens;
    byId("needs-tokens", HTMLDivElement).hidden = !needsTokens;
    byId("demonstration", HTMLDivElement).hidden = needsTokens;
    if (needsTokens) for (const person of this.#people) if (person.condition !== "out") person.signOut();
  }

  /**
   * @param {Person} person
   */
  #others(person) {
    return this.#people.filter((other) => other !== person);
  }

  /**
   * @param {Person} person
   */
  #connect(person) {
    if (this.#isBlocked || person.condition !== "out") return;
    person.connect(this.#others(person).map(({ userId }) => userId));
    this.#story.connected(person);
    this.#save();
  }

  /**
   * @param {Person} person
   * @param {boolean} isCut
   */
  #setNetwork(person, isCut) {
    if (isCut) {
      this.#story.broke(person, "cut");
      person.cutNetwork();
    } else {
      person.restoreNetwork();
      this.#story.restored(person);
    }
  }

  /**
   * @param {Person} person
   * @param {string} status
   * @param {string} text
   */
  async #choose(person, status, text) {
    this.#story.choseStatus(person, status, text);
    await person
      .setStatus({ status: /** @type {import("./client.js").Choice["status"]} */ (status), text })
      .catch((error) => this.#story.refused(person, error.message));
  }

  /** Save who is connected, for a reload of the tab. */
  #save() {
    saveForTab(CONNECTED_KEY, this.#people.filter(({ condition }) => condition !== "out").map(({ name }) => name));
  }

  #requestRender() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      for (const card of this.#cards) card.show();
      const isAnyoneOut = this.#people.some(({ condition }) => condition === "out");
      if (!isAnyoneOut && document.activeElement === this.#connectAll) this.#line.focus();
      this.#connectAll.hidden = !isAnyoneOut;
    });
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => setText(this.#line, this.#story.text), PAUSE_MS);
  }
}

/** Return what makes the ids of this tab's people unique: other tabs have people of their own. */
function suffixOfTab() {
  const suffix = loadForTab(SUFFIX_KEY)[0] ?? Math.floor(Math.random() * 36 ** 4).toString(36).padStart(4, "0");
  saveForTab(SUFFIX_KEY, [suffix]);
  return suffix;
}
