/**
 * Users connected from this page: one card per user, with one entry per connection.
 */

import { button, byId, clockTime, find, fromTemplate, setText, setPhrase } from "./dom.js";
import { CLOSE_CODES, NO_CLOSE_FRAME } from "./protocol.js";
import { showReceivedMessages } from "./received-list.js";
import { OwnStatus } from "./v1-own-status.js";
import { SessionPanel } from "./v1-session-panel.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./connection.js").State} State
 * @typedef {import("./presence.js").Presence} Presence
 * @typedef {import("./presence.js").User} User
 *
 * @typedef {object} Actions
 * @property {(userId: string) => void} add Open another connection of this user.
 * @property {(connection: Connection) => void} remove Remove an ended connection.
 *
 * @typedef {object} Entry
 * @property {HTMLElement} element
 * @property {State | null} state State of the displayed buttons.
 * @property {Connection["received"] | null} received Displayed messages.
 * @property {SessionPanel | null} panel Details of the session; null with the classic protocol.
 *
 * @typedef {object} Card
 * @property {HTMLElement} element
 * @property {Map<Connection, Entry>} entries
 * @property {OwnStatus | null} own Null until a connection of the user uses presenced.v1.
 */

const STATES = new Map([
  ["connecting", "Connecting"],
  ["open", "Open"],
  ["closing", "Closing"],
  ["waiting", "Waiting to reconnect"],
  ["dropped", "Dropped"],
  ["closed", "Closed"],
]);

export class UserCards {
  /** @type {Map<string, Card>} */
  #cards = new Map();
  #parent = byId("cards", HTMLDivElement);
  #empty = byId("no-cards", HTMLParagraphElement);
  #help = byId("cards-help", HTMLDListElement);
  #actions;

  /**
   * @param {Actions} actions
   */
  constructor(actions) {
    this.#actions = actions;
  }

  /**
   * @param {readonly Connection[]} connections All connections of the page, oldest first.
   * @param {Presence} presence
   * @param {ReadonlySet<string>} connected Users with an open connection, on this page or elsewhere.
   * @param {number} now
   */
  show(connections, presence, connected, now) {
    const wanted = new Set(connections);
    for (const [userId, card] of this.#cards) {
      for (const [connection, entry] of card.entries) {
        if (wanted.has(connection)) continue;
        this.#moveFocusFrom(entry.element, card);
        entry.element.remove();
        card.entries.delete(connection);
      }
      if (card.entries.size) continue;
      card.element.remove();
      this.#cards.delete(userId);
    }
    for (const connection of connections) {
      const card = this.#cards.get(connection.userId) ?? this.#makeCard(connection.userId);
      let entry = card.entries.get(connection);
      if (!entry) {
        entry = makeEntry(connection);
        card.entries.set(connection, entry);
        find(card.element, ".connections").append(entry.element);
      }
      const online = presence.get(connection.userId)?.online ?? false;
      this.#fill(entry, connection);
      setText(find(entry.element, ".detail"), describeConnection(connection, now, online, connected.has(connection.userId)));
    }
    this.#empty.hidden = this.#cards.size > 0;
    this.#help.hidden = !this.#empty.hidden;
    for (const [userId, card] of this.#cards) this.#showUser(card, presence.get(userId));
  }

  /**
   * @param {Card} card
   * @param {User | undefined} user As others see them.
   */
  #showUser(card, user) {
    const own = [...card.entries.keys()];
    const status = user?.details?.status ?? statusFromOwnSessions(own, user?.online ?? false);
    card.element.dataset.online = String(status !== "offline");
    card.element.dataset.status = status;
    setText(find(card.element, ".status"), status);
    if (!own.some((c) => c.v1)) return;
    if (!card.own) {
      card.own = new OwnStatus(own[0]?.userId ?? "");
      find(card.element, "header").after(card.own.element);
    }
    card.own.show(own, status);
  }

  /**
   * Move the focus out of an entry that is about to be removed.
   *
   * @param {HTMLElement} element
   * @param {Card} card
   */
  #moveFocusFrom(element, card) {
    if (!element.contains(document.activeElement)) return;
    if (card.entries.size > 1) find(card.element, "header button").focus();
    else byId("user-id", HTMLInputElement).focus();
  }

  /**
   * @param {string} userId
   * @returns {Card}
   */
  #makeCard(userId) {
    const element = fromTemplate("card-template");
    element.dataset.userId = userId;
    const name = find(element, "h4 bdi");
    name.textContent = name.title = userId || "(empty)";
    const title = find(element, "h4");
    title.id = `card-${crypto.randomUUID()}`;
    element.setAttribute("aria-labelledby", title.id);
    const add = find(element, "header button");
    add.setAttribute("aria-label", `Add connection of ${userId}`);
    add.addEventListener("click", () => this.#actions.add(userId));
    /** @type {Card} */
    const card = { element, entries: new Map(), own: null };
    this.#cards.set(userId, card);
    this.#parent.append(element);
    return card;
  }

  /**
   * @param {Entry} entry
   * @param {Connection} connection
   */
  #fill(entry, connection) {
    const { element } = entry;
    if (entry.state !== connection.state) {
      entry.state = connection.state;
      element.dataset.state = connection.state;
      element.dataset.ordinal = String(connection.ordinal);
      setText(find(element, ".badge"), STATES.get(connection.state) ?? "");
      this.#showButtons(find(element, ".actions"), connection);
    }
    setPhrase(find(element, ".connection-id"), connectionIdPhrase(connection));
    if (entry.received !== connection.received) {
      entry.received = connection.received;
      showReceivedMessages(find(element, ".received"), connection);
    }
    entry.panel?.show();
  }

  /**
   * @param {HTMLElement} parent
   * @param {Connection} connection
   */
  #showButtons(parent, connection) {
    if (connection.state === "closing") {
      // Disable the buttons for a moment. Removing them would lose the focus.
      for (const child of parent.children) child.setAttribute("aria-disabled", "true");
      return;
    }
    const hadFocus = parent.contains(document.activeElement);
    parent.replaceChildren(...buttonsFor(connection, this.#actions));
    for (const child of parent.children) {
      child.setAttribute("aria-label", `${child.textContent} ${connection.label}`);
    }
    const first = parent.firstElementChild;
    if (hadFocus && first instanceof HTMLElement) first.focus();
  }
}

