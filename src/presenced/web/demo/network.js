/**
 * A network that can be cut: sockets of presenced's client and of the classic cards, each in a worker.
 *
 * A page itself can only close a WebSocket deliberately. Terminating a worker ends its connection as closing the tab
 * does (code 1001), so others see the user for the grace period.
 */

import { NO_CLOSE_FRAME } from "./protocol.js";

/**
 * @typedef {{ open: string, protocols: string[] } | { send: string } | { close: number }} WorkerCommand A URL, a
 *   message, or a close code.
 * @typedef {{ kind: "open" } | { kind: "message", text: string } |
 *   { kind: "close", code: number, reason: string }} WorkerEvent
 */

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

/**
 * @typedef {{ kind: "connect", url: string } | { kind: "close", code: number } |
 *   { kind: "ended", code: number, reason: string, opened: boolean }} NetworkEvent What happens to a connection, for a
 *   log. Nothing is reported while the network is cut.
 */

/** The part of a WebSocket that the client uses. */
class WorkerSocket {
  readyState = CONNECTING;
  /** @type {() => void} */
  onopen = () => {};
  /** @type {(event: { data: string }) => void} */
  onmessage = () => {};
  /** @type {(event: { code: number, reason: string }) => void} */
  onclose = () => {};
  /** @type {() => void} */
  onerror = () => {};
  /** @type {Worker | null} */
  #worker;
  #report;

  /**
   * @param {string} url
   * @param {string[]} protocols
   * @param {(event: NetworkEvent) => void} report
   */
  constructor(url, protocols, report) {
    this.#report = report;
    const worker = new Worker(new URL("socket-worker.js", import.meta.url));
    worker.addEventListener("message", (event) => this.#reported(event.data));
    // If the worker's script cannot be loaded, treat it like a failed connection.
    worker.addEventListener("error", () => this.#ended(NO_CLOSE_FRAME, ""));
    this.#worker = worker;
    this.#order({ open: url, protocols });
    report({ kind: "connect", url });
  }

  /**
   * @param {string} text
   */
  send(text) {
    this.#order({ send: text });
  }

  /**
   * @param {number} [code]
   */
  close(code = 1000) {
    if (!this.#worker) return;
    this.#order({ close: code });
    this.#report({ kind: "close", code });
  }

  /** Lose the connection as when the tab is closed. */
  lose() {
    this.#report = () => {};
    this.#ended(NO_CLOSE_FRAME, "");
  }

  /**
   * @param {WorkerCommand} command
   */
  #order(command) {
    this.#worker?.postMessage(command);
  }

  /**
   * @param {WorkerEvent} report
   */
  #reported(report) {
    if (!this.#worker) return; // it was lost meanwhile
    if (report.kind === "message") {
      this.onmessage({ data: report.text });
    } else if (report.kind === "close") {
      this.#ended(report.code, report.reason);
    } else {
      this.readyState = OPEN;
      this.onopen();
    }
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #ended(code, reason) {
    if (!this.#worker) return;
    this.#worker.terminate();
    this.#worker = null;
    this.#report({ kind: "ended", code, reason, opened: this.readyState === OPEN });
    this.readyState = CLOSED;
    this.onclose({ code, reason });
  }
}

/** A socket without a network: it ends at once. */
class DeadSocket {
  readyState = CONNECTING;
  onopen = () => {};
  onmessage = () => {};
  /** @type {(event: { code: number, reason: string }) => void} */
  onclose = () => {};
  onerror = () => {};

  constructor() {
    queueMicrotask(() => {
      this.readyState = CLOSED;
      this.onclose({ code: NO_CLOSE_FRAME, reason: "" });
    });
  }

  send() {}

  close() {}
}

export class Network {
  isCut = false;
  /** The last socket. Earlier ones have ended, or are closing. @type {WorkerSocket | null} */
  #socket = null;
  #report;

  /**
   * @param {(event: NetworkEvent) => void} [report]
   */
  constructor(report = () => {}) {
    this.#report = report;
  }

  /**
   * Open a socket. This is `openSocket` of the client's host.
   *
   * @param {string} url
   * @param {string[]} protocols
   */
  open(url, protocols) {
    this.#socket = this.isCut ? null : new WorkerSocket(url, protocols, this.#report);
    return this.#socket ?? new DeadSocket();
  }

  cut() {
    this.isCut = true;
    this.#socket?.lose();
  }

  restore() {
    this.isCut = false;
  }
}
