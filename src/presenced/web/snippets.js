/**
 * Programs to copy, in tabs (the tab list pattern of the ARIA Authoring Practices, with automatic activation).
 */

import { byId, make, setText } from "./dom.js";
import { webSocketAddress } from "./protocol.js";

/** @typedef {{ name: string, text: string }} Snippet */

/** How long the button says that it has copied. */
const COPIED_MS = 2_000;

/** @returns {Snippet[]} */
function snippets() {
  const url = `${webSocketAddress()}?userId=123`;
  return [
    {
      name: "Browser",
      text: `// In any page; nothing to install
const socket = new WebSocket("${url}");
socket.onmessage = (event) => {
  const { type, userId } = JSON.parse(event.data);
  console.log(type, userId);
};
socket.onclose = ({ code, reason }) => console.log("closed", code, reason);
`,
    },
    {
      name: "Node",
      text: `// npm install ws
import WebSocket from "ws";

const socket = new WebSocket("${url}");
socket.on("message", (data) => {
  const { type, userId } = JSON.parse(data);
  console.log(type, userId);
});
socket.on("close", (code, reason) => console.log("closed", code, String(reason)));
socket.on("error", (error) => console.error(error.message));
`,
    },
    {
      name: "Python",
      text: `# pip install websockets
import json
from websockets.sync.client import connect

with connect("${url}") as socket:
    for text in socket:
        message = json.loads(text)
        print(message["type"], message["userId"])
`,
    },
    {
      name: "curl",
      text: `# Who is connected, and how many
curl -s ${location.origin}/stats
# Alive? Ready for new connections?
curl -s ${location.origin}/healthz
curl -s ${location.origin}/readyz
# For Prometheus
curl -s ${location.origin}/metrics
`,
    },
  ];
}

export class Snippets {
  #all = snippets();
  /** @type {HTMLButtonElement[]} */
  #tabs = [];
  #panel = byId("panel", HTMLDivElement);
  #code = byId("snippet", HTMLElement);
  #copy = byId("copy", HTMLButtonElement);
  #current = 0;
  #timer = 0;
  #say;

  /**
   * @param {(text: string) => void} say Tells those who do not see the button change.
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
    // Where copying is forbidden, selecting is what can still be done for the person.
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
    return copyTheOldWay(text); // there is no clipboard API on plain http other than localhost
  }
}

/**
 * @param {string} text
 */
function copyTheOldWay(text) {
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
