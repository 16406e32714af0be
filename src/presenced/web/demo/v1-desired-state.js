/**
 * The desired state of a presenced.v1 connection, which outlives its sessions, and the requests that establish it.
 */

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
 * @property {string} session Id of the session before a reload of the page, which can be resumed.
 *
 * @typedef {Record<string, unknown> & { type: string }} Request
 */

/** Maximum number of rooms of one connection. The server's limit may be lower. */
export const MAX_ROOMS = 100;

/** @type {DesiredWatch} */
export const WATCH_EVERYONE = { target: "everyone", users: [], countOnly: false };

/** @type {DesiredWatch} */
export const WATCH_NOBODY = { target: "nobody", users: [], countOnly: false };

/**
 * Return the state of a new connection: it watches everyone.
 *
 * @param {string} device
 * @returns {DesiredState}
 */
export function defaultDesiredState(device) {
  return { device, idle: false, watch: WATCH_EVERYONE, rooms: [], session: "" };
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
 * Return the requests that change one subscription into another.
 *
 * @param {DesiredWatch} from
 * @param {DesiredWatch} to
 * @returns {Request[]}
 */
export function watchRequests(from, to) {
  /** @type {Request[]} */
  const requests = [];
  const stays = from.target === to.target && from.countOnly === to.countOnly;
  if (stays && to.target !== "users") return [];
  // The server sends a count only after a request, so a changed list with `countOnly` is requested as a whole.
  const byName = stays && !to.countOnly;
  const [before, after] = [new Set(targetUsers(from)), new Set(targetUsers(to))];
  const gone = byName ? [...before].filter((id) => !after.has(id)) : [...before];
  const come = byName ? [...after].filter((id) => !before.has(id)) : [...after];
  if (from.target === "everyone") requests.push({ type: "UNWATCH", everyone: true });
  else if (gone.length) requests.push({ type: "UNWATCH", users: gone });
  const mode = to.countOnly ? { mode: "count" } : {};
  if (to.target === "everyone") requests.push({ type: "WATCH", everyone: true, ...mode });
  else if (come.length) requests.push({ type: "WATCH", users: come, ...mode });
  return requests;
}

/**
 * Return the request that joins or watches a room.
 *
 * @param {DesiredRoom} room
 * @returns {Request}
 */
export function roomRequest({ name, joined, data }) {
  if (!joined) return { type: "WATCH", rooms: [name] };
  return { type: "JOIN", room: name, ...(data ? { data: JSON.parse(data) } : {}) };
}

/**
 * Return the requests of a new session, in addition to its URL.
 *
 * @param {DesiredState} desired
 * @param {DesiredWatch} watch The subscription that the URL requests.
 * @returns {Request[]}
 */
export function allRequests(desired, watch) {
  return [
    ...watchRequests(watch, desired.watch),
    ...desired.rooms.map(roomRequest),
  ];
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

/**
 * @param {DesiredWatch} room
 */
function targetUsers(room) {
  return room.target === "users" ? room.users : [];
}
