/**
 * Who is online, as far as this page knows: a value, and pure functions from one value to the next.
 *
 * It comes from two sources. Messages tell of changes, but the protocol has no snapshot and a connection is not told
 * of its own user; the statistics list who is connected, but not who is online without a connection.
 *
 * A connection of presenced.v1 that watches everyone is a third source, and the best: it tells how available users are.
 *
 * Each function returns the value it was given when nothing changed.
 */

/**
 * @typedef {import("./protocol.js").Message} Message
 * @typedef {import("./server.js").Stats} Stats
 * @typedef {import("./v1-protocol.js").Seen} Seen
 *
 * @typedef {object} Span A time of being online, by this page's clock in epoch milliseconds.
 * @property {number} from
 * @property {number | null} to Null while it lasts.
 *
 * @typedef {object} User
 * @property {string} userId
 * @property {boolean} online
 * @property {number} since When that began: epoch milliseconds by the server's clock.
 * @property {number} heardAt When this page learnt of it, by its own clock.
 * @property {readonly Span[]} spans Oldest first, at most `MAX_SPANS`.
 * @property {Seen | null} seen What presenced.v1 says of them; null when nobody was told.
 * @property {string} epoch The start of the server that `seen` is of.
 *
 * @typedef {ReadonlyMap<string, User>} Presence Those who changed last stand last. A Map, because `__proto__` is a
 *   user id like any other.
 */

/** Users kept at most; the one who changed longest ago is forgotten first, offline ones before online ones. */
export const MAX_USERS = 500;

/** Times of being online kept per user. */
export const MAX_SPANS = 24;

/**
 * Two connections are told of the same change at slightly different times. What the slower one says is recognised by
 * its older timestamp; one that is older than this means that the server's clock was set back, and is believed.
 */
const LATE_MS = 10_000;

/** @type {Presence} */
export const NOBODY = new Map();

/**
 * A message came.
 *
 * @param {Presence} presence
 * @param {Message} message
 * @param {number} now
 * @returns {Presence}
 */
export function heard(presence, message, now) {
  const known = presence.get(message.userId);
  const online = message.type !== "USER_OFFLINE";
  if (known?.online === online) return presence;
  if (known && message.at < known.since && known.since - message.at < LATE_MS) return presence;
  return changed(presence, message.userId, online, message.at, now, now);
}

/**
 * An answer to `/stats` came: add who is missing and end whom it rules out.
 *
 * What was heard after the question was asked may be newer than the answer and stands. The statistics also list those
 * who are invisible: while fewer are online than connected, somebody is, and nobody is taken for online by them.
 *
 * @param {Presence} presence
 * @param {Stats} stats
 * @param {number} askedAt
 * @param {number} now
 * @returns {Presence}
 */
export function reconciled(presence, stats, askedAt, now) {
  /** @type {Set<string>} */
  const listed = new Set();
  let result = presence;
  const isSomebodyInvisible = stats.onlineUsers < stats.connectedUsers;
  for (const { userId, connectedAt } of stats.sessions) {
    const known = result.get(userId);
    // The sessions come oldest first, so the first one of a user says since when they have been connected.
    const seen = listed.has(userId);
    listed.add(userId);
    if (seen || isSomebodyInvisible || known?.online || (known && known.heardAt >= askedAt)) continue;
    result = changed(result, userId, true, connectedAt, now, Math.min(connectedAt, now));
  }
  // Somebody online without a connection is in a grace or announced, and the statistics don't say who.
  if (!stats.complete || stats.onlineUsers > stats.connectedUsers) return result;
  for (const { userId, online, heardAt } of presence.values()) {
    if (online && heardAt < askedAt && !listed.has(userId)) {
      result = changed(result, userId, false, now, now, now);
    }
  }
  return result;
}

/**
 * A connection that watches everyone was told of some users.
 *
 * @param {Presence} presence
 * @param {readonly Seen[]} news
 * @param {string} epoch The start of the server that told it.
 * @param {number} now
 * @returns {Presence}
 */
export function seen(presence, news, epoch, now) {
  let result = presence;
  for (const user of news.slice(0, MAX_USERS)) {
    const known = result.get(user.userId);
    const online = user.status !== "offline";
    if (known?.seen && known.epoch === epoch && user.version <= known.seen.version) continue;
    if ((known?.online ?? false) === online) {
      if (!known) continue; // somebody offline who was not known to be here
      result = new Map(result).set(user.userId, { ...known, seen: user, epoch, since: user.since || known.since });
    } else if (!known || user.since >= known.since || known.since - user.since >= LATE_MS) {
      result = changed(result, user.userId, online, user.since || now, now, now, user, epoch);
    }
  }
  return result;
}

/**
 * It was told of everyone: who is not among them is offline.
 *
 * @param {Presence} presence
 * @param {ReadonlyMap<string, Seen>} users
 * @param {number} now
 * @returns {Presence}
 */
export function onlyThese(presence, users, now) {
  let result = presence;
  for (const { userId, online } of presence.values()) {
    if (online && !users.has(userId)) result = changed(result, userId, false, now, now, now);
  }
  return result;
}

/**
 * No connection watches everyone any more: what was said of their availability grows old.
 *
 * @param {Presence} presence
 * @returns {Presence}
 */
export function withoutAvailability(presence) {
  if (![...presence.values()].some((user) => user.seen)) return presence;
  return new Map([...presence].map(([id, user]) => [id, { ...user, seen: null }]));
}

/**
 * Forget the users who are offline.
 *
 * @param {Presence} presence
 * @returns {Presence}
 */
export function withoutOffline(presence) {
  const online = new Map([...presence].filter(([, user]) => user.online));
  return online.size === presence.size ? presence : online;
}

/**
 * How many of the users known are online.
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
 * @param {Seen | null} [seen]
 * @param {string} [epoch]
 * @returns {Presence}
 */
function changed(presence, userId, online, since, now, spanEdge, seen = null, epoch = "") {
  const spans = [...(presence.get(userId)?.spans ?? [])];
  const last = spans.at(-1);
  if (online) spans.push({ from: spanEdge, to: null });
  else if (last?.to === null) spans[spans.length - 1] = { from: last.from, to: spanEdge };
  const result = new Map(presence);
  result.delete(userId);
  result.set(userId, { userId, online, since, heardAt: now, spans: spans.slice(-MAX_SPANS), seen, epoch });
  if (result.size > MAX_USERS) {
    const all = [...result.values()];
    result.delete((all.find((user) => !user.online) ?? all[0])?.userId ?? userId);
  }
  return result;
}
