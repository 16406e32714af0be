/** The list of users that the page derives from messages, statistics and presenced.v1. */

import { describe, expect, test } from "vitest";

import {
  applyClassicMessage,
  applyEveryone,
  applyStats,
  MAX_SPANS,
  MAX_USERS,
  NO_USERS,
  withoutStatuses,
} from "../../src/presenced/web/demo/presence.js";

/**
 * @typedef {import("../../src/presenced/web/demo/presence.js").Presence} Presence
 * @typedef {(presence: Presence) => Presence} Step
 */

const T = 1_000_000_000_000;

/**
 * @param {string} userId
 * @param {number} at
 * @param {number} [now]
 * @returns {Step}
 */
function online(userId, at, now = at) {
  return (presence) => applyClassicMessage(presence, { type: "USER_ONLINE", userId, at, connectionId: "" }, now);
}

/**
 * @param {string} userId
 * @param {number} at
 * @param {number} [now]
 * @returns {Step}
 */
function offline(userId, at, now = at) {
  return (presence) => applyClassicMessage(presence, { type: "USER_OFFLINE", userId, at, connectionId: "" }, now);
}

/**
 * @param {Record<string, number>} users Connection time by user id.
 * @param {number} requestedAt
 * @param {{ inGrace?: number, complete?: boolean }} [more]
 * @returns {Step}
 */
function stats(users, requestedAt, { inGrace = 0, complete = true } = {}) {
  const sessions = Object.entries(users).map(([userId, connectedAt]) => ({ userId, connectedAt }));
  const response = {
    connectedUsers: sessions.length,
    onlineUsers: sessions.length + inGrace,
    totalConnections: sessions.length,
    sessions,
    complete,
  };
  return (presence) => applyStats(presence, response, requestedAt, requestedAt + 5);
}

/**
 * What a connection of presenced.v1 that watches everyone knows.
 *
 * @param {Record<string, string>} users Status by user id.
 * @param {number} [since]
 * @returns {Step}
 */
function everyone(users, since = T) {
  const known = Object.entries(users).map(([userId, status]) => [userId, presenceOf(userId, status, since)]);
  return (presence) => applyEveryone(presence, new Map(/** @type {[string, any][]} */ (known)), T);
}

/**
 * @param {string} userId
 * @param {string} status
 * @param {number} since
 */
function presenceOf(userId, status, since) {
  return { userId, status, online: status !== "offline", since, text: "", emoji: "", until: 0, devices: [] };
}

/** @param {Step[]} steps */
function after(...steps) {
  return steps.reduce((presence, step) => step(presence), NO_USERS);
}

/** @param {Step[]} steps */
function states(...steps) {
  return [...after(...steps).values()].map(({ userId, online, since }) => [userId, online, since]);
}

/** @param {Step[]} steps */
function statuses(...steps) {
  return [...after(...steps).values()].map(({ userId, online, details }) => [userId, online, details?.status ?? null]);
}

describe("messages of the classic protocol", () => {
  const [on, off] = [online("a", T), offline("a", T + 50)];

  test("set a user online and offline", () => {
    expect(states(on)).toEqual([["a", true, T]]);
    expect(states(on, off)).toEqual([["a", false, T + 50]]);
  });

  test("are ignored if a second connection delivers the same change later", () => {
    expect(states(on, off, on)).toEqual([["a", false, T + 50]]);
  });

  test("keep the first time at which a user came online", () => {
    expect(states(on, online("a", T + 9))).toEqual([["a", true, T]]);
  });

  test("apply if the server's clock was set back by an hour", () => {
    const earlier = T - 3_600_000;
    expect(states(on, offline("a", earlier, T + 50))).toEqual([["a", false, earlier]]);
  });
});

describe("statistics", () => {
  const [on, off] = [online("a", T), offline("a", T + 50)];

  test("add connected users", () => {
    expect(states(stats({ a: T - 500 }, T))).toEqual([["a", true, T - 500]]);
  });

  test("set users offline who are not in a complete list", () => {
    expect(states(on, stats({}, T + 100))).toEqual([["a", false, T + 105]]);
  });

  test("do not override messages that arrived after the request", () => {
    expect(states(on, stats({}, T))).toEqual([["a", true, T]]);
    expect(states(on, off, stats({ a: T }, T + 20))).toEqual([["a", false, T + 50]]);
  });

  test("keep a user who may be in a grace period", () => {
    expect(states(on, stats({}, T + 100, { inGrace: 1 }))).toEqual([["a", true, T]]);
  });

  test("keep a user who may be on the next page", () => {
    expect(states(on, stats({}, T + 100, { complete: false }))).toEqual([["a", true, T]]);
  });

  test("add nobody while some connected users are invisible", () => {
    expect(states(stats({ a: T, b: T }, T, { inGrace: -1 }))).toEqual([]);
  });
});

describe("presenced.v1", () => {
  const came = everyone({ a: "online" });
  const away = everyone({ a: "away" }, T + 5);

  test("sets statuses", () => {
    expect(statuses(came, away)).toEqual([["a", true, "away"]]);
    expect(states(came, away), "online all the time, away since").toEqual([["a", true, T + 5]]);
  });

  test("sets users offline who are not among everyone", () => {
    expect(statuses(came, everyone({ b: "busy" }))).toEqual([
      ["b", true, "busy"],
      ["a", false, null],
    ]);
  });

  test("adds statuses to users known from elsewhere", () => {
    expect(statuses(online("a", T), away)).toEqual([["a", true, "away"]]);
  });

  test("changes nothing if it says nothing new", () => {
    const map = new Map(/** @type {[string, any][]} */ ([["a", presenceOf("a", "busy", T)]]));
    const known = applyEveryone(NO_USERS, map, T);
    expect(applyEveryone(known, map, T + 9)).toBe(known);
  });

  test("loses its statuses when no connection watches everyone", () => {
    expect(statuses(away, withoutStatuses)).toEqual([["a", true, null]]);
  });

  test("yields to later messages of the classic protocol", () => {
    expect(statuses(away, offline("a", T + 9, T))).toEqual([["a", false, null]]);
  });
});

describe("bounds", () => {
  test("the offline user changed longest ago is evicted beyond the maximum number of users", () => {
    const many = Array.from({ length: MAX_USERS + 100 }, (_, i) => online(`u${i}`, i + 1));
    const known = [...after(offline("gone", 1), ...many).keys()];
    expect(known).toHaveLength(500);
    expect(known).not.toContain("gone");
    expect(known.at(-1)).toBe(`u${MAX_USERS + 99}`);
  });

  test("the oldest spans of a user are evicted", () => {
    const steps = Array.from({ length: 100 }, (_, i) => [online("a", 2 * i + 1), offline("a", 2 * i + 2)]).flat();
    expect(after(...steps).get("a")?.spans).toHaveLength(MAX_SPANS);
    expect(MAX_SPANS).toBe(24);
  });
});
