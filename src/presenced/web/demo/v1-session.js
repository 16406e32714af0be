/**
 * One session of presenced.v1: the state it has received, the requests it sends, and how it resumes.
 *
 *   new session     the URL subscribes, requests add rooms and lists; the server sends snapshots
 *   connection lost the view stays; the next URL names the session and its last position
 *   resumed         the server sends the missed changes; unanswered requests are sent again
 *   not resumed     the server sends everything again; `reconnect` compares it with the view before the loss
 */

import { parseV1, webSocketUrlV1 } from "./v1-protocol.js";
import { Keepalive } from "./v1-keepalive.js";
import { Requests } from "./v1-requests.js";
import {
  applyMessage,
  beginSession,
  EMPTY_VIEW,
  endSettling,
  NO_SUBSCRIPTION,
  withoutCounts,
  withSubscription,
} from "./v1-view.js";
import { allRequests, roomRequest, WATCH_EVERYONE, WATCH_NOBODY, watchRequests } from "./v1-desired-state.js";
import { describeDifferences, describeMessage } from "./v1-descriptions.js";

/**
 * @typedef {import("./v1-protocol.js").Established} Established
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-view.js").View} View
 * @typedef {import("./v1-desired-state.js").Request} Request
 * @typedef {import("./v1-desired-state.js").DesiredRoom} DesiredRoom
 * @typedef {import("./v1-desired-state.js").DesiredWatch} DesiredWatch
 * @typedef {import("./v1-desired-state.js").DesiredState} DesiredState
 * @typedef {import("./v1-descriptions.js").Phrase} Phrase
 *
 * @typedef {object} Hooks
 * @property {(json: string, isRoutine: boolean) => void} send Routine messages are not logged.
 * @property {() => void} changed The view changed without a message.
 * @property {() => void} timedOut The server no longer answers on this connection.
 *
 * @typedef {object} Reconnect Result of the last reconnect.
 * @property {"resumed" | "snapshot" | "new"} how `snapshot`: the same session, but the server sent everything again.
 * @property {readonly Phrase[] | null} missed Changes missed meanwhile; null until all of them have arrived.
 *
 * @typedef {object} ReceivedV1
 * @property {MessageV1 | null} message Null if this page does not know the type.
 * @property {View} before The view before the message.
 * @property {Phrase} phrase Description of the message.
 */

export class V1Session {
  view = EMPTY_VIEW;
  /** @type {Reconnect | null} */
  reconnect = null;
  /** Reason for which the server refused the last request; empty if it accepted it. */
  refusal = "";
  /** Zero if not measured yet. */
  roundTripMs = 0;
  resumeWindowS = 0;
  maxTextLength = 0;
  /** The view when the connection was lost, until it has been compared. @type {View | null} */
  #viewBeforeLoss = null;
  #retryDelayMs = 0;
  #settling = 0;
  #hooks;
  #keepalive;
  #requests;

