/**
 * One connection of one user: its state, how it ended, and when it comes back.
 */

import { KEEP_SESSION, mayReconnect, NO_CLOSE_FRAME, parseMessage, webSocketUrl } from "./protocol.js";
import { SUBPROTOCOL } from "./v1-protocol.js";
import { V1Session } from "./v1-session.js";

/**
 * @typedef {import("./v1-session.js").Told} Told
 * @typedef {import("./v1-wishes.js").Wishes} Wishes
 * @typedef {import("./v1-words.js").Words} Words
 *
 * @typedef {"connecting" | "open" | "closing" | "waiting" | "dropped" | "closed"} State
 *   `waiting`: it ended against the user's will and will be opened again.
 *
 * @typedef {object} End
 * @property {number} code
 * @property {string} reason
 * @property {"page" | "server" | "nobody"} by Who said so; nobody did when no close frame came.
 * @property {boolean} opened Whether it had been open.
 *
 * @typedef {object} Hooks
 * @property {(connection: Connection) => void} changed The state or what else is shown of it changed.
 * @property {(connection: Connection, text: string) => void} received A message of the classic protocol came.
 * @property {(connection: Connection, told: Told) => void} told A message of presenced.v1 came.
 * @property {(connection: Connection, direction: Direction, text: string, words?: Words) => void} noted To be logged;
 *   `words` are what it says.
 * @property {() => boolean} serverAnswers Whether it makes sense to connect now; if not, `comeBack` follows.
 *
 * @typedef {"in" | "out" | "end"} Direction
 *
 * @typedef {object} Received
 * @property {string} text
 * @property {number} at
 * @property {Words} words What it says, of presenced.v1.
 *
 * @typedef {{ open: string, protocols: string[] } | { send: string } | { close: number }} Order What the worker is
 *   told: a URL, a message, or a code.
 * @typedef {{ kind: "open" } | { kind: "message", text: string } |
 *   { kind: "close", code: number, reason: string }} Report What the worker tells.
 */

/** Messages kept for showing, per connection. */
export const MAX_RECEIVED = 50;

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;

export class Connection {
  /** @type {State} */
  state = "closed";
  connectionId = "";
  /** @type {End | null} */
  end = null;
  /** @type {Received[]} Newest first, at most `MAX_RECEIVED`. */
  received = [];
  /** When it was dropped, in epoch milliseconds. */
  droppedAt = 0;
  /** @type {Worker | null} */
  #worker = null;
  #attempts = 0;
  #timer = 0;
  #opened = false;
  /** Whether the page is cached or frozen. The worker then only closes the connection. */
  #asleep = false;
  #hooks;
  #token;

  /**
   * @param {string} userId
   * @param {number} ordinal 1, 2, 3, ... within the page: what people tell connections of one user apart by.
   * @param {Hooks} hooks
   * @param {Wishes | null} wishes What it wants of presenced.v1; null for the classic protocol.
   * @param {string} token Shows who this is; empty where nobody has to.
   */
  constructor(userId, ordinal, hooks, wishes, token) {
    this.#token = token;
    this.userId = userId;
    this.ordinal = ordinal;
    this.#hooks = hooks;
    /** Null with the classic protocol. */
    this.v1 = wishes && new V1Session(userId, wishes, {
      send: (json, isRoutine) => this.#send(json, isRoutine),
      changed: () => hooks.changed(this),
      lost: () => this.#fellSilent(),
    });
  }

  /** What people call it. */
  get label() {
    return `${this.userId || "(empty)"} #${this.ordinal}`;
  }

  /** The label for display: the id stays apart from the number in any writing direction. @returns {Words} */
  get labelWords() {
    return [[this.userId || "(empty)"], ` #${this.ordinal}`];
  }

  /** Whether a reload of the page should bring it back. */
  get isWanted() {
    return this.state === "connecting" || this.state === "open" || this.state === "waiting";
  }

