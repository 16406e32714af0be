/** Entries of the client's log, and the messages in them. */

/** Messages that only keep the connection alive. */
const ROUTINE = /^{"type":"(PING|PONG)"/;

/**
 * @param {import("./client.js").LogEntry} entry
 */
export function isRoutine({ text }) {
  return ROUTINE.test(text);
}

/**
 * Parse a message that the client received.
 *
 * @param {string} text
 * @returns {import("./v1-descriptions.js").Message}
 */
export function parseMessage(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { type: "" }; // not of a presenced server
  }
}

/**
 * Return whether a message is the last page of a snapshot of everyone.
 *
 * @param {import("./v1-descriptions.js").Message} message
 */
export function isEndOfEveryone({ type, watch, page, pages }) {
  return type === "PRESENCE_SNAPSHOT" && watch === "everyone" && page === pages;
}
