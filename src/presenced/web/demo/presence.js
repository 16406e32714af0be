/**
 * Users known to this page: an immutable value, and pure functions that update it.
 *
 * | source | what it lacks |
 * |---|---|
 * | messages of the classic protocol | a snapshot, and the connection's own user |
 * | statistics (`/stats`) | users who are online without a connection |
 * | a presenced.v1 connection that watches everyone | nothing; it also sends statuses |
 *
 * Each function returns its argument if nothing changed.
 */

/**
 * @typedef {import("./protocol.js").Message} Message
 * @typedef {import("./stats-poller.js").Stats} Stats
 * @typedef {import("./client.js").Presence} UserPresence
 *
 * @typedef {object} Span Time online, in epoch milliseconds by this page's clock.
 * @property {number} from
 * @property {number | null} to Null while the user is online.
 *
 * @typedef {object} User
 * @property {string} userId
 * @property {boolean} online
 * @property {number} since Start of this state: epoch milliseconds by the server's clock.
 * @property {number} updatedAt Time of the last update, by this page's clock.
 * @property {readonly Span[]} spans Oldest first, at most `MAX_SPANS`.
 * @property {UserPresence | null} details Presence from presenced.v1; null if no connection watches everyone.
 *
 * @typedef {ReadonlyMap<string, User>} Presence The users changed last come last. It is a Map, because `__proto__` is
 *   a valid user id.
 */

/** Maximum number of users. Beyond it, the offline user changed longest ago is evicted, or else an online one. */
export const MAX_USERS = 500;

/** Maximum number of spans per user; the oldest are evicted. */
export const MAX_SPANS = 24;

/**
 * Two connections receive the same change at slightly different times, so a message with an older timestamp is ignored.
 * If it is older by more than this, the server's clock was set back, and the message applies.
 */
const LATE_MS = 10_000;

/** @type {Presence} */
export const NO_USERS = new Map();

/**
 * Apply a message of the classic protocol.
 *
 * @param {Presence} presence
 * @param {Message} message
 * @param {number} now
 * @returns {Presence}
 */
export function applyClassicMessage(presence, message, now) {
  const known = presence.get(message.userId);
  const online = message.type !== "USER_OFFLINE";
  if (known?.online === online) return presence;
  if (known && message.at < known.since && known.since - message.at < LATE_MS) return presence;
  return changed(presence, message.userId, online, message.at, now, now);
}

/**
 * Apply a response of `/stats`: add users who are missing, and remove users who are not connected.
 *
 * Updates after the request may be newer than the response and stay. The statistics also list invisible users. While
 * fewer users are online than connected, some are invisible, so no user is added as online.
 *
 * @param {Presence} presence
 * @param {Stats} stats
 * @param {number} requestedAt
 * @param {number} now
 * @returns {Presence}
 */
export function applyStats(presence, stats, requestedAt, now) {
  /** @type {Set<string>} */
  const listed = new Set();
  let result = presence;
  const isSomebodyInvisible = stats.onlineUsers < stats.connectedUsers;
  for (const { userId, connectedAt } of stats.sessions) {
    const known = result.get(userId);
    // Sessions are sorted by age, so the first one of a user has the time at which the user connected.
    const isListed = listed.has(userId);
    listed.add(userId);
    if (isListed || isSomebodyInvisible || known?.online || (known && known.updatedAt >= requestedAt)) continue;
    result = changed(result, userId, true, connectedAt, now, Math.min(connectedAt, now));
  }
  // A user who is online without a connection is in a grace period or announced, but the statistics do not name them.
  if (!stats.complete || stats.onlineUsers > stats.connectedUsers) return result;
  for (const { userId, online, updatedAt } of presence.values()) {
    if (online && updatedAt < requestedAt && !listed.has(userId)) {
      result = changed(result, userId, false, now, now, now);
    }
  }
  return result;
}

/**
 * Apply what a connection that watches everyone knows: users who are not in `everyone` are offline.
 *
 * @param {Presence} presence
 * @param {ReadonlyMap<string, UserPresence>} everyone
 * @param {number} now
 * @returns {Presence}
 */
export function applyEveryone(presence, everyone, now) {
  let result = presence;
  for (const [userId, details] of [...everyone].slice(0, MAX_USERS)) {
    const known = result.get(userId);
    if (known?.online && known.details === details) continue;
    if (known?.online) result = new Map(result).set(userId, { ...known, details, since: details.since || known.since });
    else result = changed(result, userId, true, details.since || now, now, now, details);
  }
  for (const { userId, online } of presence.values()) {
    if (online && !everyone.has(userId)) result = changed(result, userId, false, now, now, now);
  }
  return result;
}

/**
 * Remove statuses, because no connection watches everyone any more and they would become stale.
 *
 * @param {Presence} presence
 * @returns {Presence}
 */
export function withoutStatuses(presence) {
  if (![...presence.values()].some((user) => user.details)) return presence;
  return new Map([...presence].map(([id, user]) => [id, { ...user, details: null }]));
}

/**
 * Remove offline users.
 *
 * @param {Presence} presence
 * @returns {Presence}
 */
export function withoutOffline(presence) {
  const online = new Map([...presence].filter(([, user]) => user.online));
  return online.size === presence.size ? presence : online;
}

/**
 * Return the number of online users.
 *
 * @param {Presence} presence
 */
export function onlineCount(presence) {
  let count = 0;
  for (const user of presence.values()) count += user.online ? 1 : 0;
  return count;
}

/**
 * @param {Presence} presence
 * @param {string} userId
 * @param {boolean} online
 * @param {number} since
 * @param {number} now
 * @param {number} spanEdge
 * @param {UserPresence | null} [details]
 * @returns {Presence}
 */
function changed(presence, userId, online, since, now, spanEdge, details = null) {
  const spans = [...(presence.get(userId)?.spans ?? [])];
  const last = spans.at(-1);
  if (online) spans.push({ from: spanEdge, to: null });
  else if (last?.to === null) spans[spans.length - 1] = { from: last.from, to: spanEdge };
  const result = new Map(presence);
  result.delete(userId);
  result.set(userId, { userId, online, since, updatedAt: now, spans: spans.slice(-MAX_SPANS), details });
  if (result.size > MAX_USERS) {
    const all = [...result.values()];
    result.delete((all.find((user) => !user.online) ?? all[0])?.userId ?? userId);
  }
  return result;
}
