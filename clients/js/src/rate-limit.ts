/**
 * The server's limit of requests, kept by the client so that the server never has to refuse one.
 *
 * A token bucket: `burst` requests at once, `perSecond` in the long run. Requests wait as desired state, which grows no
 * longer by waiting.
 */
export class RateLimit {
  #perSecond = 10;
  #burst = 50;
  #tokens = 50;
  #at = 0;

  /** A connection opened at `now`. Its bucket is full. */
  start(perSecond: number, burst: number, now: number): void {
    // The server counts by its own clock. A tenth less absorbs differences, and leaves room for PING and AUTH.
    this.#perSecond = perSecond * 0.9;
    this.#burst = this.#tokens = Math.max(1, Math.floor(burst * 0.9));
    this.#at = now;
  }

  /** Take a token and return 0, or return the milliseconds until there is one. */
  take(now: number): number {
    const gained = (Math.max(0, now - this.#at) / 1000) * this.#perSecond;
    this.#tokens = Math.min(this.#burst, this.#tokens + gained);
    this.#at = now;
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000);
    this.#tokens -= 1;
    return 0;
  }
}
