/**
 * One connection of one user: its state, its end, and when it reconnects.
 *
 *   connecting --open--> open --disconnect()--> closing --close frame--> closed
 *       |                 |----drop()---------> dropped --open()-------> connecting
 *       |                 |----sleep()--------> waiting --wake()-------> connecting
 *       +--refused or lost+-------------------> waiting --back-off-----> connecting
 *
 * A close code that forbids reconnecting leads to `closed` instead of `waiting`. While the server is unreachable, a
 * waiting connection stays so until `reconnect` is called.
 */

import { KEEP_SESSION, mayReconnect, NO_CLOSE_FRAME, parseMessage, webSocketUrl } from "./protocol.js";
import { SUBPROTOCOL } from "./v1-protocol.js";
import { V1Session } from "./v1-session.js";

/**
 * @typedef {import("./v1-session.js").ReceivedV1} ReceivedV1
 * @typedef {import("./v1-desired-state.js").DesiredState} DesiredState
 * @typedef {import("./v1-descriptions.js").Phrase} Phrase
 *
 * @typedef {"connecting" | "open" | "closing" | "waiting" | "dropped" | "closed"} State
 *   `waiting`: it was lost and will be opened again.
 *
 * @typedef {object} End
 * @property {number} code
 * @property {string} reason
 * @property {"page" | "server" | "nobody"} by Sender of the close frame; `nobody` if none arrived.
 * @property {boolean} opened Whether the connection had been open.
 *
 * @typedef {object} Hooks
 * @property {(connection: Connection) => void} changed The state, or anything else on display, changed.
 * @property {(connection: Connection, text: string) => void} received A message of the classic protocol arrived.
 * @property {(connection: Connection, received: ReceivedV1) => void} receivedV1 A message of presenced.v1 arrived.
 * @property {(connection: Connection, direction: Direction, text: string, phrase?: Phrase) => void} logged An
 *   entry for the message log; `phrase` describes it.
 * @property {() => boolean} serverReachable Whether to connect now; if not, a call of `reconnect` follows.
 *
 * @typedef {"in" | "out" | "end"} Direction
 *
 * @typedef {object} Received
 * @property {string} text
 * @property {number} at
 * @property {Phrase} phrase Description of a message of presenced.v1.
 *
 * @typedef {{ open: string, protocols: string[] } | { send: string } | { close: number }} WorkerCommand A URL, a
 *   message, or a close code.
 * @typedef {{ kind: "open" } | { kind: "message", text: string } |
 *   { kind: "close", code: number, reason: string }} WorkerEvent
 */

