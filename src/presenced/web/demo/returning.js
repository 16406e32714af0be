/**
 * Whom a reload of the page is to bring back: per connection a user id, and what it wants of presenced.v1.
 */

import { recall, remember } from "./memory.js";
import { wishesFrom } from "./v1-wishes.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-wishes.js").Wishes} Wishes
 *
 * @typedef {object} Returning
 * @property {string} userId
 * @property {Wishes | null} wishes Null for the classic protocol.
 */

const USERS_KEY = "presenced.users";
/** In the same order; empty for the classic protocol. */
const WISHES_KEY = "presenced.wishes";

/**
 * @returns {Returning[]}
 */
export function recallConnections() {
  const wishes = recall(WISHES_KEY);
  return recall(USERS_KEY).map((userId, i) => ({ userId, wishes: wishesFrom(wishes[i] ?? "") }));
}

/**
 * Write down whom to bring back.
 *
 * The sessions are written only as the page goes away: a tab that is duplicated meanwhile must not take them over.
 *
 * @param {readonly Connection[]} connections
 * @param {readonly Returning[]} waiting Those that were to return and are not connecting yet.
 * @param {boolean} withSessions Add the sessions to what is written already.
 */
export function rememberConnections(connections, waiting, withSessions) {
  /** @type {Returning[]} */
  const wanted = connections
    .filter((connection) => connection.isWanted)
    .map(({ userId, v1 }) => ({ userId, wishes: v1 && { ...v1.wishes, session: v1.sessionId } }));
  const all = [...wanted, ...waiting];
  if (!withSessions) remember(USERS_KEY, all.map(({ userId }) => userId));
  remember(
    WISHES_KEY,
    all.map(({ wishes }) => (wishes ? JSON.stringify(withSessions ? wishes : { ...wishes, session: "" }) : "")),
  );
}
