/**
 * The page: one object that holds what is true (connections, presence, statistics) and has the views show it, at most
 * once a frame.
 */

import { Announcer } from "./announcer.js";
import { Cards } from "./cards.js";
import { Connection } from "./connection.js";
import { byId, clockTime, setText } from "./dom.js";
import { Guide } from "./guide.js";
import { MessageLog } from "./log.js";
import { recall, remember } from "./memory.js";
import { heard, NOBODY, onlineCount, reconciled, withoutOffline } from "./presence.js";
import { CLOSE_CODES, parseMessage } from "./protocol.js";
import { Roster } from "./roster.js";
import { fetchVersion, Server } from "./server.js";
import { Snippets } from "./snippets.js";

/**
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./server.js").Stats} Stats
 */

/** Connections in one page; each has a worker of its own, a few megabytes. */
const MAX_CONNECTIONS = 20;

/**
 * Connections opened at a time after a reload. Of a page that opens more than about 16 Chromium delays some by seconds,
 * and those would miss the grace.
 */
const MAX_OPENING = 8;

const USERS_KEY = "presenced.users";
const TICK_MS = 1_000;
const SUGGESTIONS = [
  ..."ada bruno chiara dalia emil frida gus hana ines jonas kira leo mira".split(" "),
  ..."nils olga pablo quinn rosa sami tilda uma vera wim xenia yuri zoe".split(" "),
];

class App {
  /** @type {Presence} */
  #presence = NOBODY;
  /** @type {Connection[]} */
  #connections = [];
  /** @type {Stats | null} */
  #stats = null;
  /** Users of whom the server has an open connection. @type {Set<string>} */
  #connected = new Set();
  #ordinals = 0;
  #frame = 0;
  /** The users a reload is to bring back, one text per connection, that are not connecting yet. @type {string[]} */
  #toReturn = recall(USERS_KEY).slice(0, MAX_CONNECTIONS);
  /** Those that are, until they have come. @type {Set<Connection>} */
  #returning = new Set();