/** Maximum number of messages per connection; the oldest are evicted. */
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
  /** Time of `drop()` in epoch milliseconds. */
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
   * @param {number} ordinal 1, 2, 3, ... within the page, to distinguish connections of one user.
   * @param {Hooks} hooks
   * @param {DesiredState | null} desired Desired state with presenced.v1; null for the classic protocol.
   * @param {string} token Token that authenticates the user, or an empty string.
   */
  constructor(userId, ordinal, hooks, desired, token) {
    this.#token = token;
    this.userId = userId;
    this.ordinal = ordinal;
    this.#hooks = hooks;
    /** The session; null with the classic protocol. */
    this.v1 = desired && new V1Session(userId, desired, {
      send: (json, isRoutine) => this.#send(json, isRoutine),
      changed: () => hooks.changed(this),
      timedOut: () => this.#timedOut(),
    });
  }

  /** Name of the connection on the page. */
  get label() {
    return `${this.userId || "(empty)"} #${this.ordinal}`;
  }

  /** The label as a phrase, so that the id stays apart from the number in any writing direction. @returns {Phrase} */
  get labelPhrase() {
    return [[this.userId || "(empty)"], ` #${this.ordinal}`];
  }

  /** Whether to open the connection again after a reload of the page. */
  get shouldRestore() {
    return this.state === "connecting" || this.state === "open" || this.state === "waiting";
  }

  /** Connect. Do nothing while the connection is open or connecting. */
  open() {
    if (this.#worker) return;
    clearTimeout(this.#timer);
    this.connectionId = "";
    this.end = null;
    this.#opened = false;
    const url = this.v1 ? this.v1.url : webSocketUrl(this.userId);
    const worker = new Worker(new URL("socket-worker.js", import.meta.url));
    worker.addEventListener("message", (event) => this.#reported(event.data));
    // If the worker's script cannot be loaded, treat it like a failed connection.
    worker.addEventListener("error", () => this.#ended(NO_CLOSE_FRAME, ""));
    /** @type {WorkerCommand} */
    const order = { open: url, protocols: this.#protocols() };
    worker.postMessage(order);
    this.#worker = worker;
    this.#setState("connecting");
    this.#hooks.logged(this, "out", `connect ${url}`);
  }

  /**
   * Return the subprotocols to offer. A token needs a second one, because browsers fail a handshake that selects none
   * of those offered.
   */
  #protocols() {
    if (!this.#token) return this.v1 ? [SUBPROTOCOL] : [];
    return [this.v1 ? SUBPROTOCOL : "presenced.classic", `presenced.token.${this.#token}`];
  }

  /** Close the connection deliberately (code 1000), or stop connecting. */
  disconnect() {
    this.#asleep = false;
    if (this.state === "open") {
      /** @type {WorkerCommand} */
      const order = { close: 1000 };
      this.#worker?.postMessage(order);
      this.#hooks.logged(this, "out", "close 1000");
      this.#setState("closing");
    } else if (this.state === "connecting" || this.state === "waiting") {
      this.#discardWorker();
      this.v1?.ended();
      this.#setState("closed");
    }
  }

  /** Lose the connection as if the tab were closed. */
  drop() {
    if (this.state !== "open") return;
    this.#discardWorker();
    this.droppedAt = Date.now();
    this.#hooks.logged(this, "out", "dropped: the browser closes it as for a closed tab (1001)");
    this.#setState("dropped");
  }

  /** Open a waiting connection, because the server is reachable again. */
  reconnect() {
    if (this.state !== "waiting" || this.#asleep) return;
    clearTimeout(this.#timer);
    this.#attempts = 0;
    // With jitter, because many pages may wait for the server.
    this.#timer = setTimeout(() => this.open(), Math.random() * FIRST_WAIT_MS);
  }

  /**
   * Close the connection, because the browser caches or freezes the page and may never wake it. Otherwise the user
   * would stay online, because the browser keeps answering pings.
   */
  sleep() {
    if (this.#asleep || (this.state !== "open" && this.state !== "connecting")) return;
    this.#asleep = true;
    /** @type {WorkerCommand} */
    const order = { close: KEEP_SESSION };
    this.#worker?.postMessage(order);
    this.#hooks.logged(this, "out", `close ${KEEP_SESSION}: the browser caches or freezes this page`);
    this.#setState("waiting");
  }

  /** Connect again if a connection is wanted, because the page is shown again or resumes. */
  wake() {
    if (this.state !== "waiting") return;
    this.#asleep = false;
    this.#attempts = 0;
    this.#discardWorker();
    this.open();
  }

  #discardWorker() {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
    this.v1?.connectionLost();
  }

  /**
   * @param {string} json
   * @param {boolean} isRoutine
   */
  #send(json, isRoutine) {
    /** @type {WorkerCommand} */
    const order = { send: json };
    this.#worker?.postMessage(order);
    if (!isRoutine) this.#hooks.logged(this, "out", json);
  }

  /** Replace the connection, because no response arrived. */
  #timedOut() {
    this.#hooks.logged(this, "out", "timed out: the server does not answer on this connection");
    this.#ended(NO_CLOSE_FRAME, "");
  }

  /**
   * @param {State} state
   */
  #setState(state) {
    this.state = state;
    this.#hooks.changed(this);
  }

  /**
   * @param {WorkerEvent} report
   */
  #reported(report) {
    if (this.#asleep) return;
    if (report.kind === "message") {
      this.#received(report.text);
    } else if (report.kind === "close") {
      this.#ended(report.code, report.reason);
    } else {
      this.#opened = true;
      this.#setState("open");
    }
  }

  /**
   * @param {string} text
   */
  #received(text) {
    const receivedV1 = this.v1?.received(text);
    const message = receivedV1 ? receivedV1.message : parseMessage(text);
    if (message?.type === "CONNECTION_ESTABLISHED") {
      this.connectionId = message.connectionId;
      this.#attempts = 0;
    }
    if (message?.type !== "PONG") {
      const phrase = receivedV1?.phrase ?? [];
      this.received = [{ text, phrase, at: Date.now() }, ...this.received.slice(0, MAX_RECEIVED - 1)];
      this.#hooks.logged(this, "in", text, phrase);
    }
    if (receivedV1) this.#hooks.receivedV1(this, receivedV1);
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
    this.#discardWorker();
    this.#hooks.logged(this, "end", `${this.#opened ? "closed" : "not opened"} ${code}${reason && `: ${reason}`}`);
    if (this.state === "closing" || !mayReconnect(code)) {
      this.v1?.ended();
      this.#setState("closed");
      return;
    }
    // Equal jitter: at least half the delay, so that clients do not retry in bursts after a refusal.
    const delayMs = (Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempts) * (1 + Math.random())) / 2;
    this.#attempts += 1;
    this.#timer = setTimeout(
      () => {
        if (this.#hooks.serverReachable()) this.open();
      },
      this.v1?.takeRetryDelayMs() || delayMs,
    );
    this.#setState("waiting");
  }
}
