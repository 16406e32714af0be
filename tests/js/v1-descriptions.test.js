/** Descriptions of messages of presenced.v1 for people. */

import { describe, expect, test } from "vitest";

import { describeDifferences, describeMessage, plainText } from "../../src/presenced/web/demo/v1-descriptions.js";

/** @typedef {import("../../src/presenced/web/demo/v1-descriptions.js").Person} Person */

/**
 * @param {string | number} userId
 * @param {string} status
 * @param {number} [version]
 * @param {Partial<Person>} [more]
 * @returns {Person}
 */
const user = (userId, status, version = 1, more = {}) => ({ userId, status, version, ...more });

/**
 * Describe a message to a client that knows these users, and is in a room with a member.
 *
 * @param {Record<string, unknown> & { type: string }} message
 * @param {Person[]} [known]
 */
function described(message, known = []) {
  const before = {
    user: (/** @type {string} */ userId) => known.find((each) => String(each.userId) === userId) ?? user(userId, "unknown", 0),
    hasMember: (/** @type {string} */ _, /** @type {string} */ userId) => userId === "a",
    sessionId: "s",
  };
  return plainText(describeMessage(before, message));
}

/** @param {Person[]} users */
const changes = (...users) => ({ type: "PRESENCE_CHANGES", position: "e-2", users });

describe("a change", () => {
  test("is described by what differs", () => {
    const text = described(changes(user("a", "away", 2), user("bob", "busy")), [user("a", "online")]);
    expect(text).toBe("a online → away; bob offline → busy");
  });

  test("that is not newer than what is known means nothing", () => {
    expect(described(changes(user("a", "away", 4)), [user("a", "busy", 5)])).toBe("");
  });

  test("of text, name and devices is described, with its cause", () => {
    const before = user(7, "busy", 1, { devices: ["desktop"], text: "writing" });
    const after = user(7, "busy", 2, { devices: ["phone"], display: { name: "Ada" }, cause: "choice" });
    expect(described(changes(after), [before])).toBe("7 no text, is called Ada, on phone (choice)");
    expect(described(changes(user(7, "busy", 3, { text: "lunch", emoji: "🍕" })), [user(7, "busy", 2)])).toBe("7 🍕 lunch");
  });

  test("beyond the eighth is only counted", () => {
    const many = Array.from({ length: 10 }, (_, i) => user(`u${i}`, "online"));
    expect(described(changes(...many))).toMatch(/u7 offline → online; and 2 more$/);
  });
});

test.each([
  [{ type: "CONNECTION_ESTABLISHED", sessionId: "s", resumed: true }, "resumed"],
  [{ type: "CONNECTION_ESTABLISHED", sessionId: "s", resumed: false }, "the same session"],
  [{ type: "CONNECTION_ESTABLISHED", sessionId: "t", resumed: false }, "a new session"],
  [{ type: "PRESENCE_SNAPSHOT", users: [user("a", "online")], page: 1, pages: 1 }, "1 user"],
  [{ type: "PRESENCE_SNAPSHOT", users: [], page: 2, pages: 3 }, "0 users, page 2 of 3"],
  [{ type: "PRESENCE_COUNT", watch: "everyone", online: 5 }, "everyone: 5 online"],
  [{ type: "PRESENCE_COUNT", watch: "room", room: "r", online: 2 }, "r: 2 online"],
  [{ type: "ROOM_SNAPSHOT", room: "r", mode: "counts", count: 6000, members: [], page: 1, pages: 1 }, "r: 6000 members, counts"],
  [
    { type: "ROOM_CHANGES", room: "r", count: 2, members: [{ userId: "c" }, { userId: "a", data: 1 }], left: [7] },
    "r: c joined; a data 1; 7 left · 2 members",
  ],
  [{ type: "SELF", status: "away", chosen: "auto", cause: "idle" }, "own status: away, as detected (idle)"],
  [
    { type: "SELF", status: "away", chosen: "busy", claimed: true, text: "stand-up" },
    "own status: away, claimed by a backend over your choice of busy · stand-up",
  ],
  [{ type: "ERROR", message: "too many rooms" }, "too many rooms"],
  [{ type: "GOING_AWAY", retryAfter: 2 }, "reconnect in 2 s"],
  [{ type: "CERTAINTY", certainty: "stale", since: 5 }, "users of other servers may be out of date"],
  [{ type: "CERTAINTY", certainty: "live" }, "all users are current again"],
  [{ type: "NEW_THING" }, ""],
])("%j is described", (message, text) => {
  expect(described(message)).toBe(text);
});

test("what was missed is the difference of two reads", () => {
  const before = {
    users: new Map([["a", user("a", "online")], ["gone", user("gone", "busy")]]),
    rooms: new Map([["r", new Set(["a", "b"])]]),
  };
  const after = {
    users: new Map([["a", user("a", "away")], ["__proto__", user("__proto__", "online")]]),
    rooms: new Map([["r", new Set(["b", "c"])]]),
  };
  expect(describeDifferences(before, after).map(plainText)).toEqual([
    "a online → away",
    "gone busy → offline",
    "__proto__ offline → online",
    "c joined r",
    "a left r",
  ]);
  expect(describeDifferences(after, after)).toEqual([]);
});
