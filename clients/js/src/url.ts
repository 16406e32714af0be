/**
 * The URL of the next connection.
 *
 * It is built from strings, because React Native implements `URL` only in part. It never contains a token: URLs reach
 * logs.
 */

import { PresenceError } from "./error.js";

const PATH = "/ws-online-status";

/** Return the address of the server's WebSocket for the option `url`, or for the page's own origin. */
export function socketAddress(url: string | undefined): string {
  const origin = url ?? (globalThis as { location?: { origin: string } }).location?.origin;
  const [, rest] = /^(?:ws|http)(s?:\/\/[^/?#\s]+[^?#\s]*?)\/*$/i.exec(origin?.trim() ?? "") ?? [];
  if (!rest) {
    throw new PresenceError("BAD_URL", `url is ${origin === undefined ? "missing" : `"${origin}"`}`, {
      hint: 'Set url to the address of the server, such as "wss://presence.example.com".',
    });
  }
  return `ws${rest}${rest.endsWith(PATH) ? "" : PATH}`;
}

/** Return `address` with parameters. Empty ones are left out. */
export function withParameters(address: string, parameters: Record<string, string | number | undefined>): string {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    value ? `${name}=${encodeURIComponent(value)}` : [],
  );
  return `${address}?${pairs.join("&")}`;
}
