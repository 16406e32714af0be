/**
 * Requests without a response. Each has an id, which the server repeats in ACK or ERROR.
 */

/**
 * @typedef {import("./v1-desired-state.js").Request} Request
 *
 * @typedef {object} Pending
 * @property {Request} request
 * @property {() => void} done Called after ACK.
 */

/** Maximum number of unanswered requests. Beyond it, the response to the oldest one is ignored. */
const MAX_PENDING = 100;

export class Requests {
  #send;
  #ids = 0;
  /** @type {Map<string, Pending>} */
  #pending = new Map();

  /**
   * @param {(json: string) => void} send
   */
  constructor(send) {
    this.#send = send;
  }

  /**
   * @param {Request} request
   * @param {() => void} [done]
   */
  send(request, done = () => {}) {
    this.#ids += 1;
    const id = String(this.#ids);
    this.#pending.set(id, { request, done });
    const [oldest] = this.#pending.keys();
    if (this.#pending.size > MAX_PENDING && oldest) this.#pending.delete(oldest);
    this.#send(JSON.stringify({ ...request, id }));
  }

  /**
   * Handle a response.
   *
   * @param {string} id
   * @param {boolean} accepted
   */
  settle(id, accepted) {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (accepted) pending?.done();
  }

  /** Send all unanswered requests again, because the session resumed on a new connection. */
  resend() {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const { request, done } of all) this.send(request, done);
  }

  /** Drop all requests, because their session has ended. */
  clear() {
    this.#pending.clear();
  }
}
