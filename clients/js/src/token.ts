/** The token of the next connection: fetched when needed, and reused while that is allowed. */

import type { PresenceOptions } from "./client.js";
import type { Host } from "./host.js";

/** Milliseconds before its end at which a JWT is no longer reused. */
const RENEW_BEFORE_MS = 60_000;

export function createTokens(host: Host, option: PresenceOptions["token"]) {
  let token: string | null = null;
  let reusableUntil = 0;
  /** Number of calls of `renew`. A token that was asked for before the last one, such as by another user, is not kept. */
  let renewals = 0;
  return {
    /** Return a token, `undefined` if the server needs none, or null if the user is signed out. */
    async get(): Promise<string | null | undefined> {
      if (typeof option !== "function") return option;
      if (token && host.now() < reusableUntil) return token;
      const renewal = renewals;
      const next = (await option()) || null; // a response without a body gives an empty text
      // JSON, or an object, which is "[object Object]"
      if (/^[{[]/.test(next ?? "")) throw new Error("the token function returned JSON: return the token alone");
      if (renewal === renewals) {
        token = next;
        reusableUntil = expiryOf(next ?? "") - RENEW_BEFORE_MS; // a ticket has no expiry, and is used once
      }
      return next;
    },
    /** Let the next call fetch a token. Return whether there may be another one. */
    renew(): boolean {
      renewals += 1;
      token = null;
      return typeof option === "function";
    },
  };
}

/** Return the `exp` of a JWT in epoch milliseconds, or 0. It is read, not verified. */
function expiryOf(token: string): number {
  try {
    const payload = (token.split(".")[1] as string).replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(atob(payload)).exp * 1_000 || 0;
  } catch {
    return 0; // not a JWT
  }
}

/** Return the subprotocol that carries a token, or undefined if a subprotocol cannot contain its characters. */
export function tokenSubprotocol(token: string): string | undefined {
  // `new WebSocket` throws for others; these are the characters of an HTTP token (RFC 9110 section 5.6.2).
  return /^[\w!#$%&'*+.^`|~-]+$/.test(token) ? `presenced.token.${token}` : undefined;
}
