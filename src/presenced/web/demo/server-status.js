/** What the page shows of the server: its figures, its version, and that it is unreachable. */

import { byId, clockTime, setText } from "./dom.js";

/** @typedef {import("./stats-poller.js").Stats} Stats */

/**
 * @param {string} reason
 */
export function showUnreachable(reason) {
  const banner = byId("banner", HTMLDivElement);
  banner.hidden = false;
  banner.textContent =
    `The server has been unreachable since ${clockTime(Date.now())}. ${reason} ` +
    "This page retries every second and reconnects automatically.";
}

/** The server is reachable again. */
export function hideUnreachable() {
  byId("banner", HTMLDivElement).hidden = true;
}

/**
 * @param {string} version
 */
export function showVersion(version) {
  setText(byId("server", HTMLParagraphElement), `presenced ${version} at ${location.host}`);
}

/**
 * @param {Stats | null} stats Null if they are not known.
 * @param {number | null} online Number of users who are online as far as the page knows; null if the server is
 *   unreachable.
 */
export function showFigures(stats, online) {
  document.body.classList.toggle("stale", online === null);
  for (const [id, figure] of /** @type {const} */ ([
    ["users-online", stats?.onlineUsers],
    ["users-connected", stats?.connectedUsers],
    ["connections", stats?.totalConnections],
  ])) {
    setText(byId(id, HTMLElement), figure === undefined ? "–" : figure.toLocaleString());
  }
  document.title = online === null ? "unreachable · presenced" : `${online} online · presenced`;
}
