/** The state that a session of presenced.v1 derives from messages, and the descriptions of them. */

import { describe, expect, test } from "vitest";

import { describeMessage, plainText } from "../../src/presenced/web/demo/v1-descriptions.js";
import { parseV1 } from "../../src/presenced/web/demo/v1-protocol.js";
import {
  applyMessage,
  beginSession,
  EMPTY_VIEW,
  endSettling,
  subscribedUsers,
  withSubscription,
} from "../../src/presenced/web/demo/v1-view.js";

/**
 * @typedef {import("../../src/presenced/web/demo/v1-view.js").View} View
 * @typedef {{ view: View, descriptions: string[] }} Run
 * @typedef {(run: Run) => Run} Step
 * @typedef {Record<string, unknown>} Fields
 */

/**
 * @param {{ everyone?: boolean, users?: string[], rooms?: string[] }} fields
 */
function subscription({ everyone = false, users = [], rooms = [] }) {
  return { everyone, users: new Set(users), rooms: new Set(rooms) };
}

/**
 * @param {Parameters<typeof subscription>[0]} fields
 * @returns {Step}
 */
const begin = (fields) => (run) => ({ ...run, view: beginSession(run.view, subscription(fields)) });

/**
 * @param {Parameters<typeof subscription>[0]} fields
 * @returns {Step}
 */
const subscribe = (fields) => (run) => ({ ...run, view: withSubscription(run.view, subscription(fields)) });

/** @type {Step} */
const settle = (run) => ({ ...run, view: endSettling(run.view) });

/**
 * @param {string} type
 * @param {Fields} fields
 * @returns {Step}
 */
function message(type, fields) {
  return ({ view, descriptions }) => {
    const parsed = parseV1(JSON.stringify({ type, ...fields }));
    if (!parsed) throw new Error(`${type} is unknown`);
    return {
      view: applyMessage(view, parsed),
      descriptions: [...descriptions, plainText(describeMessage(view, parsed))],
    };
  };
}

/**
 * @param {string | number} userId
 * @param {string} [status]
 * @param {number} [version]
 * @param {Fields} [more]
 */
const user = (userId, status = "online", version = 1, more = {}) => ({ userId, status, since: 1, version, ...more });

/** @param {{ session?: string, resumed?: boolean, settling?: number }} [fields] */
const established = ({ session = "s", resumed = false, settling = 0 } = {}) =>
  message("CONNECTION_ESTABLISHED", { sessionId: session, resumed, settling });

/**
 * @param {Fields[]} users
 * @param {{ watch?: string, page?: number, pages?: number }} [more]
 */
const snapshot = (users, { watch = "everyone", page = 1, pages = 1 } = {}) =>
  message("PRESENCE_SNAPSHOT", { watch, page, pages, users });

/** @param {Fields[]} users */
const changes = (...users) => message("PRESENCE_CHANGES", { position: "e-2", users });

/**
 * @param {"SNAPSHOT" | "CHANGES"} kind
 * @param {Fields[]} members
 * @param {Fields} more
 */
const room = (kind, members, more) => message(`ROOM_${kind}`, { room: "r", mode: "full", members, ...more });

/**
 * @param {string} userId
 * @param {string} [status]
 */
const member = (userId, status) => ({ userId, joinedAt: 1, presence: user(userId, status) });

/** @param {Step[]} steps */
function after(...steps) {
  const { view, descriptions } = steps.reduce((run, step) => step(run), /** @type {Run} */ ({
    view: EMPTY_VIEW,
    descriptions: [],
  }));
  /** @param {Iterable<import("../../src/presenced/web/demo/v1-view.js").KnownUser>} users */
  const statuses = (users) =>
    Object.fromEntries([...users].map((u) => [u.userId, u.status + (u.uncertain ? "?" : "")]));
  return {
    users: statuses(view.users.values()),
    listed: statuses(subscribedUsers(view)),
    position: view.position,
    descriptions,
    rooms: [...view.rooms].map(([name, { mode, count, members }]) => [name, mode, count, [...members.keys()]]),
    counts: [...view.counts],
  };
}

describe("a snapshot of everyone", () => {
  const start = [begin({ everyone: true }), established(), snapshot([user("a"), user(7)])];

  test("lists users by string ids", () => {
    expect(after(...start).users).toEqual({ a: "online", 7: "online" });
  });

  test("is continued by changes", () => {
    const found = after(...start, changes(user("a", "away", 2), user("bob", "busy")));
    expect(found.users).toEqual({ a: "away", 7: "online", bob: "busy" });
    expect(found.position).toBe("e-2");
    expect(found.descriptions).toEqual(["a new session", "2 users", "a online → away; bob offline → busy"]);
    expect(after(...start, changes(user("a", "offline", 2))).users).toEqual({ 7: "online" });
  });

  test("holds users whose id is a property of every object", () => {
    const steps = [...start, changes(user("__proto__", "busy"))];
    const { view } = steps.reduce((run, step) => step(run), /** @type {Run} */ ({ view: EMPTY_VIEW, descriptions: [] }));
    expect(view.users.get("__proto__")?.status).toBe("busy");
  });

  test("ignores versions that are not newer", () => {
    const found = after(...start, changes(user("a", "busy", 5)), changes(user("a", "away", 4)));
    expect(found.users.a).toBe("busy");
    expect(found.descriptions.at(-1)).toBe("");
  });

  test("applies all its pages at once", () => {
    const known = [begin({ everyone: true }), established(), snapshot([user("gone"), user("a"), user("b")])];
    const pages = [
      snapshot([user("a", "away", 2)], { page: 1, pages: 2 }),
      snapshot([user("b"), user("c")], { page: 2, pages: 2 }),
    ];
    expect(after(...known, ...pages.slice(0, 1)).users).toEqual({ gone: "online", a: "away", b: "online" });
    expect(after(...known, ...pages).users).toEqual({ a: "away", b: "online", c: "online" });
  });
});

