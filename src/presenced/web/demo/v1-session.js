/**
 * One session of presenced.v1 on this page: what it was told, what it asks for, and how it goes on after a loss.
 */

import { parseV1, webSocketUrlV1 } from "./v1-protocol.js";
import { Pulse } from "./v1-pulse.js";
import { Requests } from "./v1-requests.js";
import { begun, heard, NOTHING_SEEN, settled, uncounted, watching, WATCHING_NOBODY } from "./v1-state.js";
import { allRequests, EVERYONE, NOBODY, roomRequest, watchRequests } from "./v1-wishes.js";
import { missed, told } from "./v1-words.js";

/**
 * @typedef {import("./v1-protocol.js").Established} Established
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-state.js").View} View
 * @typedef {import("./v1-wishes.js").Request} Request
 * @typedef {import("./v1-wishes.js").RoomWish} RoomWish
 * @typedef {import("./v1-wishes.js").WatchWish} WatchWish
 * @typedef {import("./v1-wishes.js").Wishes} Wishes
 * @typedef {import("./v1-words.js").Words} Words
 *
 * @typedef {object} Hooks
 * @property {(json: string, isRoutine: boolean) => void} send
 * @property {() => void} changed What is shown of it changed, other than by a message.
 * @property {() => void} lost The server no longer answers on this connection.
 *
 * @typedef {object} Return How the session came back the last time.
 * @property {"resumed" | "told again" | "new"} how
 * @property {readonly Words[] | null} missed Null until the server has told.
 *
 * @typedef {object} Told
 * @property {MessageV1 | null} message Null when this page does not know it.
 * @property {View} before
 * @property {Words} words
 */

export class V1Session {
  view = NOTHING_SEEN;
  /** @type {Return | null} */
  back = null;
  /** What the server said to the last request, when it refused it. */
  refusal = "";
  /** Milliseconds; 0 when not measured. */
  roundTrip = 0;
  /** Seconds. */
  resumeWindow = 0;
  maxTextLength = 0;
  /** What was known when the connection was lost, until it is compared. @type {View | null} */
  #before = null;
  #retryAfterMs = 0;
  #settling = 0;
  #hooks;
  #pulse;
  #requests;

  /**
   * @param {string} userId
   * @param {Wishes} wishes
   * @param {Hooks} hooks
   */
  constructor(userId, wishes, hooks) {
    this.userId = userId;
    this.wishes = wishes;
    this.#hooks = hooks;
    this.#requests = new Requests((json) => hooks.send(json, false));
    this.#pulse = new Pulse({ ping: () => hooks.send(JSON.stringify({ type: "PING" }), true), lost: hooks.lost });
  }

  /** The session to go on with; empty when there is none. */
  get sessionId() {
    return this.view.sessionId || this.wishes.session;
  }

  /** Where to connect to. */
  get url() {
    return webSocketUrlV1(this.userId, {
      device: this.wishes.device,
      everyone: this.#startsWith === EVERYONE,
      idle: this.wishes.idle,
      self: this.view.self,
      session: this.sessionId,
      position: this.view.position,
    });
  }

  /** Milliseconds to wait before connecting again, when the server said so; else 0. To be heeded once. */
  takeRetryAfter() {
    const wait = this.#retryAfterMs;
    this.#retryAfterMs = 0;
    return wait;
  }