  /** Connect; no-op while it is open or opening. */
  open() {
    if (this.#worker) return;
    clearTimeout(this.#timer);
    this.connectionId = "";
    this.end = null;
    this.#opened = false;
    const url = this.v1 ? this.v1.url : webSocketUrl(this.userId);
    const worker = new Worker(new URL("socket-worker.js", import.meta.url));
    worker.addEventListener("message", (event) => this.#reported(event.data));
    // The worker's script could not be had: to the user it is the same as a connection that could not.
    worker.addEventListener("error", () => this.#ended(NO_CLOSE_FRAME, ""));
    /** @type {Order} */
    const order = { open: url, protocols: this.#protocols() };
    worker.postMessage(order);
    this.#worker = worker;
    this.#become("connecting");
    this.#hooks.noted(this, "out", `connect ${url}`);
  }

  /** What is offered; beside a token the classic protocol has a name, since browsers want one agreed on. */
  #protocols() {
    if (!this.#token) return this.v1 ? [SUBPROTOCOL] : [];
    return [this.v1 ? SUBPROTOCOL : "presenced.classic", `presenced.token.${this.#token}`];
  }

  /** End it on purpose (code 1000), or give up connecting. */
  disconnect() {
    this.#asleep = false;
    if (this.state === "open") {
      /** @type {Order} */
      const order = { close: 1000 };
      this.#worker?.postMessage(order);
      this.#hooks.noted(this, "out", "close 1000");
      this.#become("closing");
    } else if (this.state === "connecting" || this.state === "waiting") {
      this.#release();
      this.v1?.ended();
      this.#become("closed");
    }
  }

  /** Lose it, as when the tab is closed. */
  drop() {
    if (this.state !== "open") return;
    this.#release();
    this.droppedAt = Date.now();
    this.#hooks.noted(this, "out", "dropped: the browser gives it up as when its page goes away (1001)");
    this.#become("dropped");
  }

  /** The server answers again: if this connection waits for that, open it. */
  comeBack() {
    if (this.state !== "waiting" || this.#asleep) return;
    clearTimeout(this.#timer);
    this.#attempts = 0;
    // Not all at once: there may be many such pages.
    this.#timer = setTimeout(() => this.open(), Math.random() * FIRST_WAIT_MS);
  }

  /**
   * Close the connection, because the browser caches or freezes the page and may never wake it. Otherwise the user
   * would stay online, because the browser keeps answering pings.
   */
  sleep() {
    if (this.#asleep || (this.state !== "open" && this.state !== "connecting")) return;
    this.#asleep = true;
    /** @type {Order} */
    const order = { close: KEEP_SESSION };
    this.#worker?.postMessage(order);
    this.#hooks.noted(this, "out", `close ${KEEP_SESSION}: the browser keeps or freezes this page`);
    this.#become("waiting");
  }

  /** Connect again if a connection is wanted, because the page is shown again or resumes. */
  wake() {
    if (this.state !== "waiting") return;
    this.#asleep = false;
    this.#attempts = 0;
    this.#release();
    this.open();
  }

  #release() {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
    this.v1?.lost();
  }

  /**
   * @param {string} json
   * @param {boolean} isRoutine
   */
  #send(json, isRoutine) {
    /** @type {Order} */
    const order = { send: json };
    this.#worker?.postMessage(order);
    if (!isRoutine) this.#hooks.noted(this, "out", json);
  }

  /** No answer came: give the connection up, and open another one. */
  #fellSilent() {
    this.#hooks.noted(this, "out", "given up: the server does not answer on it");
    this.#ended(NO_CLOSE_FRAME, "");
  }

  /**
   * @param {State} state
   */
  #become(state) {
    this.state = state;
    this.#hooks.changed(this);
  }

  /**
   * @param {Report} report
   */
  #reported(report) {
    if (this.#asleep) return;
    if (report.kind === "message") {
      this.#received(report.text);
    } else if (report.kind === "close") {
      this.#ended(report.code, report.reason);
    } else {
      this.#opened = true;
      this.#become("open");
    }
  }

  /**
   * @param {string} text
   */
  #received(text) {
    const told = this.v1?.received(text);
    const message = told ? told.message : parseMessage(text);
    if (message?.type === "CONNECTION_ESTABLISHED") {
      this.connectionId = message.connectionId;
      this.#attempts = 0;
    }
    if (message?.type !== "PONG") {
      const words = told?.words ?? [];
      this.received = [{ text, words, at: Date.now() }, ...this.received.slice(0, MAX_RECEIVED - 1)];
      this.#hooks.noted(this, "in", text, words);
    }
    if (told) this.#hooks.told(this, told);
    else this.#hooks.received(this, text);
    this.#hooks.changed(this);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #ended(code, reason) {
    const by = code === NO_CLOSE_FRAME ? "nobody" : this.state === "closing" ? "page" : "server";
    this.end = { code, reason, by, opened: this.#opened };
    this.#release();
    this.#hooks.noted(this, "end", `${this.#opened ? "closed" : "not opened"} ${code}${reason && `: ${reason}`}`);
    if (this.state === "closing" || !mayReconnect(code)) {
      this.v1?.ended();
      this.#become("closed");
      return;
    }
    // Equal jitter: at least half the wait, so that a refusal is never answered by a burst.
    const wait = (Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempts) * (1 + Math.random())) / 2;
    this.#attempts += 1;
    this.#timer = setTimeout(
      () => {
        if (this.#hooks.serverAnswers()) this.open();
      },
      this.v1?.takeRetryAfter() || wait,
    );
    this.#become("waiting");
  }
}
