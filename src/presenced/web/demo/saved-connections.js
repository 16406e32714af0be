/**
 * Connections to restore after a reload: for each one a user id and its desired state with presenced.v1.
 */

import { loadForTab, saveForTab } from "./browser-storage.js";
import { parseDesiredState } from "./v1-desired-state.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./v1-desired-state.js").DesiredState} DesiredState
 *
 * @typedef {object} SavedConnection
 * @property {string} userId
 * @property {DesiredState | null} desired Null for the classic protocol.
 */

const USERS_KEY = "presenced.users";
/** Desired states in the same order; an empty string for the classic protocol. */
const DESIRED_KEY = "presenced.desired";

/**
 * @returns {SavedConnection[]}
 */
export function restoreConnections() {
  const desired = loadForTab(DESIRED_KEY);
  return loadForTab(USERS_KEY).map((userId, i) => ({ userId, desired: parseDesiredState(desired[i] ?? "") }));
}

/**
 * Save the connections to restore.
 *
 * Sessions are saved only when the page is left. Otherwise a duplicated tab would take over the sessions.
 *
 * @param {readonly Connection[]} connections
 * @param {readonly SavedConnection[]} waiting Saved connections that have not been opened yet.
 * @param {boolean} withSessions Whether to add the sessions to the saved states.
 */
export function saveConnections(connections, waiting, withSessions) {
  /** @type {SavedConnection[]} */
  const wanted = connections
    .filter((connection) => connection.shouldRestore)
    .map(({ userId, v1 }) => ({ userId, desired: v1 && v1.saved }));
  const all = [...wanted, ...waiting];
  if (!withSessions) saveForTab(USERS_KEY, all.map(({ userId }) => userId));
  saveForTab(
    DESIRED_KEY,
    all.map(({ desired }) => (desired ? JSON.stringify(withSessions ? desired : { ...desired, session: "" }) : "")),
  );
}
