/**
 * What a message of presenced.v1 means for the page as a whole, beyond the connection that was told.
 */

import { onlyThese, seen } from "./presence.js";
import { plain } from "./v1-words.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./guide.js").Step} Step
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./v1-protocol.js").MessageV1} MessageV1
 * @typedef {import("./v1-session.js").Told} Told
 */

/**
 * Whether one of these is told of everyone by name.
 *
 * @param {readonly Connection[]} connections
 */
export function watchesEveryone(connections) {
  return connections.some(({ state, v1 }) => state === "open" && v1?.view.sessionId && v1.view.watched.everyone);
}

/**
 * Who is online after a connection was told something. One that does not watch everyone is not asked: of what it knows
 * it will not hear the end, once it no longer watches.
 *
 * @param {Presence} presence
 * @param {Connection} connection
 * @param {MessageV1} message
 * @param {number} now
 * @returns {Presence}
 */
export function informed(presence, { v1 }, message, now) {
  if (!v1?.view.watched.everyone) return presence;
  if (message.type === "PRESENCE_CHANGES" && isCatchingUp(v1)) {
    // The server does not send unchanged users again, and the page has forgotten them.
    return onlyThese(seen(presence, [...v1.view.users.values()], v1.view.epoch, now), v1.view.users, now);
  }
  if (message.type === "PRESENCE_CHANGES") return seen(presence, message.users, v1.view.epoch, now);
  if (message.type !== "PRESENCE_SNAPSHOT" || message.watch !== "everyone") return presence;
  const news = seen(presence, message.users, v1.view.epoch, now);
  const isComplete = message.page === message.pages && !v1.view.settling;
  return isComplete ? onlyThese(news, v1.view.users, now) : news;
}

/**
 * Whether a resumed session is still receiving the changes it missed.
 *
 * @param {import("./v1-session.js").V1Session} v1
 */
function isCatchingUp({ back }) {
  return back?.how === "resumed" && !back.missed;
}

/**
 * Whether the user is away because all their devices are idle.
 *
 * @param {import("./v1-protocol.js").Self} self
 */
function isIdle({ status, chosen, claimed }) {
  return status === "away" && chosen === "auto" && !claimed;
}

/**
 * What to say of it to those who do not see the page.
 *
 * @param {Presence} before
 * @param {Presence} after
 * @param {Connection} connection
 * @param {Told} told
 * @returns {string[]}
 */
export function announced(before, after, connection, { message, words, before: { self } }) {
  if (message?.type === "ERROR") return [`${connection.label}: refused, ${message.message}.`];
  if (message?.type === "SELF" && self && self.status !== message.self.status) {
    return [`${connection.label}: ${plain(words)}.`];
  }
  if (message?.type !== "PRESENCE_CHANGES") return [];
  return message.users
    .filter(({ userId }) => before.get(userId) !== after.get(userId))
    .filter(({ userId, status }) => (before.get(userId)?.seen?.status ?? "offline") !== status)
    .map(({ userId, status }) => `${userId} is ${status}.`);
}

/**
 * Steps of the guide that this shows.
 *
 * @param {readonly Connection[]} connections
 * @param {Connection} connection
 * @param {MessageV1} message
 * @returns {Step[]}
 */
export function stepsSeen(connections, connection, message) {
  /** @type {Step[]} */
  const steps = [];
  if (message.type === "SELF" && message.self.own.until) steps.push("status");
  if (message.type === "SELF" && isIdle(message.self)) steps.push("idle");
  if (message.type === "PONG" && connection.v1?.back?.how === "resumed" && connection.v1.back.missed?.length) {
    steps.push("resume");
  }
  for (const { userId, status } of message.type === "PRESENCE_CHANGES" ? message.users : []) {
    const own = connections.filter((c) => c.userId === userId);
    if (status === "online" && !own.length) steps.push("tab");
    if (status === "offline" && own.some((c) => c.state === "dropped")) steps.push("wait");
  }
  return steps;
}