  /**
   * @param {string} userId
   * @param {DesiredState} desired
   * @param {Hooks} hooks
   */
  constructor(userId, desired, hooks) {
    this.userId = userId;
    this.desired = desired;
    this.#hooks = hooks;
    this.#requests = new Requests((json) => hooks.send(json, false));
    this.#keepalive = new Keepalive({
      ping: () => hooks.send(JSON.stringify({ type: "PING" }), true),
      timedOut: hooks.timedOut,
    });
  }

  /** Id of the session to resume; empty if there is none. */
  get sessionId() {
    return this.view.sessionId || this.desired.session;
  }

  /** URL of the next connection. */
  get url() {
    return webSocketUrlV1(this.userId, {
      device: this.desired.device,
      everyone: this.#initialWatch === WATCH_EVERYONE,
      idle: this.desired.idle,
      self: this.view.self,
      session: this.sessionId,
      position: this.view.position,
    });
  }

  /** Return the delay that the server requested before the next connection, or 0. It applies once. */
  takeRetryDelayMs() {
    const wait = this.#retryDelayMs;
    this.#retryDelayMs = 0;
    return wait;
  }

  /** The connection was lost. The session may be resumed. */
  connectionLost() {
    this.#viewBeforeLoss ??= this.view.sessionId ? this.view : null;
    this.#keepalive.stop();
    clearTimeout(this.#settling);
  }

  /** The connection was closed deliberately. The next one begins a new session. */
  ended() {
    this.connectionLost();
    this.#viewBeforeLoss = this.reconnect = null;
    this.view = EMPTY_VIEW;
    this.desired = { ...this.desired, session: "" };
    this.#requests.clear();
  }

  /**
   * Apply a message.
   *
   * @param {string} json
   * @returns {ReceivedV1}
   */
  received(json) {
    this.#keepalive.received();
    const before = { ...this.view, sessionId: this.sessionId };
    const message = parseV1(json);
    if (!message) return { message, before, phrase: [] };
    if (message.type === "CONNECTION_ESTABLISHED") this.#established(message);
    else this.view = applyMessage(this.view, message);
    if (message.type === "ACK" || message.type === "ERROR") {
      this.refusal = message.type === "ERROR" ? message.message : "";
      this.#requests.settle(message.id, message.type === "ACK");
    }
    if (message.type === "ROOM_CHANGES") this.#requestMembers(before, message.room, message.mode);
    if (message.type === "GOING_AWAY") this.#retryDelayMs = message.retryAfter * 1000;
    if (message.type === "PONG") this.#pong();
    return { message, before, phrase: describeMessage(before, message) };
  }

  /**
   * @param {{ status: string, text: string, emoji: string, expiresIn: number }} choice `expiresIn` is in seconds; 0
   *   means that the choice does not expire.
   */
  setStatus({ expiresIn, ...choice }) {
    this.#requests.send({ type: "SET_STATUS", ...choice, ...(expiresIn ? { expiresIn } : {}) });
  }

  /**
   * @param {boolean} idle
   */
  setIdle(idle) {
    this.desired = { ...this.desired, idle };
    this.#requests.send({ type: "ACTIVITY", state: idle ? "idle" : "active" });
  }

  /**
   * @param {DesiredWatch} watch
   */
  watch(watch) {
    this.#requestAll(watchRequests(this.desired.watch, watch));
    this.desired = { ...this.desired, watch };
  }

  /**
   * @param {DesiredRoom} room
   */
  enterRoom(room) {
    this.#requests.send(roomRequest(room), () => this.#roomEntered(room));
  }

  /**
   * Replace the user's data in a room.
   *
   * @param {DesiredRoom} room
   */
  setRoomData(room) {
    const data = room.data ? JSON.parse(room.data) : null;
    this.#requests.send({ type: "SET_MEMBER", room: room.name, data }, () => this.#roomEntered(room));
  }

  /**
   * @param {DesiredRoom} room
   */
  leaveRoom({ name, joined }) {
    this.#requests.send(joined ? { type: "LEAVE", room: name } : { type: "UNWATCH", rooms: [name] }, () => {
      this.desired = { ...this.desired, rooms: this.desired.rooms.filter((room) => room.name !== name) };
      const rooms = new Set(this.view.subscription.rooms);
      rooms.delete(name);
      this.view = withSubscription(this.view, { ...this.view.subscription, rooms });
    });
  }

  /**
   * Request the members of a room that has left mode `counts`, because the server sends only later changes.
   *
   * @param {View} before
   * @param {string} room
   * @param {string} mode
   */
  #requestMembers(before, room, mode) {
    if (before.rooms.get(room)?.mode === "counts" && mode !== "counts") {
      this.#requests.send({ type: "WATCH", rooms: [room] });
    }
  }

  /** Subscription of a new session, as its URL requests it. */
  get #initialWatch() {
    const { target, countOnly } = this.desired.watch;
    return target === "everyone" && !countOnly ? WATCH_EVERYONE : WATCH_NOBODY;
  }

  /**
   * @param {Established} message
   */
  #established(message) {
    const before = this.#viewBeforeLoss;
    const goesOn = this.sessionId === message.sessionId;
    this.resumeWindowS = message.resumeWindow;
    this.maxTextLength = message.maxTextLength;
    this.#retryDelayMs = 0;
    this.refusal = "";
    this.desired = { ...this.desired, session: "" };
    const everyone = this.#initialWatch === WATCH_EVERYONE;
    if (!goesOn) this.view = beginSession(this.view, { ...NO_SUBSCRIPTION, everyone });
    else if (!before) this.view = beginSession(this.view, this.#desiredSubscription()); // the page was reloaded
    this.view = applyMessage(this.view, message);
    if (goesOn) {
      this.#requests.resend();
    } else {
      this.#requests.clear();
      this.#requestAll(allRequests(this.desired, this.#initialWatch));
      this.setIdle(this.desired.idle); // it may have changed since the URL was built
    }
    if (before || goesOn) {
      this.reconnect = { how: message.resumed ? "resumed" : goesOn ? "snapshot" : "new", missed: null };
    }
    if (this.view.settling) {
      this.#settling = setTimeout(() => {
        this.view = endSettling(this.view);
        this.#hooks.changed();
      }, message.settling * 1000);
    }
    this.#keepalive.start(message.heartbeatInterval * 1000);
  }

  #pong() {
    this.roundTripMs = this.#keepalive.msSincePing;
    if (!this.reconnect || this.reconnect.missed) return;
    // The server answers in order, so all missed changes came before the first PONG.
    const before = this.#viewBeforeLoss;
    this.reconnect = { ...this.reconnect, missed: before ? describeDifferences(before, this.view) : [] };
    this.#viewBeforeLoss = null;
  }

  /**
   * @param {readonly Request[]} requests
   */
  #requestAll(requests) {
    for (const request of requests) this.#requests.send(request, () => this.#acknowledged(request));
  }

  /**
   * @param {Request} request
   */
  #acknowledged(request) {
    const name = request.type === "JOIN" ? request.room : /** @type {string[] | undefined} */ (request.rooms)?.[0];
    const room = this.desired.rooms.find((room) => room.name === name);
    if (room) {
      this.#roomEntered(room);
      return;
    }
    const { subscription } = this.view;
    const users = new Set(subscription.users);
    const named = /** @type {string[]} */ (request.users ?? []);
    if (request.type === "UNWATCH") {
      for (const userId of named) users.delete(userId);
      const everyone = subscription.everyone && !request.everyone;
      this.view = withoutCounts(withSubscription(this.view, { ...subscription, users, everyone }));
    } else if (request.type === "WATCH" && request.mode !== "count") {
      for (const userId of named) users.add(userId);
      const everyone = subscription.everyone || request.everyone === true;
      this.view = withSubscription(this.view, { ...subscription, users, everyone });
    }
  }

  /**
   * @param {DesiredRoom} room
   */
  #roomEntered(room) {
    const others = this.desired.rooms.filter(({ name }) => name !== room.name);
    this.desired = { ...this.desired, rooms: [...others, room] };
    const { subscription } = this.view;
    this.view = withSubscription(this.view, { ...subscription, rooms: new Set(subscription.rooms).add(room.name) });
  }

  #desiredSubscription() {
    const { watch, rooms } = this.desired;
    return {
      everyone: this.#initialWatch === WATCH_EVERYONE,
      users: new Set(watch.target === "users" && !watch.countOnly ? watch.users : []),
      rooms: new Set(rooms.map(({ name }) => name)),
    };
  }
}