/**
 * Return the status that others see, if no connection of this page watches the user. It derives from the last message to
 * the user's own connections. A lost connection does not change the status until the grace period is over.
 *
 * @param {readonly Connection[]} connections The user's connections.
 * @param {boolean} online Whether others see the user online, as far as this page knows.
 */
function statusFromOwnSessions(connections, online) {
  const open = connections.find(({ v1, state }) => state === "open" && v1?.own);
  const own = (open ?? connections.find(({ v1 }) => v1?.own))?.v1?.own;
  if (!own || (!open && !online)) return online ? "online" : "offline";
  return own.status === "invisible" ? "offline" : own.status;
}

/**
 * Return the server's connection id as a phrase: the number stays behind the user id in any writing direction.
 *
 * @param {Connection} connection
 * @returns {import("./v1-descriptions.js").Phrase}
 */
function connectionIdPhrase({ connectionId, userId, ordinal }) {
  if (!connectionId || !connectionId.startsWith(userId)) return [connectionId || `#${ordinal}`];
  return [[userId], connectionId.slice(userId.length)];
}

/**
 * @param {Connection} connection
 * @returns {Entry}
 */
function makeEntry(connection) {
  const element = fromTemplate("connection-template");
  if (!connection.v1) return { element, state: null, received: null, panel: null };
  const panel = new SessionPanel(connection.v1);
  element.dataset.protocol = "v1";
  find(element, ".actions").after(panel.element);
  return { element, state: null, received: null, panel };
}

/**
 * @param {NonNullable<Connection["v1"]>} connection
 */
function idleSwitch(connection) {
  const element = button("Idle", () => {
    connection.setIdle(!connection.desired.idle);
    element.setAttribute("aria-checked", String(connection.desired.idle));
  });
  element.className = "switch";
  element.setAttribute("aria-describedby", "help-idle");
  element.setAttribute("role", "switch");
  element.setAttribute("aria-checked", String(connection.desired.idle));
  return element;
}

/**
 * @param {Connection} connection
 * @param {Actions} actions
 * @returns {HTMLButtonElement[]}
 */
function buttonsFor(connection, actions) {
  const remove = button("Remove", () => actions.remove(connection));
  switch (connection.state) {
    case "open": {
      const disconnect = button("Disconnect", () => connection.disconnect());
      disconnect.setAttribute("aria-describedby", "help-disconnect");
      const drop = button("Drop", () => connection.drop());
      drop.setAttribute("aria-describedby", "help-drop");
      return connection.v1 ? [disconnect, drop, idleSwitch(connection.v1)] : [disconnect, drop];
    }
    case "connecting":
    case "waiting":
      return [button("Cancel", () => connection.disconnect())];
    case "dropped":
      return [button("Reconnect", () => connection.open()), remove];
    case "closed":
      return [button("Connect again", () => connection.open()), remove];
    case "closing":
      return [];
  }
}

/**
 * Describe the end of a connection in a sentence.
 *
 * @param {Connection} connection
 * @param {number} now
 * @param {boolean} online Whether others see the user online.
 * @param {boolean} other Whether the user has another connection that is open.
 */
function describeConnection(connection, now, online, other) {
  const { state, end } = connection;
  if (state === "dropped") {
    const seconds = Math.max(0, Math.round((now - connection.droppedAt) / 1000));
    if (other) return "The user stays online, because another connection is open.";
    return online
      ? `${seconds} s ago. Online until the grace period ends.`
      : `At ${clockTime(connection.droppedAt)}. The grace period is over, so the user is offline.`;
  }
  if (!end || state === "connecting" || state === "open") return "";
  if (end.by === "page") {
    const effect = online ? "Another connection keeps the user online." : "Offline immediately, without a grace period.";
    return `By this page, code ${end.code}. ${effect}`;
  }
  const reason = end.reason ? `“${end.reason}” ` : "";
  if (end.code !== NO_CLOSE_FRAME) {
    return `By the server, code ${end.code}. ${reason}${CLOSE_CODES.get(end.code)?.meaning ?? ""}`;
  }
  return end.opened
    ? "Code 1006: no close frame arrived. The server or the network failed."
    : "Code 1006: the connection could not be opened. The server is down or refused it; see its log.";
}
