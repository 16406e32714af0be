/** What a connection of presenced.v1 is for. It outlives a reload of the page. */

/**
 * @typedef {object} DesiredWatch
 * @property {"everyone" | "users" | "nobody"} target
 * @property {readonly string[]} users Ids for the target `users`.
 * @property {boolean} countOnly Whether to receive only the number of online users.
 *
 * @typedef {object} DesiredRoom
 * @property {string} name
 * @property {boolean} joined Whether the user is a member; otherwise the room is only watched.
 * @property {string} data The member's data as JSON, or an empty string.
 *
 * @typedef {object} DesiredState
 * @property {string} device Kind of device, or an empty string.
 * @property {boolean} idle
 * @property {DesiredWatch} watch
 * @property {readonly DesiredRoom[]} rooms
 * @property {string} session What the client saved before a reload of the page, to resume its session.
 */

/**
 * Return the state of a new connection: it watches everyone.
 *
 * @param {string} device
 * @returns {DesiredState}
 */
export function defaultDesiredState(device) {
  const watch = { target: /** @type {const} */ ("everyone"), users: [], countOnly: false };
  return { device, idle: false, watch, rooms: [], session: "" };
}

/**
 * Parse a saved state. Return null if it is not valid.
 *
 * @param {string} json
 * @returns {DesiredState | null}
 */
export function parseDesiredState(json) {
  try {
    const value = JSON.parse(json);
    const { device, idle, watch, rooms, session } = value;
    const whole = [device, session, watch.target].every((text) => typeof text === "string");
    return whole && Array.isArray(watch.users) && Array.isArray(rooms) ? { device, idle, watch, rooms, session } : null;
  } catch {
    return null; // empty, or not written by this page
  }
}

/**
 * Convert typed data to JSON. Text that is not JSON becomes a JSON string.
 *
 * @param {string} typed
 */
export function parseData(typed) {
  const text = typed.trim();
  if (!text) return "";
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return JSON.stringify(text);
  }
}
