/**
 * The page: one object holds the state (connections, presence, statistics) and renders it at most once per frame.
 *
 *   messages, statistics, clicks -> App (state) -> #requestRender -> OnlineList, UserCards, MessageLog
 */

import { LiveRegion } from "./live-region.js";
import { UserCards } from "./user-cards.js";
import { ConnectForm } from "./connect-form.js";
import { Connection } from "./connection.js";
import { byId, clockTime, setText } from "./dom.js";
import { Guide } from "./guide.js";
import { MessageLog } from "./message-log.js";
import { applyClassicMessage, NO_USERS, onlineCount, applyStats, withoutStatuses, withoutOffline } from "./presence.js";
import { CLOSE_CODES, parseMessage } from "./protocol.js";
import { restoreConnections, saveConnections } from "./saved-connections.js";
import { OnlineList } from "./online-list.js";
import { fetchHealth, StatsPoller } from "./stats-poller.js";
import { Snippets } from "./snippets.js";
import { announcements, updatePresence, completedSteps, watchesEveryone } from "./v1-page-updates.js";

/**
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./stats-poller.js").Stats} Stats
 * @typedef {import("./v1-session.js").ReceivedV1} ReceivedV1
 * @typedef {import("./v1-desired-state.js").DesiredState} DesiredState
 */

/** Maximum number of connections. Each has its own worker, which takes a few megabytes. */
const MAX_CONNECTIONS = 20;

/**
 * Maximum number of connections opened at once after a reload. If a page opens more than about 16, Chromium delays some
 * by seconds, and they miss the grace period.
 */
const MAX_OPENING = 8;

const TICK_MS = 1_000;

class App {
  /** @type {Presence} */
  #presence = NO_USERS;
  /** @type {Connection[]} */
  #connections = [];
  /** @type {Stats | null} */
  #stats = null;
  /** Users with an open connection, on this page or elsewhere. @type {Set<string>} */
  #connected = new Set();
  #lastOrdinal = 0;
  #frame = 0;
  /** Connections saved before a reload that have not been opened yet. */
  #toRestore = restoreConnections().slice(0, MAX_CONNECTIONS);
  /** Restored connections that are still connecting. @type {Set<Connection>} */
  #restoring = new Set();

