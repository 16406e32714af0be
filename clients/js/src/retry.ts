/**
 * Decisions after the end of a connection, by the codes of the server.
 *
 *     attempt n waits 100 ms + random × min(30 s, 500 ms × 2ⁿ); n is 0 again after 10 s in state `open`
 */

import { CLOSE_CODES } from "./codes.js";
import { PresenceError } from "./error.js";
import type { Host } from "./host.js";

const MIN_DELAY_MS = 100;
const BASE_MS = 500;
const SLOW_BASE_MS = 4_000;
const MAX_MS = 30_000;

/** Milliseconds in state `open` after which the next loss is the first one again. */
export const STABLE_MS = 10_000;

/** Attempts that never opened, after which the error is `UNREACHABLE`. */
const UNREACHABLE_AFTER = 3;

/** Replacements by another connection within a minute, after which the client gives up. */
const MAX_REPLACED = 3;
const REPLACED_WINDOW_MS = 60_000;

/**
 * Milliseconds before the attempt after 4401. Tokens count their time of issue in whole seconds, so one from the second
 * of a revocation would be refused, too.
 */
const REVOKED_MS = 1_000;

/** The connection ended without a close frame (RFC 6455 section 7.1.5). */
export const NO_CODE = 1006;
const UNAUTHORIZED = 4401;
const REPLACED = 4409;

/** Wait `retryIn` milliseconds before the next attempt, or give up because of `error`. */
export type Decision =
  | { readonly retryIn: number; readonly error: PresenceError | null }
  | { readonly retryIn?: undefined; readonly error: PresenceError };

export function createRetry(host: Host) {
  let attempt = 0;
  let neverOpened = 0;
  let unauthorized = 0;
  let replacedAt: number[] = [];
  let goingAwayMs = 0;

  const backOff = (baseMs: number, error: PresenceError | null): Decision => {
    const retryIn = MIN_DELAY_MS + host.random() * Math.min(MAX_MS, baseMs * 2 ** attempt);
    attempt += 1;
    return { retryIn, error };
  };

  return {
    /** Return the number of failed attempts in a row. */
    attempt: () => attempt,
    /** The connection has been open for `STABLE_MS`, or the application asks for another attempt. */
    reset() {
      attempt = 0;
    },
    opened() {
      neverOpened = unauthorized = goingAwayMs = 0;
    },
    /** The server asked to wait before the next attempt. */
    goingAway(retryAfter: number) {
      goingAwayMs = Math.max(1, retryAfter * 1_000);
    },
    tokenFailed(error: unknown): Decision {
      const details = { hint: "See the error of the token function. The client tries again.", retryable: true };
      return backOff(BASE_MS, new PresenceError("TOKEN_FAILED", String((error as Error)?.message ?? error), details));
    },
    /** A connection ended. `renew` makes the next attempt fetch another token, and returns whether that is possible. */
    ended(code: number, reason: string, wasOpen: boolean, renew: () => boolean, newSession: () => void): Decision {
      const [name = "", kind, hint = ""] = CLOSE_CODES[code] ?? []; // errors of unknown codes are not shown
      const message = reason || `the connection was closed with ${code}`;
      const error = new PresenceError(name, message, { numericCode: code, hint, retryable: kind !== "final" });
      if (code === UNAUTHORIZED) {
        unauthorized += 1;
        return renew() && unauthorized < 2 ? { retryIn: REVOKED_MS, error } : { error };
      }
      if (code === REPLACED) {
        const now = host.now();
        replacedAt = [...replacedAt.filter((at) => now - at < REPLACED_WINDOW_MS), now];
        newSession();
        return replacedAt.length < MAX_REPLACED ? { retryIn: 0, error } : { error };
      }
      if (kind === "final") return { error };
      if (goingAwayMs) {
        const retryIn = goingAwayMs;
        goingAwayMs = 0;
        return { retryIn, error: null };
      }
      neverOpened = wasOpen ? 0 : neverOpened + 1;
      const shown = neverOpened < UNREACHABLE_AFTER ? (hint ? error : null) : unreachable();
      return backOff(kind === "slow" ? SLOW_BASE_MS : BASE_MS, shown);
    },
  };
}

function unreachable(): PresenceError {
  return new PresenceError("UNREACHABLE", "the server cannot be reached", {
    hint: "Is the server running? Its log says if it refuses this page's origin.",
    retryable: true,
  });
}
