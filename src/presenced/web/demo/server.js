/**
 * Asks the server for its statistics, again and again: they are the figures on the page, and the sign of life.
 */

/**
 * @typedef {object} Session
 * @property {string} userId
 * @property {number} connectedAt Epoch milliseconds by the server's clock.
 *
 * @typedef {object} Stats
 * @property {number} connectedUsers
 * @property {number} onlineUsers
 * @property {number} totalConnections
 * @property {readonly Session[]} sessions The oldest `MAX_SESSIONS` at most.
 * @property {boolean} complete Whether these are all sessions.
 *
 * @typedef {object} Hooks
 * @property {(stats: Stats, askedAt: number) => void} answered
 * @property {(reason: string) => void} gone Called once, when answers stop.
 * @property {() => void} back Called once, when they come again; `answered` follows.
 * @property {() => boolean} isNeeded Whether to go on asking although nobody looks at the page.
 */

/** Sessions asked for at a time: what a person may want to read, and little work for the server. */
export const MAX_SESSIONS = 200;

const EVERY_MS = 3_000;
const EVERY_MS_WHEN_GONE = 1_000;
const SOON_MS = 100;
/** Between two questions at least, however much happens: many may have this page open. */
const LEAST_MS = 500;
const TIMEOUT_MS = 5_000;

export class Server {
  answers = true;
  #timer = 0;
  /** When the timer fires, in milliseconds of `performance.now`. */
  #due = 0;
  #lastAsked = -Infinity;
  #asking = false;
  #askAgain = false;
  #hooks;

  /**
   * @param {Hooks} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#ask();
    });
  }

  /** Ask now, and from now on. */
  start() {
    this.#ask();
  }

  /** Ask soon, because something happened that changes the answer. */
  askSoon() {
    const now = performance.now();
    const wait = Math.max(SOON_MS, this.#lastAsked + LEAST_MS - now);
    if (this.#asking) this.#askAgain = true;
    else if (this.#due > now + wait && this.#isWanted()) this.#askIn(wait);
  }

  /**
   * @param {number} wait
   */
  #askIn(wait) {
    clearTimeout(this.#timer);
    this.#due = performance.now() + wait;
    this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    if (this.#asking) return;
    clearTimeout(this.#timer);
    this.#due = Infinity; // none is set: whoever wants an answer soon sets one
    this.#asking = true;
    this.#askAgain = false;
    this.#lastAsked = performance.now();
    const askedAt = Date.now();
    try {
      const stats = await fetchStats();
      if (!this.answers) {
        this.answers = true;
        this.#hooks.back();
      }
      this.#hooks.answered(stats, askedAt);
    } catch (error) {
      if (this.answers) {
        this.answers = false;
        this.#hooks.gone(error instanceof Refusal ? error.message : "It does not answer.");
      }
    } finally {
      this.#asking = false;
    }
    if (this.#isWanted()) this.#askIn(this.answers ? EVERY_MS : EVERY_MS_WHEN_GONE);
    if (this.#askAgain) this.askSoon();
  }

  #isWanted() {
    return document.visibilityState === "visible" || this.#hooks.isNeeded();
  }
}

/** It answered, but not with what was asked for. */
class Refusal extends Error {}

/**
 * @returns {Promise<Stats>}
 */
async function fetchStats() {
  const response = await fetch(`stats?limit=${MAX_SESSIONS}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const body = await response.json();
  if (!response.ok) throw new Refusal(`It answers ${response.status}: ${body.detail ?? response.statusText}.`);
  /** @type {{ userId: string | number, connectedAt: string }[]} */
  const sessions = body.userSessions;
  return {
    connectedUsers: body.connectedUsers,
    onlineUsers: body.onlineUsers,
    totalConnections: body.totalConnections,
    sessions: sessions.map((s) => ({ userId: String(s.userId), connectedAt: Date.parse(s.connectedAt) })),
    // Where one has to show who one is, nobody is named here.
    complete: body.next === null && (sessions.length > 0 || body.totalConnections === 0),
  };
}

/**
 * What the server says of itself; null when it does not answer.
 *
 * @returns {Promise<{ version: string, authentication: string } | null>}
 */
export async function fetchHealth() {
  try {
    const response = await fetch("healthz", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    return await response.json();
  } catch {
    return null;
  }
}
