/**
 * Detection of dead connections by pings. Without it, the browser may report a lost network only after minutes.
 */

/**
 * @typedef {object} Hooks
 * @property {() => void} ping Send a ping. Any message from the server answers it.
 * @property {() => void} timedOut No message arrived within an interval.
 */

const MIN_INTERVAL_MS = 1_000;

export class Keepalive {
  #hooks;
  #timer = 0;
  #intervalMs = 0;
  #pingedAt = 0;
  #answered = true;

  /**
   * @param {Hooks} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  /**
   * Ping now and once per interval.
   *
   * @param {number} intervalMs
   */
  start(intervalMs) {
    this.stop();
    this.#intervalMs = Math.max(MIN_INTERVAL_MS, intervalMs);
    this.#timer = setInterval(() => this.#check(), this.#intervalMs);
    this.#ping();
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** A message arrived. */
  received() {
    this.#answered = true;
  }

  get msSincePing() {
    return performance.now() - this.#pingedAt;
  }

  #check() {
    // After a long pause the machine has probably slept, and the answer may be on its way.
    if (this.#answered || this.msSincePing > 2 * this.#intervalMs) this.#ping();
    else this.#hooks.timedOut();
  }

  #ping() {
    this.#pingedAt = performance.now();
    this.#answered = false;
    this.#hooks.ping();
  }
}
