/** A connection of presenced.v1: the library's client, with what the cards show of it. */

import { createPresence } from "./client.js";
import { Connection } from "./connection.js";
import { describeDifferences, describeMessage } from "./v1-descriptions.js";
import { Memberships } from "./v1-memberships.js";
import { parseOwn } from "./v1-own.js";
import { isEndOfEveryone, isRoutine, parseMessage } from "./v1-trace.js";
import { Watching } from "./v1-watching.js";

/**
 * @typedef {import("./client.js").PresenceClient} PresenceClient
 * @typedef {import("./client.js").Presence} Presence
 * @typedef {import("./client.js").Room} Room
 * @typedef {import("./client.js").Choice} Choice
 * @typedef {import("./v1-desired-state.js").DesiredState} DesiredState
 * @typedef {import("./v1-desired-state.js").DesiredWatch} DesiredWatch
 * @typedef {import("./v1-desired-state.js").DesiredRoom} DesiredRoom
 * @typedef {import("./v1-descriptions.js").Phrase} Phrase
 * @typedef {import("./v1-descriptions.js").Known} Known
 *
 * @typedef {import("./v1-own.js").Own} Own
 *
 * @typedef {object} Reconnect
 * @property {string} outcome `resumed`, `resynced` or `new-session`.
 * @property {readonly Phrase[]} missed What changed since the connection was lost.
 *
 * @typedef {object} V1Hooks
 * @property {(connection: V1Connection) => void} established
 * @property {(connection: V1Connection) => void} people The users that the connection watches changed.
 * @property {(connection: V1Connection, own: Own, before: Own | null) => void} ownStatus
 * @property {(connection: V1Connection, reason: string) => void} refused
 * @property {(connection: V1Connection) => void} reconnected
 * @property {(connection: V1Connection) => void} sessionSaved The page may be left: `saved` has the session.
 */

/** Time after which `everyone` contains what has arrived: it is published at most every 100 ms. */
const PUBLISHED_MS = 150;

/** Maximum time of a random delay, because many pages may wait for the server. */
const JITTER_MS = 250;

const STATES = new Map(
  /** @type {const} */ ([
    ["idle", "connecting"],
    ["connecting", "connecting"],
    ["open", "open"],
    ["waiting", "waiting"],
    ["closed", "closed"],
    ["failed", "closed"],
  ]),
);

export class V1Connection extends Connection {
  /** @type {Own | null} */
  own = null;
  /** Reason of the last refusal; empty after the next request. */
  refusal = "";
  /** @type {Reconnect | null} Null before the first reconnect. */
  reconnected = null;
  /** Counts changes of anything on display. */
  version = 0;
  sessionId = "";
  resumeWindowS = 0;
  /** @type {PresenceClient} */
  client;
  #hooks;
  /** @type {Watching} */
  #watching;
  /** @type {Memberships} */
  #rooms;
  /** What was known when the connection was lost. @type {Known | null} */
  #before = null;
  #isConnected = false;
  #savedSession;

