/** The token of the next connection: fetched when needed, and reused while that is allowed. */

import type { PresenceOptions } from "./client.js";
import type { Host } from "./host.js";

/** Milliseconds before its end at which a JWT is not reused any more. */
const RENEW_BEFORE_MS = 60_000;

export class Tokens {
  readonly #host: Host;
  readonly #option: PresenceOptions["token"];
  #jwt = "";
  #expiresAt = 0;

  constructor(host: Host, option: PresenceOptions["token"]) {
    this.#host = host;
    this.#option = option;
  }

  /** Whether another token can be had after this one. */
  get canRenew(): boolean {
    return typeof this.#option === "function";
  }

  /** Return a token, `undefined` if the server needs none, or null if the user is signed out. */
  async get(): Promise<string | null | undefined> {
    if (typeof this.#option !== "function") return this.#option;
    if (this.#jwt && this.#host.now() < this.#expiresAt - RENEW_BEFORE_MS) return this.#jwt;
    const token = (await this.#option()) ?? null;
    this.#expiresAt = token ? expiryOf(token) : 0;
    this.#jwt = this.#expiresAt ? (token ?? "") : ""; // anything else, above all a ticket, is used once
    return token;
  }

  /** The next call fetches a token. */
  forget(): void {
    this.#jwt = "";
  }
}

/** Return the `exp` of a JWT in epoch milliseconds, or 0. It is read, not verified. */
function expiryOf(token: string): number {
  try {
    const payload = token.split(".")[1] ?? "";
    const exp: unknown = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/"))).exp;
    return typeof exp === "number" ? exp * 1_000 : 0;
  } catch {
    return 0;
  }
}

/** Return the subprotocol that carries a token, or null if a subprotocol cannot contain its characters. */
export function tokenSubprotocol(token: string): string | null {
  // `new WebSocket` throws for others; these are the characters of an HTTP token (RFC 9110 section 5.6.2).
  return /^[\w!#$%&'*+.^`|~-]+$/.test(token) ? `presenced.token.${token}` : null;
}
