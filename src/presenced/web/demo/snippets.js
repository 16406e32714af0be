/**
 * Example programs in tabs (tab list pattern of the ARIA Authoring Practices, with automatic activation).
 */

import { byId, make, setText } from "./dom.js";
import { KEEP_SESSION, webSocketAddress } from "./protocol.js";

const SUBPROTOCOL = "presenced.v1";

/**
 * @typedef {{ name: string, text: string }} Snippet
 *
 * @typedef {object} Target How a program connects.
 * @property {string} url
 * @property {boolean} isV1
 * @property {boolean} needsToken
 * @property {readonly string[]} protocols Subprotocols to offer; empty for the classic protocol without a token.
 */

/** Time for which the button displays the result. */
const COPIED_MS = 2_000;

/**
 * @param {boolean} isV1
 * @param {boolean} needsToken
 * @returns {Snippet[]}
 */
function snippets(isV1, needsToken) {
  const query = new URLSearchParams();
  if (!needsToken) query.set("userId", "123"); // otherwise the token identifies the user
  if (isV1) query.set("device", "desktop");
  const url = `${webSocketAddress()}${query.size ? `?${query}` : ""}`;
  const protocols = isV1 ? [SUBPROTOCOL] : needsToken ? ["presenced.classic"] : [];
  if (needsToken) protocols.push("presenced.token.TOKEN");
  /** @type {Target} */
  const target = { url, isV1, needsToken, protocols };
  return [
    { name: "Browser", text: browser(target) },
    { name: "Node", text: node(target) },
    { name: "Python", text: python(target) },
    { name: "curl", text: curl(needsToken) },
  ];
}

/**
 * @param {Target} target
 */
function browser(target) {
  return target.isV1 ? browserWithLibrary(target) : browserClassic(target);
}

/**
 * @param {Target} target
 */
function browserWithLibrary({ needsToken }) {
  const who = needsToken ? 'token: () => "TOKEN", // fetch it from your own server' : "userId: 123,";
  return `// In any page; nothing to install
import { createPresence } from "${location.origin}/client.js";

const presence = createPresence({
  url: "${location.origin}",
  ${who}
});
presence.everyone.subscribe(() => {
  for (const { userId, status } of presence.everyone.get().values()) console.log(userId, status);
});
presence.connect();
`;
}

/**
 * @param {Target} target
 */
function browserClassic(target) {
  return `// In any page; nothing to install
let socket;
function connect() {
  socket = new WebSocket(${argumentsOf(target)});
  socket.onmessage = (event) => {
${javaScriptThatReads(target, "event.data", "    ")}  };
  socket.onclose = ({ code, reason }) => console.log("closed", code, reason);
}
connect();
// Close when the browser caches the page, or its user stays online
addEventListener("pagehide", (event) => { if (event.persisted) socket.close(${KEEP_SESSION}); });
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });
`;
}

/**
 * @param {Target} target
 */
function node(target) {
  return `// npm install ws
import WebSocket from "ws";

const socket = new WebSocket(${argumentsOf(target)});
socket.on("message", (data) => {
${javaScriptThatReads(target, "data", "  ")}});
socket.on("close", (code, reason) => console.log("closed", code, String(reason)));
socket.on("error", (error) => console.error(error.message));
`;
}

/**
 * @param {Target} target
 */
function argumentsOf({ url, protocols }) {
  const [first, ...others] = protocols;
  if (!first) return `"${url}"`;
  return `"${url}", ${others.length ? `[${protocols.map((name) => `"${name}"`).join(", ")}]` : `"${first}"`}`;
}

/**
 * @param {Target} target
 * @param {string} data
 * @param {string} indent
 */
function javaScriptThatReads({ isV1 }, data, indent) {
  const lines = isV1
    ? [
        `const { type, users } = JSON.parse(${data});`,
        `console.log(type);`,
        `for (const { userId, status } of users ?? []) console.log(userId, status);`,
      ]
    : [`const { type, userId } = JSON.parse(${data});`, `console.log(type, userId);`];
  return lines.map((line) => `${indent}${line}\n`).join("");
}