  /**
   * @param {string} userId
   * @param {number} ordinal
   * @param {import("./connection.js").Hooks & V1Hooks} hooks
   * @param {DesiredState} desired
   * @param {string} token Token that authenticates the user, or an empty string.
   */
  constructor(userId, ordinal, hooks, desired, token) {
    super(userId, ordinal, hooks);
    this.#hooks = hooks;
    this.desired = desired;
    this.#savedSession = desired.session;
    this.client = createPresence({
      userId,
      ...(desired.device ? { device: desired.device } : {}),
      ...(token ? { token } : {}),
      activity: false, // the switch on the card decides
      linger: 0,
      log: (entry) => this.#traced(entry),
      host: {
        openSocket: (url, protocols) => this.network.open(url, protocols),
        load: () => this.#savedSession || null,
        save: (_, value) => {
          this.#savedSession = value ?? "";
          if (value) hooks.sessionSaved(this);
        },
      },
    });
    this.client.connection.subscribe(() => this.#connectionChanged());
    this.client.on("rejected", (error) => this.#refused(error));
    this.client.on("reconnected", ({ outcome }) => this.#caughtUp(outcome));
    this.client.wire.on("SELF", (message) => {
      const before = this.own;
      this.own = parseOwn(message);
      hooks.ownStatus(this, this.own, before);
      this.#updated();
    });
    this.client.self.subscribe(() => this.#updated());
    if (desired.idle) this.client.setActive(false);
    this.#watching = new Watching(this.client, desired.watch, () => this.#updated());
    this.#rooms = new Memberships(this.client, () => this.#updated());
    for (const room of desired.rooms) this.#enter(room);
  }

  get v1() {
    return this;
  }

  /** What to restore after a reload of the page. @returns {DesiredState} */
  get saved() {
    return { ...this.desired, session: this.#savedSession };
  }

  /** The users that the connection watches, without offline ones if it watches everyone. */
  get people() {
    return this.#watching.people;
  }

  /** Number of watched users who are online; null until it is known. */
  get onlineCount() {
    return this.#watching.onlineCount;
  }

  /** Everyone, as soon as all of them are known; null if the connection does not watch everyone. */
  get everyone() {
    return this.#watching.everyone;
  }

  /** Whether what is shown may be old. */
  get isStale() {
    return this.client.connection.get().stale;
  }

  open() {
    if (this.state === "open" || this.state === "connecting") return;
    this.network.restore();
    this.connectionId = "";
    if (this.#isConnected) this.client.retry();
    else this.client.connect();
    this.#isConnected = true;
    this.#connectionChanged();
  }

  disconnect() {
    const wasOpen = this.state === "open";
    if (wasOpen) this.setState("closing");
    this.own = this.reconnected = this.#before = null;
    this.sessionId = "";
    this.#watching.forget();
    this.client.close();
    if (!wasOpen) this.#connectionChanged();
  }

  reconnect() {
    if (this.state === "waiting") setTimeout(() => this.state === "waiting" && this.client.retry(), Math.random() * JITTER_MS);
  }

  /**
   * Say whether nobody is at this device.
   *
   * @param {boolean} idle
   */
  setIdle(idle) {
    this.#want({ idle });
    this.client.setActive(!idle);
  }

  /**
   * @param {Choice} choice
   */
  setStatus(choice) {
    this.#ask(this.client.setStatus(choice));
  }

  /**
   * Watch other users.
   *
   * @param {DesiredWatch} watch
   */
  watch(watch) {
    this.refusal = "";
    this.#watching.begin(watch);
    this.#want({ watch });
  }

  /**
   * Join a room, or only watch it.
   *
   * @param {DesiredRoom} room
   */
  enterRoom(room) {
    this.leaveRoom(room.name);
    this.refusal = "";
    this.#want({ rooms: [...this.desired.rooms, room] });
    this.#enter(room);
  }

  /**
   * Replace the user's data in a room.
   *
   * @param {DesiredRoom} room
   */
  setRoomData(room) {
    this.#want({ rooms: this.desired.rooms.map((each) => (each.name === room.name ? room : each)) });
    this.#ask(this.#rooms.setData(room));
  }

  /**
   * @param {string} name
   */
  leaveRoom(name) {
    this.#rooms.leave(name);
    this.#want({ rooms: this.desired.rooms.filter((room) => room.name !== name) });
  }

  /**
   * @param {string} name
   * @returns {Room}
   */
  room(name) {
    return this.client.room(name).get();
  }

  networkReported(/** @type {import("./network.js").NetworkEvent} */ event) {
    super.networkReported(event);
    if (event.kind === "ended" && this.state === "closing") this.setState("closed");
  }

  /**
   * @param {Partial<DesiredState>} change
   */
  #want(change) {
    this.desired = { ...this.desired, ...change };
    this.#updated();
  }

  /**
   * @param {DesiredRoom} room
   */
  #enter(room) {
    this.#ask(this.#rooms.enter(room), () => this.leaveRoom(room.name));
  }

  /**
   * Show the reason if a request is refused.
   *
   * @param {Promise<void>} answer
   * @param {() => void} [undo]
   */
  #ask(answer, undo = () => {}) {
    this.refusal = "";
    answer.catch((error) => {
      if (error.code === "LEFT" || error.code === "CLOSED") return; // by this page
      undo();
      this.#refused(error);
    });
  }

  /**
   * @param {{ message: string }} error
   */
  #refused({ message }) {
    this.refusal = message;
    this.#hooks.refused(this, message);
    this.#updated();
  }

  #updated() {
    this.version += 1;
    this.#hooks.people(this);
    this.changed();
  }

  #connectionChanged() {
    if (this.state === "closing") return; // until the close frame arrives
    const { state } = this.client.connection.get();
    const wasOpen = this.state === "open";
    const next = this.network.isCut ? "dropped" : (STATES.get(state) ?? "closed");
    if (wasOpen && next !== "open") this.#before ??= this.#read();
    this.version += 1;
    if (this.state === "dropped" && next === "dropped") return;
    this.setState(next);
    if (!wasOpen && next === "open") this.#hooks.established(this);
  }

  /**
   * @param {string} outcome
   */
  #caughtUp(outcome) {
    setTimeout(() => {
      const before = this.#before;
      this.#before = null;
      this.reconnected = { outcome, missed: before ? describeDifferences(before, this.#read()) : [] };
      this.#hooks.reconnected(this);
      this.#updated();
    }, PUBLISHED_MS);
  }

  /** Return what the connection knows of others now. @returns {Known} */
  #read() {
    const users = new Map(this.people.map((user) => [String(user.userId), user]));
    const rooms = new Map(this.desired.rooms.map(({ name }) => [name, new Set(this.room(name).members.keys())]));
    return { users, rooms };
  }

  /**
   * @param {import("./client.js").LogEntry} entry
   */
  #traced(entry) {
    if (isRoutine(entry) || (entry.kind === "state" && this.network.isCut)) return;
    if (entry.kind === "sent") this.logged("out", entry.text);
    else if (entry.kind === "state") this.logged("state", `client: ${entry.text}`);
    else this.#received(entry.text);
  }

  /**
   * @param {string} text
   */
  #received(text) {
    const message = parseMessage(text);
    // The client applies the message afterwards, so that its stores still have what was known before.
    const phrase = describeMessage(
      {
        user: (userId) => this.client.user(userId).get(),
        hasMember: (room, userId) => this.room(room).members.has(userId),
        sessionId: this.sessionId,
      },
      message,
    );
    if (message.type === "CONNECTION_ESTABLISHED") {
      this.connectionId = message.connectionId;
      this.sessionId = message.sessionId;
      this.resumeWindowS = message.resumeWindow;
    }
    if (isEndOfEveryone(message)) setTimeout(() => this.#watching.everyoneIsKnown(), PUBLISHED_MS);
    this.addReceived(text, phrase);
    this.changed();
  }
}