  #snippets = new Snippets((text) => this.#liveRegion.say(text));
  #form = new ConnectForm({
    changed: (isV1, needsToken) => this.#snippets.show(isV1, needsToken),
    connect: (userId, desired) => this.#connect(userId, desired) !== null,
    isTaken: (name) => this.#presence.get(name)?.online || this.#connections.some((c) => c.userId === name),
  });
  #banner = byId("banner", HTMLDivElement);
  #liveRegion = new LiveRegion();
  #guide = new Guide();
  #log = new MessageLog();
  #onlineList = new OnlineList(() => this.#setPresence(withoutOffline(this.#presence)));
  #cards = new UserCards({
    add: (userId) => this.#connect(userId, this.#form.desired),
    remove: (connection) => {
      this.#connections = this.#connections.filter((c) => c !== connection);
      this.#requestRender();
    },
  });
  #poller = new StatsPoller({
    updated: (stats, requestedAt) => {
      this.#stats = stats;
      this.#connected = new Set(stats.sessions.map((session) => session.userId));
      // A connection that watches everyone has newer information.
      if (!watchesEveryone(this.#connections)) this.#setPresence(applyStats(this.#presence, stats, requestedAt, Date.now()));
      this.#requestRender();
    },
    unreachable: (reason) => this.#serverUnreachable(reason),
    reachable: () => this.#serverReachable(),
    isNeeded: () => this.#connections.some((c) => c.state === "waiting"),
  });

  start() {
    addEventListener("pagehide", ({ persisted }) => {
      if (persisted) this.#sleep();
      // Save with sessions, because a page in the back/forward cache may be discarded and loaded again.
      saveConnections(this.#connections, this.#toRestore, true);
    });
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted) this.#wake();
    });
    // A frozen background tab does not run, so its users are not there either.
    document.addEventListener("freeze", () => this.#sleep());
    document.addEventListener("resume", () => this.#wake());
    this.#restoreNext();
    this.#poller.start();
    void this.#showVersion();
    setInterval(() => this.#tick(), TICK_MS);
    this.#form.suggest();
    this.#requestRender();
  }

  /** Close the connections, because the page stops running, temporarily or permanently. */
  #sleep() {
    for (const connection of this.#connections) connection.sleep();
  }

  #wake() {
    for (const connection of this.#connections) connection.wake();
    if (this.#connections.length) this.#guide.saw("kept");
    this.#poller.pollSoon();
  }

  /** Restore connections after a reload, within the grace period of a few seconds. */
  #restoreNext() {
    while (this.#toRestore.length && this.#connections.filter((c) => c.state === "connecting").length < MAX_OPENING) {
      const next = this.#toRestore.shift();
      const connection = next && this.#connect(next.userId, next.desired);
      if (connection) this.#restoring.add(connection);
    }
  }

  /**
   * Open a connection. Return null if the page has the maximum number.
   *
   * @param {string} userId
   * @param {DesiredState | null} desired Null for the classic protocol.
   * @returns {Connection | null}
   */
  #connect(userId, desired) {
    if (this.#connections.length >= MAX_CONNECTIONS) {
      const reason = `A page holds at most ${MAX_CONNECTIONS} connections. Remove one first.`;
      this.#liveRegion.say(reason);
      this.#form.refuse(reason);
      return null;
    }
    this.#lastOrdinal += 1;
    /** @type {import("./connection.js").Hooks} */
    const hooks = {
      changed: (c) => this.#connectionChanged(c),
      received: (c, text) => this.#received(c, text),
      receivedV1: (c, received) => this.#receivedV1(c, received),
      logged: (c, direction, text, phrase) => this.#log.add(c.labelPhrase, direction, text, phrase),
      serverReachable: () => this.#poller.isReachable,
    };
    const connection = new Connection(userId, this.#lastOrdinal, hooks, desired, this.#form.token);
    this.#connections.push(connection);
    connection.open();
    return connection;
  }

  /**
   * @param {Connection} connection
   */
  #connectionChanged(connection) {
    if (connection.state !== "open") {
      this.#poller.pollSoon();
      // The last statistics are wrong about this user until the next ones arrive.
      if (!this.#connections.some((c) => c.userId === connection.userId && c.state === "open")) {
        this.#connected.delete(connection.userId);
      }
    }
    if (connection.state === "closed" && connection.end?.by === "server") {
      const { code, reason } = connection.end;
      const meaning = reason || CLOSE_CODES.get(code)?.meaning || "";
      this.#liveRegion.say(`${connection.label}: closed by the server, ${meaning.replace(/\.$/, "")}.`);
    }
    saveConnections(this.#connections, this.#toRestore, false);
    if (!watchesEveryone(this.#connections)) this.#setPresence(withoutStatuses(this.#presence));
    if (connection.state !== "connecting") this.#restoreNext();
    this.#requestRender();
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
    // The connection's user may be invisible, so a connection that watches everyone decides.
    if (!isOwn || !watchesEveryone(this.#connections)) this.#setPresence(applyClassicMessage(this.#presence, message, Date.now()));
    const isOnline = this.#presence.get(message.userId)?.online ?? false;
    if (isOwn) {
      this.#established(connection, wasOnline);
      this.#poller.pollSoon();
    } else if (isOnline !== wasOnline) {
      this.#liveRegion.say(`${message.userId} is ${isOnline ? "online" : "offline"}.`);
      this.#poller.pollSoon();
    }
    const own = this.#connections.filter((c) => c.userId === message.userId);
    if (message.type === "USER_ONLINE" && !own.length) this.#guide.saw("tab");
    if (message.type === "USER_OFFLINE" && own.some((c) => c.state === "dropped")) this.#guide.saw("wait");
  }

  /**
   * @param {Connection} connection
   * @param {ReceivedV1} received
   */
  #receivedV1(connection, received) {
    const { message } = received;
    if (!message) return;
    const before = this.#presence;
    this.#setPresence(updatePresence(before, connection, message, Date.now()));
    for (const text of announcements(before, this.#presence, connection, received)) this.#liveRegion.say(text);
    for (const step of completedSteps(this.#connections, connection, message)) this.#guide.saw(step);
    if (message.type === "CONNECTION_ESTABLISHED") {
      this.#established(connection, before.get(connection.userId)?.online ?? false);
    }
    if (message.type === "CONNECTION_ESTABLISHED" || before !== this.#presence) this.#poller.pollSoon();
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
    const wasReturning = this.#restoring.delete(connection);
    if (wasReturning && !this.#restoring.size && !this.#toRestore.length) this.#guide.saw("reload");
  }

  /**
   * @param {Presence} presence
   */
  #setPresence(presence) {
    if (presence === this.#presence) return;
    this.#presence = presence;
    this.#requestRender();
  }

  /**
   * @param {string} reason
   */
  #serverUnreachable(reason) {
    this.#stats = null;
    this.#restoring.clear();
    this.#banner.hidden = false;
    this.#banner.textContent =
      `The server has been unreachable since ${clockTime(Date.now())}. ${reason} ` +
      "This page retries every second and reconnects automatically.";
    this.#requestRender();
  }

  #serverReachable() {
    this.#banner.hidden = true;
    this.#liveRegion.say("The server is reachable again.");
    this.#guide.saw("kill");
    for (const connection of this.#connections) connection.reconnect();
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
    this.#onlineList.draw(Date.now());
    if (this.#connections.some((c) => c.state === "dropped")) {
      this.#poller.pollSoon(); // nothing reports the end of a grace period if no connection is open
      this.#requestRender();
    }
  }

  /** Render in the next frame. */
  #requestRender() {
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
    this.#onlineList.show(this.#presence, now);
    const listening = this.#connections.some((c) => c.state === "open");
    this.#onlineList.explain(this.#presence, this.#stats, listening);
    document.body.classList.toggle("stale", !this.#poller.isReachable);
    for (const [id, figure] of /** @type {const} */ ([
      ["users-online", this.#stats?.onlineUsers],
      ["users-connected", this.#stats?.connectedUsers],
      ["connections", this.#stats?.totalConnections],
    ])) {
      setText(byId(id, HTMLElement), figure === undefined ? "–" : figure.toLocaleString());
    }
    document.title = this.#poller.isReachable ? `${onlineCount(this.#presence)} online · presenced` : "unreachable · presenced";
  }
}

new App().start();
