/**
 * The folded part of the page: one object holds the state (connections, presence, statistics) and renders it at most
 * once per frame.
 *
 *   messages, statistics, clicks -> Workbench (state) -> #requestRender -> OnlineList, UserCards, MessageLog
 */

import { LiveRegion } from "./live-region.js";
import { UserCards } from "./user-cards.js";
import { ConnectForm } from "./connect-form.js";
import { ClassicConnection } from "./classic-connection.js";
import { Guide } from "./guide.js";
import { MessageLog } from "./message-log.js";
import {
  applyClassicMessage,
  applyEveryone,
  applyStats,
  NO_USERS,
  onlineCount,
  withoutOffline,
  withoutStatuses,
} from "./presence.js";
import { CLOSE_CODES, parseMessage } from "./protocol.js";
import { restoreConnections, saveConnections } from "./saved-connections.js";
import { OnlineList } from "./online-list.js";
import { hideUnreachable, showFigures, showUnreachable, showVersion } from "./server-status.js";
import { fetchHealth, StatsPoller } from "./stats-poller.js";
import { Snippets } from "./snippets.js";
import { V1Connection } from "./v1-connection.js";
import { plainText, describeSelf } from "./v1-descriptions.js";
import { announcements, completedSteps, everyoneKnown, stepsOfOwnStatus } from "./v1-page-updates.js";

/**
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./stats-poller.js").Stats} Stats
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-connection.js").Own} Own
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

export class Workbench {
  /** @type {Presence} */
  #presence = NO_USERS;
  /** Whether the list of users comes from a connection that watches everyone. */
  #isFromV1 = false;
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
  /** Last state of each connection. @type {WeakMap<Connection, string>} */
  #states = new WeakMap();
  /** Restored connections that are still connecting. @type {Set<Connection>} */
  #restoring = new Set();

  #snippets = new Snippets((text) => this.#liveRegion.say(text));
  #form = new ConnectForm({
    changed: (isV1, needsToken) => this.#snippets.show(isV1, needsToken),
    connect: (userId, desired) => this.#connect(userId, desired) !== null,
    isTaken: (name) => this.#presence.get(name)?.online || this.#connections.some((c) => c.userId === name),
  });
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
      if (!this.#isFromV1) this.#setPresence(applyStats(this.#presence, stats, requestedAt, Date.now()));
      this.#requestRender();
    },
    unreachable: (reason) => this.#serverUnreachable(reason),
    reachable: () => this.#serverReachable(),
    isNeeded: () => this.#connections.some((c) => c.state === "waiting"),
  });

  /** Whether the page is being left, or is cached. */
  #isLeft = false;
  #demonstration;

  /**
   * @param {import("./demonstration.js").Demonstration} demonstration
   */
  constructor(demonstration) {
    this.#demonstration = demonstration;
  }

  start() {
    addEventListener("pagehide", ({ persisted, isTrusted }) => {
      if (!isTrusted) return; // one of the demonstration's people reloads their page
      this.#isLeft = true;
      if (persisted) this.#sleep();
      // Save with sessions, because a page in the back/forward cache may be discarded and loaded again.
      saveConnections(this.#connections, this.#toRestore, true);
    });
    addEventListener("pageshow", ({ persisted }) => {
      this.#isLeft = false;
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
    const hooks = {
      changed: (/** @type {Connection} */ c) => this.#connectionChanged(c),
      logged: this.#log.addOf,
      received: (/** @type {Connection} */ c, /** @type {string} */ text) => this.#received(c, text),
      serverReachable: () => this.#poller.isReachable,
      people: () => this.#updateFromV1(),
      established: (/** @type {Connection} */ c) => this.#established(c, this.#presence.get(c.userId)?.online ?? false),
      ownStatus: (/** @type {Connection} */ c, /** @type {Own} */ own, /** @type {Own | null} */ before) =>
        this.#ownStatusChanged(c, own, before),
      sessionSaved: () => {
        if (this.#isLeft) saveConnections(this.#connections, this.#toRestore, true); // it comes after `pagehide` here
      },
      refused: (/** @type {Connection} */ c, /** @type {string} */ why) =>
        this.#liveRegion.say(`${c.label}: refused, ${why}.`),
      reconnected: (/** @type {V1Connection} */ c) => {
        if (c.reconnected?.outcome === "resumed" && c.reconnected.missed.length) this.#guide.saw("resume");
      },
    };
    const token = this.#form.token;
    const connection = desired
      ? new V1Connection(userId, this.#lastOrdinal, hooks, desired, token)
      : new ClassicConnection(userId, this.#lastOrdinal, hooks, token);
    this.#connections.push(connection);
    connection.open();
    return connection;
  }

  /**
   * @param {Connection} connection
   */
  #connectionChanged(connection) {
    const isNews = this.#states.get(connection) !== connection.state;
    this.#states.set(connection, connection.state);
    if (!isNews) {
      this.#requestRender();
      return;
    }
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
    saveConnections(this.#connections, this.#toRestore, this.#isLeft);
    this.#updateFromV1();
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
    if (!isOwn || !this.#isFromV1) this.#setPresence(applyClassicMessage(this.#presence, message, Date.now()));
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

  /** Apply what the connections of presenced.v1 know to the list of users. */
  #updateFromV1() {
    const everyone = everyoneKnown(this.#connections);
    const before = this.#presence;
    const wasFromV1 = this.#isFromV1;
    this.#isFromV1 = everyone !== null;
    this.#setPresence(everyone ? applyEveryone(before, everyone, Date.now()) : withoutStatuses(before));
    if (!everyone || before === this.#presence) return;
    this.#poller.pollSoon();
    if (!wasFromV1) return; // the list is as it was, only its source is another
    for (const text of announcements(before, this.#presence)) this.#liveRegion.say(text);
    for (const step of completedSteps(this.#connections, before, this.#presence)) this.#guide.saw(step);
  }

  /**
   * @param {Connection} connection
   * @param {Own} own
   * @param {Own | null} before
   */
  #ownStatusChanged(connection, own, before) {
    for (const step of stepsOfOwnStatus(own)) this.#guide.saw(step);
    if (!before || before.status === own.status) return;
    const cause = own.cause ? ` (${own.cause})` : "";
    this.#liveRegion.say(`${connection.label}: own status: ${plainText(describeSelf(own))}${cause}.`);
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
    this.#poller.pollSoon();
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
    showUnreachable(reason);
    this.#requestRender();
  }

  #serverReachable() {
    hideUnreachable();
    this.#liveRegion.say("The server is reachable again.");
    this.#guide.saw("kill");
    for (const connection of this.#connections) connection.reconnect();
    this.#demonstration.reconnect();
    void this.#showVersion();
  }

  async #showVersion() {
    const health = await fetchHealth();
    if (!health) return;
    showVersion(health.version);
    const needsTokens = health.authentication !== "none";
    this.#form.askForToken(needsTokens);
    this.#demonstration.block(needsTokens);
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
    showFigures(this.#stats, this.#poller.isReachable ? onlineCount(this.#presence) : null);
  }
}
