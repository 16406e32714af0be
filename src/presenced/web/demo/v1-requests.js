/**
 * Requests under way: each has an id, and is done when the server says so.
 */

/**
 * @typedef {import("./v1-wishes.js").Request} Request
 *
 * @typedef {object} Pending
 * @property {Request} request
 * @property {() => void} done It was carried out.
 */

/** Not answered, at most; beyond it the oldest is no longer waited for. */
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
  ask(request, done = () => {}) {
    this.#ids += 1;
    const id = String(this.#ids);
    this.#pending.set(id, { request, done });
    const [oldest] = this.#pending.keys();
    if (this.#pending.size > MAX_PENDING && oldest) this.#pending.delete(oldest);
    this.#send(JSON.stringify({ ...request, id }));
  }

  /**
   * An answer came.
   *
   * @param {string} id
   * @param {boolean} carriedOut
   */
  answered(id, carriedOut) {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (carriedOut) pending?.done();
  }

  /** Ask again what was not answered: a connection was lost, the session goes on. */
  askAgain() {
    const all = [...this.#pending.values()];
    this.#pending.clear();
    for (const { request, done } of all) this.ask(request, done);
  }

  /** The session is gone, and with it what was asked for. */
  clear() {
    this.#pending.clear();
  }
}
