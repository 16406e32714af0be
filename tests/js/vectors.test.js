/** The conversations in `spec/vectors`, replayed: the test plays the server, the page's modules are the client. */

/// <reference types="vite/client" />

import { describe, expect, test } from "vitest";

import { parseMessage } from "../../src/presenced/web/demo/protocol.js";
import { defaultDesiredState } from "../../src/presenced/web/demo/v1-desired-state.js";
import { V1Session } from "../../src/presenced/web/demo/v1-session.js";

/**
 * @typedef {object} ClassicVector
 * @property {string} name
 * @property {string} user
 * @property {number} epochMs
 * @property {string} message
 *
 * @typedef {object} Step
 * @property {string} [conversation]
 * @property {string} [client]
 * @property {string} [do]
 * @property {string} [subprotocol]
 * @property {Message} [message]
 *
 * @typedef {{ userId: string | number, status: string }} UserRecord
 * @typedef {{ type: string, position?: string, users?: UserRecord[], members?: { presence?: UserRecord }[] }} Message
 */

/** @type {Record<string, string>} */
const files = import.meta.glob("../../spec/vectors/*.jsonl", { query: "?raw", import: "default", eager: true });

const vectors = Object.entries(files).map(([path, text]) => ({
  name: path.replace(/.*\//, ""),
  lines: text.trim().split("\n").map((line) => JSON.parse(line)),
}));

const conversations = vectors.filter(({ name }) => name.startsWith("v1-"));

/** Messages that the page ignores: it cannot renew tokens. */
const IGNORED = new Set(["AUTH_EXPIRING"]);

test("all vectors are found", () => {
  expect(conversations.length).toBeGreaterThan(20);
});

/** @type {ClassicVector[]} */
const classic = vectors.find(({ name }) => name === "classic.jsonl")?.lines ?? [];

test.each(classic)("classic: $name", ({ user, epochMs, message }) => {
  expect(parseMessage(message)).toMatchObject({ userId: user, at: epochMs });
});

/**
 * Replace names such as `$version-bob-2` by numbers, because versions are compared.
 *
 * @param {unknown} message
 */
function concrete(message) {
  return JSON.stringify(message).replace(/"\$version-[^"]*-(\d+)"/g, "$1");
}

describe.each(conversations)("$name", ({ lines }) => {
  /** @type {Step[]} */
  const steps = lines;
  const clients = new Set(steps.filter((step) => step.subprotocol).map(({ client }) => client));

  test.each([...clients])("%s understands every message and knows the last of each user", (client) => {
    let session = newSession();
    /** @type {Map<string, string>} */
    let last = new Map();
    for (const { client: receiver, do: action, message } of steps) {
      if (receiver !== client) continue;
      if (action === "connect") session.connectionLost();
      if (action !== "hear" || !message) continue;
      if (message.type === "CONNECTION_ESTABLISHED" && !/"resumed":true/.test(JSON.stringify(message))) {
        session.connectionLost();
        session = newSession();
        last = new Map();
      }
      const received = session.received(concrete(message)).message;
      expect(received?.type).toBe(IGNORED.has(message.type) ? undefined : message.type);
      if (message.type === "PRESENCE_CHANGES") expect(session.view.position).toBe(message.position);
      const members = message.members?.flatMap(({ presence }) => presence ?? []) ?? [];
      for (const { userId, status } of [...(message.users ?? []), ...members]) last.set(String(userId), status);
    }
    session.connectionLost();
    for (const [userId, status] of last) {
      const known = session.view.users.get(userId)?.status;
      if (known) expect({ userId, status: known }).toEqual({ userId, status });
    }
  });
});

function newSession() {
  return new V1Session("client", defaultDesiredState(""), { send: () => {}, changed: () => {}, timedOut: () => {} });
}
