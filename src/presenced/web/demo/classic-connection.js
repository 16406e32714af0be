/** A connection of the classic protocol. It has no library: its states and its back-off are here. */

import { Connection } from "./connection.js";
import { KEEP_SESSION, mayReconnect, parseMessage, webSocketUrl } from "./protocol.js";

/**
 * @typedef {object} ClassicHooks
 * @property {(connection: Connection, text: string) => void} received
 * @property {() => boolean} serverReachable Whether to connect now; if not, a call of `reconnect` follows.
 */

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;

export class ClassicConnection extends Connection {
  /** @type {ReturnType<import("./network.js").Network["open"]> | null} */
  #socket = null;
  #attempts = 0;
  #timer = 0;
  /** Whether the page is cached or frozen. */
  #asleep = false;
  #hooks;
  #token;

  /**
   * @param {string} userId
   * @param {number} ordinal
   * @param {import("./connection.js").Hooks & ClassicHooks} hooks
   * @param {string} token Token that authenticates the user, or an empty string.
   */
  constructor(userId, ordinal, hooks, token) {
    super(userId, ordinal, hooks);
    this.#hooks = hooks;
    this.#token = token;
  }

  open() {
    if (this.#socket) return;
    clearTimeout(this.#timer);
    this.connectionId = "";
    this.network.restore();
    // A token needs a second subprotocol, because browsers fail a handshake that selects none of those offered.
    const protocols = this.#token ? ["presenced.classic", `presenced.token.${this.#token}`] : [];
    const socket = this.network.open(webSocketUrl(this.userId), protocols);
    socket.onopen = () => this.setState("open");
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = ({ code }) => this.#ended(code);
    this.#socket = socket;
    this.setState("connecting");
  }

  disconnect() {
    this.#asleep = false;
    if (this.state === "open") {
      this.setState("closing");
      this.#socket?.close(1000);
    } else if (this.state === "connecting" || this.state === "waiting") {
      this.#discard();
      this.setState("closed");
    }
  }

  drop() {
    if (this.state === "open" && this.#socket) this.#socket.onclose = () => {};
    super.drop();
    if (this.state === "dropped") this.#socket = null;
  }

  reconnect() {
    if (this.state !== "waiting" || this.#asleep) return;
    clearTimeout(this.#timer);
    this.#attempts = 0;
    // With jitter, because many pages may wait for the server.
    this.#timer = setTimeout(() => this.open(), Math.random() * FIRST_WAIT_MS);
  }

  /** Close, or the user would stay online: the browser keeps answering pings. */
  sleep() {
    if (this.#asleep || (this.state !== "open" && this.state !== "connecting")) return;
    this.#asleep = true;
    this.#discard(KEEP_SESSION);
    this.setState("waiting");
  }

  wake() {
    if (this.state !== "waiting") return;
    this.#asleep = false;
    this.#attempts = 0;
    this.open();
  }

  /**
   * Close the socket, and ignore what still comes from it.
   *
   * @param {number} [code]
   */
  #discard(code) {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = () => {};
    socket.close(code);
  }

  /**
   * @param {string} text
   */
  #received(text) {
    const message = parseMessage(text);
    if (message?.type === "CONNECTION_ESTABLISHED") {
      this.connectionId = message.connectionId;
      this.#attempts = 0;
    }
    this.addReceived(text, []);
    this.#hooks.received(this, text);
    this.changed();
  }

  /**
   * @param {number} code
   */
  #ended(code) {
    const isDeliberate = this.state === "closing";
    this.#discard();
    if (isDeliberate || !mayReconnect(code)) {
      this.setState("closed");
      return;
    }
    // Equal jitter: at least half the delay, so that clients do not retry in bursts after a refusal.
    const delayMs = (Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempts) * (1 + Math.random())) / 2;
    this.#attempts += 1;
    this.#timer = setTimeout(() => {
      if (this.#hooks.serverReachable()) this.open();
    }, delayMs);
    this.setState("waiting");
  }
}
