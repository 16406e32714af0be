/**
 * Effects of a message of presenced.v1 on the whole page: the list of users, announcements, steps of the guide.
 */

import { applyUsers, keepOnly } from "./presence.js";
import { plainText } from "./v1-descriptions.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./guide.js").Step} Step
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-session.js").ReceivedV1} ReceivedV1
 */

/**
 * Return whether an open connection watches everyone by name.
 *
 * @param {readonly Connection[]} connections
 */
export function watchesEveryone(connections) {
  return connections.some(({ state, v1 }) => state === "open" && v1?.view.sessionId && v1.view.subscription.everyone);
}

/**
 * Return who is online after a connection received a message.
 *
 * Only connections that watch everyone count. Others may stop watching a user, and then learn nothing of its end.
 *
 * @param {Presence} presence
 * @param {Connection} connection
 * @param {MessageV1} message
 * @param {number} now
 * @returns {Presence}
 */
export function updatePresence(presence, { v1 }, message, now) {
  if (!v1?.view.subscription.everyone) return presence;
  if (message.type === "PRESENCE_CHANGES" && isCatchingUp(v1)) {
    // The server does not send unchanged users again, and the page has dropped them.
    return keepOnly(applyUsers(presence, [...v1.view.users.values()], v1.view.epoch, now), v1.view.users, now);
  }
  if (message.type === "PRESENCE_CHANGES") return applyUsers(presence, message.users, v1.view.epoch, now);
  if (message.type !== "PRESENCE_SNAPSHOT" || message.watch !== "everyone") return presence;
  const updated = applyUsers(presence, message.users, v1.view.epoch, now);
  const isComplete = message.page === message.pages && !v1.view.settling;
  return isComplete ? keepOnly(updated, v1.view.users, now) : updated;
}

/**
 * Return whether a resumed session is still receiving the changes it missed.
 *
 * @param {import("./v1-session.js").V1Session} v1
 */
function isCatchingUp({ reconnect }) {
  return reconnect?.how === "resumed" && !reconnect.missed;
}

/**
 * Return whether the user is away because all their devices are idle.
 *
 * @param {import("./v1-protocol.js").Self} self
 */
function isIdle({ status, chosen, claimed }) {
  return status === "away" && chosen === "auto" && !claimed;
}

/**
 * Return what a screen reader announces for a message.
 *
 * @param {Presence} before
 * @param {Presence} after
 * @param {Connection} connection
 * @param {ReceivedV1} received
 * @returns {string[]}
 */
export function announcements(before, after, connection, { message, phrase, before: { self } }) {
  if (message?.type === "ERROR") return [`${connection.label}: refused, ${message.message}.`];
  if (message?.type === "SELF" && self && self.status !== message.self.status) {
    return [`${connection.label}: ${plainText(phrase)}.`];
  }
  if (message?.type !== "PRESENCE_CHANGES") return [];
  return message.users
    .filter(({ userId }) => before.get(userId) !== after.get(userId))
    .filter(({ userId, status }) => (before.get(userId)?.details?.status ?? "offline") !== status)
    .map(({ userId, status }) => `${userId} is ${status}.`);
}

/**
 * Return the steps of the guide that a message completes.
 *
 * @param {readonly Connection[]} connections
 * @param {Connection} connection
 * @param {MessageV1} message
 * @returns {Step[]}
 */
export function completedSteps(connections, connection, message) {
  /** @type {Step[]} */
  const steps = [];
  const reconnect = connection.v1?.reconnect;
  if (message.type === "SELF" && message.self.choice.until) steps.push("status");
  if (message.type === "SELF" && isIdle(message.self)) steps.push("idle");
  if (message.type === "PONG" && reconnect?.how === "resumed" && reconnect.missed?.length) steps.push("resume");
  for (const { userId, status } of message.type === "PRESENCE_CHANGES" ? message.users : []) {
    const own = connections.filter((c) => c.userId === userId);
    if (status === "online" && !own.length) steps.push("tab");
    if (status === "offline" && own.some((c) => c.state === "dropped")) steps.push("wait");
  }
  return steps;
}
