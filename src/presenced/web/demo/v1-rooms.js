/**
 * The rooms of one connection: joining and leaving, and who is in each.
 */

import { find, fromTemplate, setText, setWords } from "./dom.js";
import { showPeople } from "./people.js";
import { seenOf } from "./v1-state.js";
import { dataFrom } from "./v1-wishes.js";
import { count } from "./v1-words.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-session.js").V1Session} V1Session
 * @typedef {import("./v1-wishes.js").RoomWish} RoomWish
 *
 * @typedef {object} Section
 * @property {HTMLElement} element
 * @property {RoomWish} wish
 */

/** How each mode tells of a room. */
const MODES = new Map([
  ["full", "every change is told at once"],
  ["coalesced", "changes are told once a second"],
  ["counts", "only the number is told"],
]);

export class RoomList {
  #root;
  #connection;
  #session;
  #label;
  #list;
  /** @type {Map<string, Section>} */
  #sections = new Map();

  /**
   * @param {HTMLElement} root
   * @param {Connection} connection
   * @param {V1Session} session Of the connection.
   */
  constructor(root, connection, session) {
    const { label } = connection;
    this.#root = root;
    this.#connection = connection;
    this.#session = session;
    this.#label = label;
    this.#list = find(root, ".room-list");
    const form = find(root, "form");
    form.setAttribute("aria-label", `Join a room with ${label}`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#enter(form, true);
    });
    find(form, ".look").addEventListener("click", () => this.#enter(form, false));
  }

  /** Bring the page up to date. */
  show() {
    const { wishes, view } = this.#session;
    const names = new Set(wishes.rooms.map(({ name }) => name));
    for (const [name, { element }] of this.#sections) {
      if (names.has(name)) continue;
      if (element.contains(document.activeElement)) find(this.#root, "input").focus();
      element.remove();
      this.#sections.delete(name);
    }
    for (const wish of wishes.rooms) {
      let section = this.#sections.get(wish.name);
      if (!section) this.#sections.set(wish.name, (section = this.#make(wish)));
      section.wish = wish;
      this.#fill(section);
    }
    const said = wishes.rooms.flatMap(({ name }, i) => [
      ...(i ? [", "] : []),
      /** @type {[string]} */ ([name]),
      ` ${view.rooms.get(name)?.count ?? "…"}`,
    ]);
    setWords(find(this.#root, "summary"), ["Rooms: ", ...(said.length ? said : ["none"])]);
  }

  /**
   * @param {HTMLElement} form
   * @param {boolean} joined
   */
  #enter(form, joined) {
    if (!(form instanceof HTMLFormElement) || !this.#isOpen || !form.reportValidity()) return;
    const fields = new FormData(form);
    this.#session.enter({ name: String(fields.get("room")), joined, data: dataFrom(String(fields.get("data"))) });
    form.reset();
    find(form, "input").focus();
  }

  /**
   * @param {RoomWish} wish
   * @returns {Section}
   */
  #make(wish) {
    const element = fromTemplate("room-template");
    const section = { element, wish };
    element.dataset.room = wish.name;
    element.setAttribute("aria-label", `Room ${wish.name} of ${this.#label}`);
    find(element, ".people").setAttribute("aria-label", `Members of ${wish.name}, seen by ${this.#label}`);
    setText(find(element, "h4 bdi"), wish.name);
    const leave = find(element, ".room-leave");
    leave.addEventListener("click", () => {
      if (this.#isOpen) this.#session.leave(section.wish);
    });
    const form = find(element, "form");
    form.setAttribute("aria-label", `Data of ${this.#label} in ${wish.name}`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#isOpen) return;
      const typed = String(new FormData(/** @type {HTMLFormElement} */ (form)).get("data"));
      this.#session.setMember({ ...section.wish, data: dataFrom(typed) });
    });
    this.#list.append(element);
    return section;
  }

  get #isOpen() {
    return this.#connection.state === "open";
  }

  /**
   * @param {Section} section
   */
  #fill({ element, wish }) {
    const { view } = this.#session;
    const room = view.rooms.get(wish.name);
    find(element, "form").hidden = !wish.joined;
    const leave = find(element, ".room-leave");
    setText(leave, wish.joined ? "Leave" : "Stop watching");
    leave.setAttribute("aria-label", `${leave.textContent} ${wish.name} with ${this.#label}`);
    const how = room && `${count(room.count, "member")} · ${room.mode}: ${MODES.get(room.mode) ?? "?"}`;
    setText(find(element, ".room-line"), how ?? "Waiting for the server.");
    element.dataset.mode = room?.mode ?? "";
    const members = [...(room?.members.keys() ?? [])].map((userId) => seenOf(view, userId));
    showPeople(find(element, ".people"), members, (userId) => room?.members.get(userId)?.data ?? "");
  }
}
