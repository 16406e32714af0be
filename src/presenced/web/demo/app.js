/**
 * The page: one object that holds what is true (connections, presence, statistics) and has the views show it, at most
 * once a frame.
 */

import { Announcer } from "./announcer.js";
import { Cards } from "./cards.js";
import { ConnectForm } from "./connect-form.js";
import { Connection } from "./connection.js";
import { byId, clockTime, setText } from "./dom.js";
import { Guide } from "./guide.js";
import { MessageLog } from "./log.js";
import { heard, NOBODY, onlineCount, reconciled, withoutAvailability, withoutOffline } from "./presence.js";
import { CLOSE_CODES, parseMessage } from "./protocol.js";
import { recallConnections, rememberConnections } from "./returning.js";
import { Roster } from "./roster.js";
import { fetchHealth, Server } from "./server.js";
import { Snippets } from "./snippets.js";
import { announced, informed, stepsSeen, watchesEveryone } from "./v1-news.js";

/**
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./server.js").Stats} Stats
 * @typedef {import("./v1-session.js").Told} Told
 * @typedef {import("./v1-wishes.js").Wishes} Wishes
 */

/** Connections in one page; each has a worker of its own, a few megabytes. */
const MAX_CONNECTIONS = 20;

/**
 * Connections opened at a time after a reload. Of a page that opens more than about 16 Chromium delays some by seconds,
 * and those would miss the grace.
 */
const MAX_OPENING = 8;

const TICK_MS = 1_000;

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
  /** Whom a reload is to bring back, one for each connection that is not connecting yet. */
  #toReturn = recallConnections().slice(0, MAX_CONNECTIONS);
  /** Those that are, until they have come. @type {Set<Connection>} */
  #returning = new Set();

  #snippets = new Snippets((text) => this.#announcer.say(text));
  #form = new ConnectForm({
    chose: (isV1, needsToken) => this.#snippets.show(isV1, needsToken),
    connect: (userId, wishes) => this.#connect(userId, wishes) !== null,
    isTaken: (name) => this.#presence.get(name)?.online || this.#connections.some((c) => c.userId === name),
  });
  #banner = byId("banner", HTMLDivElement);
  #announcer = new Announcer();
  #guide = new Guide();
  #log = new MessageLog();
  #roster = new Roster(() => this.#know(withoutOffline(this.#presence)));
  #cards = new Cards({
    add: (userId) => this.#connect(userId, this.#form.wishes),
    remove: (connection) => {
      this.#connections = this.#connections.filter((c) => c !== connection);
      this.#touch();
    },
  });
  #server = new Server({
    answered: (stats, askedAt) => {
      this.#stats = stats;
      this.#connected = new Set(stats.sessions.map((session) => session.userId));
      // Those who watch everyone are told more, and sooner.
      if (!watchesEveryone(this.#connections)) this.#know(reconciled(this.#presence, stats, askedAt, Date.now()));
      this.#touch();
    },
    gone: (reason) => this.#serverGone(reason),
    back: () => this.#serverBack(),
    isNeeded: () => this.#connections.some((c) => c.state === "waiting"),
  });

  start() {
    addEventListener("pagehide", ({ persisted }) => {
      if (persisted) this.#sleep();
      // Last, with the sessions, because a page in the back/forward cache may be discarded and loaded again.
      rememberConnections(this.#connections, this.#toReturn, true);
    });
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted) this.#wake();
    });
    // To others, a frozen background tab is gone, too.
    document.addEventListener("freeze", () => this.#sleep());
    document.addEventListener("resume", () => this.#wake());
    this.#return();
    this.#server.start();
    void this.#showVersion();
    setInterval(() => this.#tick(), TICK_MS);
    this.#form.suggest();
    this.#touch();
  }

  /** Close the connections, because the page stops running, temporarily or permanently. */
  #sleep() {
    for (const connection of this.#connections) connection.sleep();
  }

  #wake() {
    for (const connection of this.#connections) connection.wake();
    if (this.#connections.length) this.#guide.saw("kept");
    this.#server.askSoon();
  }

  /** Bring back whom a reload has just disconnected: the server waits a few seconds for them. */
  #return() {
    while (this.#toReturn.length && this.#connections.filter((c) => c.state === "connecting").length < MAX_OPENING) {
      const next = this.#toReturn.shift();
      const connection = next && this.#connect(next.userId, next.wishes);
      if (connection) this.#returning.add(connection);
    }
  }

  /**
   * @param {string} userId
   * @param {Wishes | null} wishes Null for the classic protocol.
   * @returns {Connection | null} Null when there are too many.
   */
  #connect(userId, wishes) {
    if (this.#connections.length >= MAX_CONNECTIONS) {
      const reason = `A page holds ${MAX_CONNECTIONS} connections; remove one first.`;
      this.#announcer.say(reason);
      this.#form.refuse(reason);
      return null;
    }
    this.#ordinals += 1;
    /** @type {import("./connection.js").Hooks} */
    const hooks = {
      changed: (c) => this.#connectionChanged(c),
      received: (c, text) => this.#received(c, text),
      told: (c, told) => this.#told(c, told),
      noted: (c, direction, text, words) => this.#log.add(c.labelWords, direction, text, words),
      serverAnswers: () => this.#server.answers,
    };
    const connection = new Connection(userId, this.#ordinals, hooks, wishes, this.#form.token);
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
    rememberConnections(this.#connections, this.#toReturn, false);
    if (!watchesEveryone(this.#connections)) this.#know(withoutAvailability(this.#presence));
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
    const isOwn = message.type === "CONNECTION_ESTABLISHED";
    // Its user may be invisible; those who watch everyone are told.
    if (!isOwn || !watchesEveryone(this.#connections)) this.#know(heard(this.#presence, message, Date.now()));
    const isOnline = this.#presence.get(message.userId)?.online ?? false;
    if (isOwn) {
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
   * @param {Told} told
   */
  #told(connection, told) {
    const { message } = told;
    if (!message) return;
    const before = this.#presence;
    this.#know(informed(before, connection, message, Date.now()));
    for (const text of announced(before, this.#presence, connection, told)) this.#announcer.say(text);
    for (const step of stepsSeen(this.#connections, connection, message)) this.#guide.saw(step);
    if (message.type === "CONNECTION_ESTABLISHED") {
      this.#established(connection, before.get(connection.userId)?.online ?? false);
    }
    if (message.type === "CONNECTION_ESTABLISHED" || before !== this.#presence) this.#server.askSoon();
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
    const wasReturning = this.#returning.delete(connection);
    if (wasReturning && !this.#returning.size && !this.#toReturn.length) this.#guide.saw("reload");
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
    const health = await fetchHealth();
    if (!health) return;
    setText(byId("server", HTMLParagraphElement), `presenced ${health.version} at ${location.host}`);
    this.#form.askForToken(health.authentication !== "none");
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
