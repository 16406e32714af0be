/**
 * Whether the server still answers on a connection. A lost network ends one without a word, and the browser does not
 * tell for minutes: this asks again and again, and takes silence for the end.
 */

/**
 * @typedef {object} Hooks
 * @property {() => void} ping Ask; any message is an answer.
 * @property {() => void} lost There was none.
 */

const LEAST_MS = 1_000;

export class Pulse {
  #hooks;
  #timer = 0;
  #intervalMs = 0;
  #askedAt = 0;
  #heard = true;

  /**
   * @param {Hooks} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  /**
   * Ask now, and from now on.
   *
   * @param {number} intervalMs
   */
  start(intervalMs) {
    this.stop();
    this.#intervalMs = Math.max(LEAST_MS, intervalMs);
    this.#timer = setInterval(() => this.#beat(), this.#intervalMs);
    this.#ask();
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** Something came. */
  heard() {
    this.#heard = true;
  }

  /** Milliseconds since the question. */
  get sinceAsked() {
    return performance.now() - this.#askedAt;
  }

  #beat() {
    // After a sleep of the machine nothing can be said yet: the answer may be on its way.
    if (this.#heard || this.sinceAsked > 2 * this.#intervalMs) this.#ask();
    else this.#hooks.lost();
  }

  #ask() {
    this.#askedAt = performance.now();
    this.#heard = false;
    this.#hooks.ping();
  }
}