  #field = byId("user-id", HTMLInputElement);
  #banner = byId("banner", HTMLDivElement);
  #announcer = new Announcer();
  #guide = new Guide();
  #log = new MessageLog();
  #roster = new Roster(() => this.#know(withoutOffline(this.#presence)));
  #cards = new Cards({
    add: (userId) => this.#connect(userId),
    remove: (connection) => {
      this.#connections = this.#connections.filter((c) => c !== connection);
      this.#touch();
    },
  });
  #server = new Server({
    answered: (stats, askedAt) => {
      this.#stats = stats;
      this.#connected = new Set(stats.sessions.map((session) => session.userId));
      this.#know(reconciled(this.#presence, stats, askedAt, Date.now()));
      this.#touch();
    },
    gone: (reason) => this.#serverGone(reason),
    back: () => this.#serverBack(),
    isNeeded: () => this.#connections.some((c) => c.state === "waiting"),
  });

  start() {
    new Snippets((text) => this.#announcer.say(text));
    byId("connect", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#connect(this.#field.value)) return;
      this.#suggest();
      // Not after a click: on a phone it would bring the keyboard up.
      if (document.activeElement === this.#field) this.#field.select();
    });
    this.#return();
    this.#server.start();
    void this.#showVersion();
    setInterval(() => this.#tick(), TICK_MS);
    this.#suggest();
    this.#touch();
  }

  /** Bring back whom a reload has just disconnected: the server waits a few seconds for them. */
  #return() {
    while (this.#toReturn.length && this.#connections.filter((c) => c.state === "connecting").length < MAX_OPENING) {
      const connection = this.#connect(this.#toReturn.shift() ?? "");
      if (connection) this.#returning.add(connection);
    }
  }

  /**
   * @param {string} userId
   * @returns {Connection | null} Null when there are too many.
   */
  #connect(userId) {
    if (this.#connections.length >= MAX_CONNECTIONS) {
      this.#announcer.say(`A page holds ${MAX_CONNECTIONS} connections; remove one first.`);
      this.#field.setCustomValidity(`A page holds ${MAX_CONNECTIONS} connections; remove one first.`);
      this.#field.reportValidity();
      this.#field.setCustomValidity("");
      return null;
    }
    this.#ordinals += 1;
    const connection = new Connection(userId, this.#ordinals, {
      changed: (c) => this.#connectionChanged(c),
      received: (c, text) => this.#received(c, text),
      noted: (c, direction, text) => this.#log.add(c.label, direction, text),
      serverAnswers: () => this.#server.answers,
    });
    this.#connections.push(connection);
    connection.open();
    return connection;
  }

  /**
   * @param {Connection} connection
   */
  #connectionChanged(connection) {
    if (connection.state !== "open") {
      this.#server.askSoon();
      // Until the server has said otherwise, what it said last is known to be wrong about this user.
      if (!this.#connections.some((c) => c.userId === connection.userId && c.state === "open")) {
        this.#connected.delete(connection.userId);
      }
    }
    if (connection.state === "closed" && connection.end?.by === "server") {
      const { code, reason } = connection.end;
      this.#announcer.say(`${connection.label}: closed by the server, ${reason || CLOSE_CODES.get(code)?.meaning}.`);
    }
    const wanted = this.#connections.filter((c) => c.isWanted).map((c) => c.userId);
    remember(USERS_KEY, [...wanted, ...this.#toReturn]);
    if (connection.state !== "connecting") this.#return();
    this.#touch();
  }

  /**
   * @param {Connection} connection
   * @param {string} text
   */
  #received(connection, text) {
    const message = parseMessage(text);
    if (!message) return;
    const wasOnline = this.#presence.get(message.userId)?.online ?? false;
    this.#know(heard(this.#presence, message, Date.now()));
    const isOnline = this.#presence.get(message.userId)?.online ?? false;
    if (message.type === "CONNECTION_ESTABLISHED") {
      this.#established(connection, wasOnline);
      this.#server.askSoon();
    } else if (isOnline !== wasOnline) {
      this.#announcer.say(`${message.userId} is ${isOnline ? "online" : "offline"}.`);
      this.#server.askSoon();
    }
    const own = this.#connections.filter((c) => c.userId === message.userId);
    if (message.type === "USER_ONLINE" && !own.length) this.#guide.saw("tab");
    if (message.type === "USER_OFFLINE" && own.some((c) => c.state === "dropped")) this.#guide.saw("wait");
  }

  /**
   * @param {Connection} connection
   * @param {boolean} wasOnline
   */
  #established(connection, wasOnline) {
    const open = this.#connections.filter((c) => c.state === "open");
    if (open.some((c) => c.userId !== connection.userId)) this.#guide.saw("two");
    if (open.some((c) => c !== connection && c.userId === connection.userId)) this.#guide.saw("twice");
    if (connection.droppedAt && wasOnline) this.#guide.saw("back");
    connection.droppedAt = 0;
    if (this.#returning.delete(connection) && !this.#returning.size && !this.#toReturn.length) this.#guide.saw("reload");
  }

  /**
   * @param {Presence} presence
   */
  #know(presence) {
    if (presence === this.#presence) return;
    this.#presence = presence;
    this.#touch();
  }

  /**
   * @param {string} reason
   */
  #serverGone(reason) {
    this.#stats = null;
    this.#returning.clear();
    this.#banner.hidden = false;
    this.#banner.textContent =
      `The server is gone, since ${clockTime(Date.now())}. ${reason} ` +
      "This page asks again every second and comes back by itself.";
    this.#touch();
  }

  #serverBack() {
    this.#banner.hidden = true;
    this.#announcer.say("The server is back.");
    this.#guide.saw("kill");
    for (const connection of this.#connections) connection.comeBack();
    void this.#showVersion();
  }

  async #showVersion() {
    const version = await fetchVersion();
    if (version) setText(byId("server", HTMLParagraphElement), `presenced ${version} at ${location.host}`);
  }

  /** Put a name into the field that nobody has yet. */
  #suggest() {
    const free = SUGGESTIONS.filter((name) => !this.#presence.get(name)?.online && !this.#has(name));
    this.#field.value = free[Math.floor(Math.random() * free.length)] ?? String(Math.floor(Math.random() * 1e6));
  }

  /**
   * @param {string} userId
   */
  #has(userId) {
    return this.#connections.some((c) => c.userId === userId);
  }

  #tick() {
    if (document.visibilityState === "hidden") return;
    this.#roster.draw(Date.now());
    if (this.#connections.some((c) => c.state === "dropped")) {
      this.#server.askSoon(); // a grace that ends is told to connections, and there may be none
      this.#touch();
    }
  }

  /** Have everything shown in the next frame. */
  #touch() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#render(Date.now());
    });
  }

  /**
   * @param {number} now
   */
  #render(now) {
    this.#log.show();
    this.#cards.show(this.#connections, this.#presence, this.#connected, now);
    this.#roster.show(this.#presence, now);
    const listening = this.#connections.some((c) => c.state === "open");
    this.#roster.explain(this.#presence, this.#stats, listening);
    document.body.classList.toggle("stale", !this.#server.answers);
    for (const [id, figure] of /** @type {const} */ ([
      ["users-online", this.#stats?.onlineUsers],
      ["users-connected", this.#stats?.connectedUsers],
      ["connections", this.#stats?.totalConnections],
    ])) {
      setText(byId(id, HTMLElement), figure === undefined ? "–" : figure.toLocaleString());
    }
    document.title = this.#server.answers ? `${onlineCount(this.#presence)} online · presenced` : "gone · presenced";
  }
}

new App().start();
