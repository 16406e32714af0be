/**
 * What to do when a connection has ended: pure decisions, by the codes of the server.
 *
 *     attempt n waits 100 ms + random × min(30 s, 500 ms × 2ⁿ); n is 0 again after 10 s in state `open`
 */

import { CLOSE_CODES } from "./codes.js";
import { PresenceError } from "./error.js";

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

export const NO_CODE = 1006;
const UNAUTHORIZED = 4401;
const REPLACED = 4409;

export interface Ending {
  readonly code: number;
  readonly reason: string;
  /** Whether this connection had opened. */
  readonly wasOpen: boolean;
  /** Whether another token can be had. */
  readonly canRenewToken: boolean;
  readonly now: number;
}

export type Decision =
  | {
      readonly retryIn: number;
      readonly error: PresenceError | null;
      readonly freshToken?: true;
      readonly newSession?: true;
    }
  | { readonly failed: PresenceError };

export class Retry {
  /** Failed attempts in a row. */
  attempt = 0;
  #neverOpened = 0;
  #unauthorized = 0;
  #replacedAt: number[] = [];
  /** Milliseconds that GOING_AWAY asked for; 0 if none. */
  goingAwayMs = 0;

  /** The connection opened. */
  opened(): void {
    this.#neverOpened = this.#unauthorized = 0;
    this.goingAwayMs = 0;
  }

  /** The connection has been open for `STABLE_MS`, or the application asks for another attempt. */
  reset(): void {
    this.attempt = 0;
  }

  /** The token function failed. */
  tokenFailed(error: unknown, random: number): Decision {
    const reason = error instanceof Error ? error.message : String(error);
    const details = { hint: "The client tries again. See the error of the token function.", retryable: true };
    return { retryIn: this.#delay(BASE_MS, random), error: new PresenceError("TOKEN_FAILED", reason, details) };
  }

  ended({ code, reason, wasOpen, canRenewToken, now }: Ending, random: number): Decision {
    const known = CLOSE_CODES[code];
    const error = closeError(code, reason);
    if (code === UNAUTHORIZED) {
      this.#unauthorized += 1;
      if (this.#unauthorized > 1 || !canRenewToken) return { failed: error };
      return { retryIn: 0, error, freshToken: true };
    }
    if (code === REPLACED) {
      this.#replacedAt = [...this.#replacedAt.filter((at) => now - at < REPLACED_WINDOW_MS), now];
      return this.#replacedAt.length < MAX_REPLACED ? { retryIn: 0, error, newSession: true } : { failed: error };
    }
    if (known && !known.reconnect) return { failed: error };
    if (this.goingAwayMs) {
      const retryIn = this.goingAwayMs;
      this.goingAwayMs = 0;
      return { retryIn, error: null };
    }
    this.#neverOpened = wasOpen ? 0 : this.#neverOpened + 1;
    const shown = this.#neverOpened >= UNREACHABLE_AFTER ? unreachable() : known ? error : null;
    return { retryIn: this.#delay(known?.slow ? SLOW_BASE_MS : BASE_MS, random), error: shown };
  }

  #delay(baseMs: number, random: number): number {
    const delay = MIN_DELAY_MS + random * Math.min(MAX_MS, baseMs * 2 ** this.attempt);
    this.attempt += 1;
    return delay;
  }
}

function closeError(code: number, reason: string): PresenceError {
  const { name = "CONNECTION_LOST", hint = "", reconnect = true } = CLOSE_CODES[code] ?? {};
  const message = reason || `the connection was closed with ${code}`;
  return new PresenceError(name, message, { numericCode: code, hint, retryable: reconnect });
}

function unreachable(): PresenceError {
  return new PresenceError("UNREACHABLE", "the server cannot be reached", {
    hint: "Is it running, and does it allow this page's origin? Open HOST/readyz, and see its setting allowed_origins.",
    retryable: true,
  });
}