/**
 * @param {Target} target
 */
function python({ url, isV1, protocols }) {
  const names = protocols.map((name) => `"${name}"`).join(", ");
  const reads = isV1
    ? `        print(message["type"])
        for user in message.get("users", []):
            print(user["userId"], user["status"])
`
    : `        print(message["type"], message["userId"])
`;
  return `# pip install websockets
import json
from websockets.sync.client import connect

with connect("${url}"${names && `, subprotocols=[${names}]`}) as socket:
    for text in socket:
        message = json.loads(text)
${reads}`;
}

/**
 * @param {boolean} needsKey
 */
function curl(needsKey) {
  const key = needsKey ? `-H 'Authorization: Bearer API_KEY' ` : "";
  return `# Who is connected, and how many
curl -s ${key}${location.origin}/stats
# Online users, from the HTTP API that /docs describes
curl -s ${key}${location.origin}/api/v1/online
# Alive? Ready for new connections?
curl -s ${location.origin}/healthz
curl -s ${location.origin}/readyz
# For Prometheus
curl -s ${key}${location.origin}/metrics
`;
}

export class Snippets {
  #all = snippets(true, false);
  /** @type {HTMLButtonElement[]} */
  #tabs = [];
  #panel = byId("panel", HTMLDivElement);
  #code = byId("snippet", HTMLElement);
  #copy = byId("copy", HTMLButtonElement);
  #current = 0;
  #timer = 0;
  #say;

  /**
   * @param {(text: string) => void} say Announce the result to screen readers.
   */
  constructor(say) {
    this.#say = say;
    const list = byId("tabs", HTMLDivElement);
    this.#tabs = this.#all.map(({ name }, i) => {
      const tab = make("button", "", name);
      tab.type = "button";
      tab.id = `tab-${i}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", this.#panel.id);
      tab.addEventListener("click", () => this.#select(i));
      return tab;
    });
    list.replaceChildren(...this.#tabs);
    list.addEventListener("keydown", (event) => this.#pressed(event));
    this.#copy.addEventListener("click", () => void this.#copyIt());
    this.#select(0);
  }

  /**
   * Show snippets for another target to connect.
   *
   * @param {boolean} isV1
   * @param {boolean} needsToken
   */
  show(isV1, needsToken) {
    this.#all = snippets(isV1, needsToken);
    this.#select(this.#current);
  }

  /**
   * @param {KeyboardEvent} event
   */
  #pressed(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const count = this.#tabs.length;
    const next = new Map([
      ["ArrowRight", (this.#current + 1) % count],
      ["ArrowLeft", (this.#current + count - 1) % count],
      ["Home", 0],
      ["End", count - 1],
    ]).get(event.key);
    if (next === undefined) return;
    event.preventDefault();
    this.#select(next);
    this.#tabs[next]?.focus();
  }

  /**
   * @param {number} chosen
   */
  #select(chosen) {
    this.#current = chosen;
    this.#tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === chosen));
      tab.tabIndex = i === chosen ? 0 : -1;
    });
    this.#panel.setAttribute("aria-labelledby", `tab-${chosen}`);
    setText(this.#code, this.#all[chosen]?.text ?? "");
    this.#label("Copy");
  }

  async #copyIt() {
    const copied = await copy(this.#all[this.#current]?.text ?? "");
    const label = copied ? "Copied" : "Press Ctrl+C";
    // If the browser blocks copying, select the text so that the user can copy it.
    if (!copied) getSelection()?.selectAllChildren(this.#code);
    this.#label(label);
    this.#say(label);
    this.#timer = setTimeout(() => this.#label("Copy"), COPIED_MS);
  }

  /**
   * @param {string} text
   */
  #label(text) {
    clearTimeout(this.#timer);
    setText(this.#copy, text);
  }
}

/**
 * @param {string} text
 * @returns {Promise<boolean>}
 */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyWithCommand(text); // there is no clipboard API on plain HTTP, except on localhost
  }
}

/**
 * @param {string} text
 */
function copyWithCommand(text) {
  const focused = document.activeElement;
  const field = make("textarea", "visually-hidden");
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}
