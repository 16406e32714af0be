/**
 * The rooms of one connection: forms to join and leave, and the members of each room.
 */

import { find, fromTemplate, setText, setPhrase } from "./dom.js";
import { showUsers } from "./user-list.js";
import { parseData } from "./v1-desired-state.js";
import { count } from "./v1-descriptions.js";

/**
 * @typedef {import("./v1-connection.js").V1Connection} V1Connection
 * @typedef {import("./v1-desired-state.js").DesiredRoom} DesiredRoom
 *
 * @typedef {object} Section
 * @property {HTMLElement} element
 * @property {DesiredRoom} room
 */

/** How the server reports changes of a room in each mode. */
const MODES = new Map([
  ["full", "the server sends every change at once"],
  ["coalesced", "the server sends changes once a second"],
  ["counts", "the server sends only the number of members"],
]);

export class RoomList {
  #root;
  #connection;
  #label;
  #list;
  /** @type {Map<string, Section>} */
  #sections = new Map();

  /**
   * @param {HTMLElement} root
   * @param {V1Connection} connection
   */
  constructor(root, connection) {
    const { label } = connection;
    this.#root = root;
    this.#connection = connection;
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

  /** Update the page. */
  show() {
    const { desired } = this.#connection;
    const names = new Set(desired.rooms.map(({ name }) => name));
    for (const [name, { element }] of this.#sections) {
      if (names.has(name)) continue;
      if (element.contains(document.activeElement)) find(this.#root, "input").focus();
      element.remove();
      this.#sections.delete(name);
    }
    for (const room of desired.rooms) {
      let section = this.#sections.get(room.name);
      if (!section) this.#sections.set(room.name, (section = this.#make(room)));
      section.room = room;
      this.#fill(section);
    }
    const said = desired.rooms.flatMap(({ name }, i) => [
      ...(i ? [", "] : []),
      /** @type {[string]} */ ([name]),
      ` ${this.#known(name)?.count ?? "…"}`,
    ]);
    setPhrase(find(this.#root, "summary"), ["Rooms: ", ...(said.length ? said : ["none"])]);
  }

  /**
   * @param {HTMLElement} form
   * @param {boolean} joined
   */
  #enter(form, joined) {
    if (!(form instanceof HTMLFormElement) || !this.#isOpen || !form.reportValidity()) return;
    const fields = new FormData(form);
    this.#connection.enterRoom({ name: String(fields.get("room")), joined, data: parseData(String(fields.get("data"))) });
    form.reset();
    find(form, "input").focus();
  }

  /**
   * @param {DesiredRoom} room
   * @returns {Section}
   */
  #make(room) {
    const element = fromTemplate("room-template");
    const section = { element, room };
    element.dataset.room = room.name;
    element.setAttribute("aria-label", `Room ${room.name} of ${this.#label}`);
    find(element, ".people").setAttribute("aria-label", `Members of ${room.name}, seen by ${this.#label}`);
    setText(find(element, "h5 bdi"), room.name);
    const leave = find(element, ".room-leave");
    leave.addEventListener("click", () => {
      if (this.#isOpen) this.#connection.leaveRoom(section.room.name);
    });
    const form = find(element, "form");
    form.setAttribute("aria-label", `Data of ${this.#label} in ${room.name}`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#isOpen) return;
      const typed = String(new FormData(/** @type {HTMLFormElement} */ (form)).get("data"));
      this.#connection.setRoomData({ ...section.room, data: parseData(typed) });
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
  #fill({ element, room: desired }) {
    const room = this.#known(desired.name);
    find(element, "form").hidden = !desired.joined;
    const leave = find(element, ".room-leave");
    setText(leave, desired.joined ? "Leave" : "Stop watching");
    leave.setAttribute("aria-label", `${leave.textContent} ${desired.name} with ${this.#label}`);
    const how = room && `${count(room.count, "member")} · ${room.mode}: ${MODES.get(room.mode) ?? "?"}`;
    setText(find(element, ".room-line"), how ?? "Waiting for the server.");
    element.dataset.mode = room?.mode ?? "";
    const members = [...(room?.members.keys() ?? [])].map((userId) => this.#connection.client.user(userId).get());
    showUsers(find(element, ".people"), members, {
      note(userId) {
        const data = room?.members.get(userId)?.data;
        return data === undefined ? "" : JSON.stringify(data);
      },
    });
  }

  /**
   * Return a room, or null until the server has answered.
   *
   * @param {string} name
   */
  #known(name) {
    const room = this.#connection.room(name);
    return room.known ? room : null;
  }
}
