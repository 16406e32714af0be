/**
 * The classic protocol: its URL and its three messages. Close codes, which both protocols share.
 */

/**
 * @typedef {"CONNECTION_ESTABLISHED" | "USER_ONLINE" | "USER_OFFLINE"} MessageType
 *
 * @typedef {object} Message
 * @property {MessageType} type
 * @property {string} userId Always a string here; canonical decimal integers are JSON numbers on the wire.
 * @property {number} at Epoch milliseconds by the server's clock.
 * @property {string} connectionId Empty unless the type is CONNECTION_ESTABLISHED.
 *
 * @typedef {object} CloseCode
 * @property {string} meaning
 * @property {boolean} reconnect Whether the same client, unchanged, should reconnect.
 */

/** @type {ReadonlySet<string>} */
const TYPES = new Set(["CONNECTION_ESTABLISHED", "USER_ONLINE", "USER_OFFLINE"]);

/**
 * Close codes that the server sends. A test compares them with `spec/codes.json`.
 *
 * @type {ReadonlyMap<number, CloseCode>}
 */
export const CLOSE_CODES = new Map([
  [1000, { meaning: "The connection has served its purpose.", reconnect: false }],
  [1001, { meaning: "The server is stopping or restarting.", reconnect: true }],
  [1002, { meaning: "The client violated the WebSocket protocol.", reconnect: false }],
  [1007, { meaning: "A text message was not valid UTF-8.", reconnect: false }],
  [1009, { meaning: "A message is too large, or has too many fragments.", reconnect: false }],
  [1011, { meaning: "An error occurred in the server.", reconnect: true }],
  [
    1013,
    {
      meaning:
        "Authentication is not possible now: too many connections wait for it, or the token cannot be verified.",
      reconnect: true,
    },
  ],
  [4400, { meaning: "The userId in the URL is missing or invalid. The reason says why.", reconnect: false }],
  [4401, { meaning: "The token is missing, invalid, expired or revoked. The reason says which.", reconnect: false }],
  [4402, { meaning: "Another parameter of the URL is invalid. The reason says which.", reconnect: false }],
  [4403, { meaning: "The userId in the URL is not the user of the token.", reconnect: false }],
  [4408, { meaning: "The client did not answer a ping, or did not finish a message, in time.", reconnect: true }],
  [4409, { meaning: "A newer connection of the same session has replaced this one.", reconnect: false }],
  [4410, { meaning: "The application has disconnected this user.", reconnect: false }],
  [4420, { meaning: "The client was too slow for too long to receive all changes.", reconnect: true }],
  [4421, { meaning: "The user has the maximum number of open connections.", reconnect: true }],
  [4429, { meaning: "The client has exceeded a rate limit.", reconnect: true }],
]);

/** Close code of a page that the browser caches or freezes. The user may return and resume. */
export const KEEP_SESSION = 4001;

/** Code that browsers report if a connection ended without a close frame. No frame carries it. */
export const NO_CLOSE_FRAME = 1006;

/**
 * Return whether to reconnect after this code. Clients reconnect after unknown codes.
 *
 * @param {number} code
 */
export function mayReconnect(code) {
  return CLOSE_CODES.get(code)?.reconnect ?? true;
}

/** Return the URL of the server's WebSocket without a query. */
export function webSocketAddress() {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/ws-online-status`;
}

/**
 * Return the URL for a connection of the classic protocol.
 *
 * @param {string} userId
 */
export function webSocketUrl(userId) {
  // Not encodeURIComponent, which throws on a lone surrogate. The server decides which ids are valid.
  return `${webSocketAddress()}?${new URLSearchParams({ userId })}`;
}

/**
 * Parse a message. Return null for unknown types, because a later server may send more.
 *
 * @param {string} text
 * @returns {Message | null}
 */
export function parseMessage(text) {
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { type, userId, timestamp, connectionId } = /** @type {Record<string, unknown>} */ (value);
  const known = typeof type === "string" && TYPES.has(type);
  if (!known || (typeof userId !== "string" && typeof userId !== "number")) return null;
  const at = Date.parse(String(timestamp));
  return {
    type: /** @type {MessageType} */ (type),
    userId: String(userId),
    at: Number.isNaN(at) ? Date.now() : at,
    connectionId: typeof connectionId === "string" ? connectionId : "",
  };
}
