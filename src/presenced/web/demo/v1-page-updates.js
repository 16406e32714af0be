/** Effects of the presenced.v1 connections on the whole page: the list of users, announcements, steps of the guide. */

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./guide.js").Step} Step
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./v1-connection.js").Own} Own
 */

/**
 * Return what an open connection that watches everyone by name knows, or null if there is none.
 *
 * @param {readonly Connection[]} connections
 */
export function everyoneKnown(connections) {
  return connections.find(({ state, v1 }) => state === "open" && v1?.everyone)?.v1?.everyone ?? null;
}

/**
 * Return what a screen reader announces when the list of users changes.
 *
 * @param {Presence} before
 * @param {Presence} after
 * @returns {string[]}
 */
export function announcements(before, after) {
  return [...after.values()]
    .filter((user) => before.get(user.userId) !== user)
    .map((user) => ({ userId: user.userId, status: statusOf(user), was: statusOf(before.get(user.userId)) }))
    .filter(({ status, was }) => status !== was)
    .map(({ userId, status }) => `${userId} is ${status}.`);
}

/**
 * Return the steps of the guide that a change of the list completes.
 *
 * @param {readonly Connection[]} connections
 * @param {Presence} before
 * @param {Presence} after
 * @returns {Step[]}
 */
export function completedSteps(connections, before, after) {
  /** @type {Step[]} */
  const steps = [];
  for (const user of after.values()) {
    const [status, was] = [statusOf(user), statusOf(before.get(user.userId))];
    if (status === was) continue;
    const own = connections.filter((c) => c.userId === user.userId);
    if (status === "online" && !own.length) steps.push("tab");
    if (status === "offline" && own.some((c) => c.state === "dropped")) steps.push("wait");
  }
  return steps;
}

/**
 * Return the steps of the guide that a user's own status completes.
 *
 * @param {Own} own
 * @returns {Step[]}
 */
export function stepsOfOwnStatus({ status, chosen, claimed, until }) {
  if (claimed) return [];
  /** @type {Step[]} */
  const steps = until ? ["status"] : [];
  return status === "away" && chosen === "auto" ? [...steps, "idle"] : steps;
}

/**
 * @param {import("./presence.js").User | undefined} user
 */
function statusOf(user) {
  return user?.details?.status ?? (user?.online ? "online" : "offline");
}
