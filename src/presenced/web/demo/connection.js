/**
 * One connection of one user on the page: what the cards show of it, whichever protocol it speaks.
 *
 *   connecting --> open --disconnect()--> closing --close frame--> closed
 *       |           |----drop()---------> dropped --open()-------> connecting
 *       +--refused--+--lost-------------> waiting ---------------> connecting
 *
 * A close code that forbids reconnecting leads to `closed` instead of `waiting`.
 */

import { Network } from "./network.js";
import { NO_CLOSE_FRAME } from "./protocol.js";

/**
 * @typedef {import("./v1-descriptions.js").Phrase} Phrase
 * @typedef {import("./v1-connection.js").V1Connection} V1Connection
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
 * @typedef {"in" | "out" | "end" | "state"} Direction
 *
 * @typedef {object} Received
 * @property {string} text
 * @property {number} at
 * @property {Phrase} phrase Description of a message of presenced.v1.
 *
 * @typedef {object} Hooks
 * @property {(connection: Connection) => void} changed The state, or anything else on display, changed.
 * @property {(connection: Connection, direction: Direction, text: string, phrase?: Phrase) => void} logged An
 *   entry for the message log; `phrase` describes it.
 */

/** Maximum number of messages per connection; the oldest are evicted. */
export const MAX_RECEIVED = 50;

/** @abstract */
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
  network = new Network((event) => this.networkReported(event));
  #hooks;

  /**
   * @param {string} userId
   * @param {number} ordinal 1, 2, 3, ... within the page, to distinguish connections of one user.
   * @param {Hooks} hooks
   */
  constructor(userId, ordinal, hooks) {
    this.userId = userId;
    this.ordinal = ordinal;
    this.#hooks = hooks;
  }

  /** The connection if it speaks presenced.v1. @returns {V1Connection | null} */
  get v1() {
    return null;
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
  open() {}

  /** Close the connection deliberately (code 1000), or stop connecting. */
  disconnect() {}

  /** Lose the connection as if the tab were closed. */
  drop() {
    if (this.state !== "open") return;
    this.droppedAt = Date.now();
    this.logged("out", "dropped: the browser closes it as for a closed tab (1001)");
    this.network.cut();
    this.setState("dropped");
  }

  /** Open a waiting connection, because the server is reachable again. */
  reconnect() {}

  /** The browser caches or freezes the page, and may never wake it. */
  sleep() {}

  /** The page is shown again, or resumes. */
  wake() {}

  /**
   * @protected
   * @param {State} state
   */
  setState(state) {
    this.state = state;
    this.changed();
  }

  /** @protected */
  changed() {
    this.#hooks.changed(this);
  }

  /**
   * @protected
   * @param {Direction} direction
   * @param {string} text
   * @param {Phrase} [phrase]
   */
  logged(direction, text, phrase) {
    this.#hooks.logged(this, direction, text, phrase);
  }

  /**
   * @protected
   * @param {string} text
   * @param {Phrase} phrase
   */
  addReceived(text, phrase) {
    this.received = [{ text, phrase, at: Date.now() }, ...this.received.slice(0, MAX_RECEIVED - 1)];
    this.logged("in", text, phrase);
  }

  /**
   * @protected
   * @param {import("./network.js").NetworkEvent} event
   */
  networkReported(event) {
    if (event.kind === "connect") {
      this.end = null;
      this.logged("out", `connect ${event.url}`);
    } else if (event.kind === "close") {
      this.logged("out", `close ${event.code}`);
    } else {
      const { code, reason, opened } = event;
      const by = code === NO_CLOSE_FRAME ? "nobody" : this.state === "closing" ? "page" : "server";
      this.end = { code, reason, by, opened };
      this.logged("end", `${opened ? "closed" : "not opened"} ${code}${reason && `: ${reason}`}`);
    }
  }
}
