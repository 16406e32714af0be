/**
 * List of the messages that a connection received, newest first.
 */

import { clockTime, make, setPhrase } from "./dom.js";
import { parseMessage } from "./protocol.js";

/** @typedef {import("./connection.js").Connection} Connection */

/**
 * @param {HTMLElement} list
 * @param {Connection} connection
 */
export function showReceivedMessages(list, connection) {
  list.setAttribute("aria-label", `Received by ${connection.label}, newest first`);
  list.replaceChildren(
    ...connection.received.map((received) => (connection.v1 ? itemV1(received) : itemClassic(received.text))),
  );
}

/**
 * @param {string} text
 */
function itemClassic(text) {
  const message = parseMessage(text);
  if (!message) return make("li", "", text);
  const item = make("li", "", `${message.type} `);
  item.append(make("bdi", "", message.userId), make("time", "", clockTime(message.at, true)));
  return item;
}

/**
 * @param {import("./connection.js").Received} received
 */
function itemV1({ text, phrase, at }) {
  const item = make("li", "", /^{"type":"([A-Z_]+)"/.exec(text)?.[1] ?? text);
  const says = make("span", "says");
  setPhrase(says, phrase);
  item.append(says, make("time", "", clockTime(at, true)));
  return item;
}