describe("a list of users", () => {
  const start = [begin({}), established(), subscribe({ users: ["a", "b"] })];
  const unknown = user("b", "offline", 1, { since: 0 });
  const first = snapshot([user("a"), unknown], { watch: "users" });
  const more = [...start, first, subscribe({ users: ["a", "b", "c"] })];
  const again = snapshot([user("b", "online", 2), user("a", "offline", 2, { since: 0 })], { watch: "users" });
  const restarted = [begin({ users: ["a", "b"] }), established({ session: "t", settling: 15 }), again];

  test("shows all users of the list, also offline ones", () => {
    const found = after(...start, snapshot([user("a", "busy"), unknown], { watch: "users" }));
    expect(found.listed).toEqual({ a: "busy", b: "offline" });
  });

  test("grows by snapshots of the new users alone", () => {
    const found = after(...more, snapshot([user("c")], { watch: "users" }));
    expect(found.listed).toEqual({ a: "online", b: "offline", c: "online" });
  });

  test("shrinks with the subscription", () => {
    const found = after(...more, snapshot([user("c")], { watch: "users" }), subscribe({ users: ["c"] }));
    expect(found.users).toEqual({ c: "online" });
  });

  test("shows a user offline whom the server no longer knows", () => {
    expect(after(...more, again).listed).toEqual({ a: "offline", b: "online", c: "offline" });
  });

  test("keeps such a user as uncertain while a restarted server settles", () => {
    expect(after(...more, ...restarted).users).toEqual({ a: "online?", b: "online" });
    expect(after(...more, ...restarted, settle).users).toEqual({ b: "online" });
  });

  test("shows users who go offline", () => {
    const found = after(
      ...start,
      snapshot([user("a")], { watch: "users" }),
      changes(user("a", "offline", 2, { lastSeen: 5 })),
    );
    expect(found.listed).toEqual({ a: "offline", b: "offline" });
  });
});

describe("a reconnect", () => {
  const start = [
    begin({ everyone: true }),
    established(),
    snapshot([user("a", "online", 8), user("b", "online", 9)]),
  ];

  test("that resumes receives only missed changes", () => {
    const found = after(...start, established({ resumed: true }), changes(user("a", "away", 10)));
    expect(found.users).toEqual({ a: "away", b: "online" });
  });

  test("to another server starts new versions", () => {
    const again = [begin({ everyone: true }), established({ session: "t" }), snapshot([user("a", "busy", 1)])];
    expect(after(...start, ...again).users).toEqual({ a: "busy" });
  });

  test("to a settling server keeps missing users as uncertain until it has settled", () => {
    const settling = [
      ...start,
      begin({ everyone: true }),
      established({ session: "t", settling: 15 }),
      snapshot([user("a")]),
    ];
    expect(after(...settling).users).toEqual({ a: "online", b: "online?" });
    expect(after(...settling, changes(user("b"))).users.b).toBe("online");
    expect(after(...settling, settle).users).toEqual({ a: "online" });
    expect(after(...settling, changes(user("b")), settle).users.b).toBe("online");
  });
});

describe("a room", () => {
  const start = [begin({}), established(), subscribe({ rooms: ["r"] })];
  const full = [...start, room("SNAPSHOT", [member("a"), member("b")], { count: 2, page: 1, pages: 1 })];

  test("has the members of its snapshot", () => {
    const found = after(...full);
    expect(found.rooms).toEqual([["r", "full", 2, ["a", "b"]]]);
    expect(found.listed).toEqual({});
    expect(found.users).toEqual({ a: "online", b: "online" });
  });

  test("changes by members who join and leave", () => {
    const found = after(...full, room("CHANGES", [member("c", "away")], { count: 2, left: ["a"] }));
    expect(found.rooms).toEqual([["r", "full", 2, ["b", "c"]]]);
    expect(found.users, "the server sends nothing more about a").toEqual({ b: "online", c: "away" });
    expect(found.descriptions.at(-1)).toBe("r: c joined; a left · 2 members");
  });

  test("has no members in mode counts", () => {
    const found = after(
      ...full,
      changes(user("b", "busy", 2)),
      room("CHANGES", [], { count: 6000, mode: "counts" }),
    );
    expect(found.rooms).toEqual([["r", "counts", 6000, []]]);
    expect(found.users).toEqual({});
  });

  test("disappears after an unsubscribe, and late changes do not bring it back", () => {
    expect(after(...full, subscribe({})).rooms).toEqual([]);
    expect(after(...full, subscribe({}), room("CHANGES", [member("z")], { count: 3 })).rooms).toEqual([]);
  });

  test("is replaced by the pages of a new snapshot", () => {
    const pages = ["x", "y"].map((id, i) => room("SNAPSHOT", [member(id)], { count: 2, page: i + 1, pages: 2 }));
    expect(after(...full, ...pages).rooms).toEqual([["r", "full", 2, ["x", "y"]]]);
  });
});

test("counts of everyone and of rooms are separate", () => {
  const everyone = message("PRESENCE_COUNT", { watch: "everyone", online: 5 });
  const inRoom = message("PRESENCE_COUNT", { watch: "room", room: "r", online: 2 });
  expect(after(everyone, inRoom).counts).toEqual([
    ["everyone", 5],
    ["room r", 2],
  ]);
});

test.each(["", "null", "[]", '"x"', '{"type":"toString"}', '{"type":"NEW_THING"}', "{}"])(
  "messages of a later server are ignored: %s",
  (json) => {
    expect(parseV1(json)).toBeNull();
  },
);
