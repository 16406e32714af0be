/**
 * Polling of the server's statistics. They are the figures on the page, and show whether the server is reachable.
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
 * @property {boolean} complete Whether `sessions` contains all sessions.
 *
 * @typedef {object} Hooks
 * @property {(stats: Stats, requestedAt: number) => void} updated
 * @property {(reason: string) => void} unreachable Called once when the server becomes unreachable.
 * @property {() => void} reachable Called once when it is reachable again, before `updated`.
 * @property {() => boolean} isNeeded Whether to poll although the page is hidden.
 */

/** Maximum number of sessions in one response: enough for a person to read, and little work for the server. */
export const MAX_SESSIONS = 200;

const INTERVAL_MS = 3_000;
const UNREACHABLE_INTERVAL_MS = 1_000;
const SOON_MS = 100;
/** Minimum time between two requests, because many people may have this page open. */
const MIN_INTERVAL_MS = 500;
const TIMEOUT_MS = 5_000;

export class StatsPoller {
  isReachable = true;
  #timer = 0;
  /** When the timer fires, in milliseconds of `performance.now`. */
  #due = 0;
  #lastPolledAt = -Infinity;
  #polling = false;
  #pollAgain = false;
  #hooks;

  /**
   * @param {Hooks} hooks
   */
  constructor(hooks) {
    this.#hooks = hooks;
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#poll();
    });
  }

  /** Poll now and regularly. */
  start() {
    this.#poll();
  }

  /** Poll soon, because something happened that changes the statistics. */
  pollSoon() {
    const now = performance.now();
    const wait = Math.max(SOON_MS, this.#lastPolledAt + MIN_INTERVAL_MS - now);
    if (this.#polling) this.#pollAgain = true;
    else if (this.#due > now + wait && this.#isWanted()) this.#pollIn(wait);
  }

  /**
   * @param {number} wait
   */
  #pollIn(wait) {
    clearTimeout(this.#timer);
    this.#due = performance.now() + wait;
    this.#timer = setTimeout(() => this.#poll(), wait);
  }

  async #poll() {
    if (this.#polling) return;
    clearTimeout(this.#timer);
    this.#due = Infinity; // no timer is set
    this.#polling = true;
    this.#pollAgain = false;
    this.#lastPolledAt = performance.now();
    const requestedAt = Date.now();
    try {
      const stats = await fetchStats();
      if (!this.isReachable) {
        this.isReachable = true;
        this.#hooks.reachable();
      }
      this.#hooks.updated(stats, requestedAt);
    } catch (error) {
      if (this.isReachable) {
        this.isReachable = false;
        this.#hooks.unreachable(error instanceof Refusal ? error.message : "It does not respond.");
      }
    } finally {
      this.#polling = false;
    }
    if (this.#isWanted()) this.#pollIn(this.isReachable ? INTERVAL_MS : UNREACHABLE_INTERVAL_MS);
    if (this.#pollAgain) this.pollSoon();
  }

  #isWanted() {
    return document.visibilityState === "visible" || this.#hooks.isNeeded();
  }
}

/** The server responded with an error. */
class Refusal extends Error {}

/**
 * @returns {Promise<Stats>}
 */
async function fetchStats() {
  const response = await fetch(`stats?limit=${MAX_SESSIONS}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  const body = await response.json();
  if (!response.ok) throw new Refusal(`It responds with ${response.status}: ${body.detail ?? response.statusText}.`);
  /** @type {{ userId: string | number, connectedAt: string }[]} */
  const sessions = body.userSessions;
  return {
    connectedUsers: body.connectedUsers,
    onlineUsers: body.onlineUsers,
    totalConnections: body.totalConnections,
    sessions: sessions.map((s) => ({ userId: String(s.userId), connectedAt: Date.parse(s.connectedAt) })),
    // With authentication, the response names no users.
    complete: body.next === null && (sessions.length > 0 || body.totalConnections === 0),
  };
}

/**
 * Return the server's version and authentication, or null if it does not respond.
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
