/**
 * The server's limit of requests, kept by the client so that the server never has to refuse one.
 *
 * A token bucket: `burst` requests at once, `perSecond` in the long run. The server counts by its own clock: a tenth
 * less absorbs differences, and leaves room for PING and AUTH.
 */

const SHARE = 0.9;

/** Return a function that takes a token and returns 0, or returns the milliseconds until there is one. */
export function createRateLimit(perSecond: number, burst: number, start: number): (now: number) => number {
  const most = Math.max(1, burst * SHARE);
  const perMs = (perSecond * SHARE) / 1_000;
  let tokens = most;
  let at = start;
  return (now) => {
    tokens = Math.min(most, tokens + Math.max(0, now - at) * perMs);
    at = now;
    if (tokens < 1) return Math.ceil((1 - tokens) / perMs);
    tokens -= 1;
    return 0;
  };
}