  /** The connection is gone; the session may go on. */
  lost() {
    this.#before ??= this.view.sessionId ? this.view : null;
    this.#pulse.stop();
    clearTimeout(this.#settling);
  }

  /** The connection is gone, and its user wanted it so: the next one begins a new session. */
  ended() {
    this.lost();
    this.#before = this.back = null;
    this.view = NOTHING_SEEN;
    this.wishes = { ...this.wishes, session: "" };
    this.#requests.clear();
  }

  /**
   * A message came.
   *
   * @param {string} json
   * @returns {Told}
   */
  received(json) {
    this.#pulse.heard();
    const before = { ...this.view, sessionId: this.sessionId };
    const message = parseV1(json);
    if (!message) return { message, before, words: [] };
    if (message.type === "CONNECTION_ESTABLISHED") this.#established(message);
    else this.view = heard(this.view, message);
    if (message.type === "ACK" || message.type === "ERROR") {
      this.refusal = message.type === "ERROR" ? message.message : "";
      this.#requests.answered(message.id, message.type === "ACK");
    }
    if (message.type === "ROOM_CHANGES") this.#nameAgain(before, message.room, message.mode);
    if (message.type === "GOING_AWAY") this.#retryAfterMs = message.retryAfter * 1000;
    if (message.type === "PONG") this.#pong();
    return { message, before, words: told(before, message) };
  }

  // What a person wants.

  /**
   * @param {{ status: string, text: string, emoji: string, expiresIn: number }} choice It ends after so many seconds,
   *   unless that is 0.
   */
  setStatus({ expiresIn, ...choice }) {
    this.#requests.ask({ type: "SET_STATUS", ...choice, ...(expiresIn ? { expiresIn } : {}) });
  }

  /**
   * @param {boolean} idle
   */
  setIdle(idle) {
    this.wishes = { ...this.wishes, idle };
    this.#requests.ask({ type: "ACTIVITY", state: idle ? "idle" : "active" });
  }

  /**
   * @param {WatchWish} watch
   */
  watch(watch) {
    this.#askAll(watchRequests(this.wishes.watch, watch));
    this.wishes = { ...this.wishes, watch };
  }

  /**
   * @param {RoomWish} room
   */
  enter(room) {
    this.#requests.ask(roomRequest(room), () => this.#hasRoom(room));
  }

  /**
   * Give other data as a member.
   *
   * @param {RoomWish} room
   */
  setMember(room) {
    const data = room.data ? JSON.parse(room.data) : null;
    this.#requests.ask({ type: "SET_MEMBER", room: room.name, data }, () => this.#hasRoom(room));
  }

  /**
   * @param {RoomWish} room
   */
  leave({ name, joined }) {
    this.#requests.ask(joined ? { type: "LEAVE", room: name } : { type: "UNWATCH", rooms: [name] }, () => {
      this.wishes = { ...this.wishes, rooms: this.wishes.rooms.filter((room) => room.name !== name) };
      const rooms = new Set(this.view.watched.rooms);
      rooms.delete(name);
      this.view = watching(this.view, { ...this.view.watched, rooms });
    });
  }

  // How.

  /**
   * A room that was told of by number and now is told of by name: ask for the names.
   *
   * @param {View} before
   * @param {string} room
   * @param {string} mode
   */
  #nameAgain(before, room, mode) {
    if (before.rooms.get(room)?.mode === "counts" && mode !== "counts") {
      this.#requests.ask({ type: "WATCH", rooms: [room] });
    }
  }

  /** What a new session watches, by its URL. */
  get #startsWith() {
    const { whom, counted } = this.wishes.watch;
    return whom === "everyone" && !counted ? EVERYONE : NOBODY;
  }

  /**
   * @param {Established} message
   */
  #established(message) {
    const before = this.#before;
    const goesOn = this.sessionId === message.sessionId;
    this.resumeWindow = message.resumeWindow;
    this.maxTextLength = message.maxTextLength;
    this.#retryAfterMs = 0;
    this.refusal = "";
    this.wishes = { ...this.wishes, session: "" };
    if (!goesOn) this.view = begun(this.view, { ...WATCHING_NOBODY, everyone: this.#startsWith === EVERYONE });
    else if (!before) this.view = begun(this.view, this.#wishedWatched()); // of the page before its reload
    this.view = heard(this.view, message);
    if (goesOn) {
      this.#requests.askAgain();
    } else {
      this.#requests.clear();
      this.#askAll(allRequests(this.wishes, this.#startsWith));
      this.setIdle(this.wishes.idle); // the person may have come or gone since the URL named it
    }
    if (before || goesOn) {
      this.back = { how: message.resumed ? "resumed" : goesOn ? "told again" : "new", missed: null };
    }
    if (this.view.settling) {
      this.#settling = setTimeout(() => {
        this.view = settled(this.view);
        this.#hooks.changed();
      }, message.settling * 1000);
    }
    this.#pulse.start(message.heartbeatInterval * 1000);
  }

  #pong() {
    this.roundTrip = this.#pulse.sinceAsked;
    if (!this.back || this.back.missed) return;
    // The first one is the answer to a question behind all that was missed.
    this.back = { ...this.back, missed: this.#before ? missed(this.#before, this.view) : [] };
    this.#before = null;
  }

  /**
   * @param {readonly Request[]} requests
   */
  #askAll(requests) {
    for (const request of requests) this.#requests.ask(request, () => this.#carriedOut(request));
  }

  /**
   * @param {Request} request
   */
  #carriedOut(request) {
    const name = request.type === "JOIN" ? request.room : /** @type {string[] | undefined} */ (request.rooms)?.[0];
    const room = this.wishes.rooms.find((wish) => wish.name === name);
    if (room) {
      this.#hasRoom(room);
      return;
    }
    const { watched } = this.view;
    const users = new Set(watched.users);
    const named = /** @type {string[]} */ (request.users ?? []);
    if (request.type === "UNWATCH") {
      for (const userId of named) users.delete(userId);
      const everyone = watched.everyone && !request.everyone;
      this.view = uncounted(watching(this.view, { ...watched, users, everyone }));
    } else if (request.type === "WATCH" && request.mode !== "count") {
      for (const userId of named) users.add(userId);
      const everyone = watched.everyone || request.everyone === true;
      this.view = watching(this.view, { ...watched, users, everyone });
    }
  }

  /**
   * @param {RoomWish} room
   */
  #hasRoom(room) {
    const others = this.wishes.rooms.filter(({ name }) => name !== room.name);
    this.wishes = { ...this.wishes, rooms: [...others, room] };
    const { watched } = this.view;
    this.view = watching(this.view, { ...watched, rooms: new Set(watched.rooms).add(room.name) });
  }

  #wishedWatched() {
    const { watch, rooms } = this.wishes;
    return {
      everyone: this.#startsWith === EVERYONE,
      users: new Set(watch.whom === "users" && !watch.counted ? watch.users : []),
      rooms: new Set(rooms.map(({ name }) => name)),
    };
  }
}
