/**
 * What a connection of this page wants of presenced.v1, whichever session serves it; and the requests that get there.
 */

/**
 * @typedef {object} WatchWish
 * @property {"everyone" | "users" | "nobody"} whom
 * @property {readonly string[]} users Whom to watch with `users`.
 * @property {boolean} counted Only how many of them are online.
 *
 * @typedef {object} RoomWish
 * @property {string} name
 * @property {boolean} joined Else it is only watched.
 * @property {string} data JSON; empty for none.
 *
 * @typedef {object} Wishes
 * @property {string} device Kind of device; empty when not said.
 * @property {boolean} idle
 * @property {WatchWish} watch
 * @property {readonly RoomWish[]} rooms
 * @property {string} session Of the page before its reload, to go on with.
 *
 * @typedef {Record<string, unknown> & { type: string }} Request
 */

/** Rooms of one connection; the server has a bound of its own. */
export const MAX_ROOMS = 100;

/** @type {WatchWish} */
export const EVERYONE = { whom: "everyone", users: [], counted: false };

/** @type {WatchWish} */
export const NOBODY = { whom: "nobody", users: [], counted: false };

/**
 * @param {string} device
 * @returns {Wishes}
 */
export function newWishes(device) {
  return { device, idle: false, watch: EVERYONE, rooms: [], session: "" };
}

/**
 * Wishes as they were written down; null for what can't be read.
 *
 * @param {string} json
 * @returns {Wishes | null}
 */
export function wishesFrom(json) {
  try {
    const value = JSON.parse(json);
    const { device, idle, watch, rooms, session } = value;
    const whole = [device, session, watch.whom].every((text) => typeof text === "string");
    return whole && Array.isArray(watch.users) && Array.isArray(rooms) ? { device, idle, watch, rooms, session } : null;
  } catch {
    return null; // not ours, or empty
  }
}

/**
 * How to get from watching one to watching the other.
 *
 * @param {WatchWish} from
 * @param {WatchWish} to
 * @returns {Request[]}
 */
export function watchRequests(from, to) {
  /** @type {Request[]} */
  const requests = [];
  const stays = from.whom === to.whom && from.counted === to.counted;
  if (stays && to.whom !== "users") return [];
  const byName = stays && !to.counted; // a number is told when it is asked for: ask for it anew
  const [before, after] = [new Set(usersOf(from)), new Set(usersOf(to))];
  const gone = byName ? [...before].filter((id) => !after.has(id)) : [...before];
  const come = byName ? [...after].filter((id) => !before.has(id)) : [...after];
  if (from.whom === "everyone") requests.push({ type: "UNWATCH", everyone: true });
  else if (gone.length) requests.push({ type: "UNWATCH", users: gone });
  const mode = to.counted ? { mode: "count" } : {};
  if (to.whom === "everyone") requests.push({ type: "WATCH", everyone: true, ...mode });
  else if (come.length) requests.push({ type: "WATCH", users: come, ...mode });
  return requests;
}

/**
 * @param {RoomWish} room
 * @returns {Request}
 */
export function roomRequest({ name, joined, data }) {
  if (!joined) return { type: "WATCH", rooms: [name] };
  return { type: "JOIN", room: name, ...(data ? { data: JSON.parse(data) } : {}) };
}

/**
 * The requests that a new session needs in addition to its URL.
 *
 * @param {Wishes} wishes
 * @param {WatchWish} watch What it watches already.
 * @returns {Request[]}
 */
export function allRequests(wishes, watch) {
  return [
    ...watchRequests(watch, wishes.watch),
    ...wishes.rooms.map(roomRequest),
  ];
}

/**
 * What a person typed as data, as JSON: JSON is taken as such, anything else as a text.
 *
 * @param {string} typed
 */
export function dataFrom(typed) {
  const text = typed.trim();
  if (!text) return "";
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return JSON.stringify(text);
  }
}

/**
 * @param {WatchWish} wish
 */
function usersOf(wish) {
  return wish.whom === "users" ? wish.users : [];
}
