/** Requests that establish the desired state of a connection of presenced.v1. */

import { describe, expect, test } from "vitest";

import {
  allRequests,
  defaultDesiredState,
  parseData,
  parseDesiredState,
  WATCH_EVERYONE,
  WATCH_NOBODY,
  watchRequests,
} from "../../src/presenced/web/demo/v1-desired-state.js";

/** @typedef {import("../../src/presenced/web/demo/v1-desired-state.js").DesiredWatch} DesiredWatch */

/**
 * @param {string[]} users
 * @returns {DesiredWatch}
 */
const watchUsers = (...users) => ({ target: "users", users, countOnly: false });

describe("a changed subscription", () => {
  const some = watchUsers("a", "b");
  const requestOf = {
    everyone: { type: "WATCH", everyone: true },
    notEveryone: { type: "UNWATCH", everyone: true },
  };

  test("needs no request if nothing changed", () => {
    expect(watchRequests(WATCH_EVERYONE, WATCH_EVERYONE)).toEqual([]);
    expect(watchRequests(some, some)).toEqual([]);
  });

  test("subscribes to everyone and unsubscribes", () => {
    expect(watchRequests(WATCH_EVERYONE, WATCH_NOBODY)).toEqual([requestOf.notEveryone]);
    expect(watchRequests(WATCH_NOBODY, WATCH_EVERYONE)).toEqual([requestOf.everyone]);
  });

  test("replaces everyone by a list", () => {
    expect(watchRequests(WATCH_EVERYONE, some)).toEqual([
      requestOf.notEveryone,
      { type: "WATCH", users: ["a", "b"] },
    ]);
  });

  test("sends only the difference of two lists", () => {
    expect(watchRequests(some, watchUsers("b", "c"))).toEqual([
      { type: "UNWATCH", users: ["a"] },
      { type: "WATCH", users: ["c"] },
    ]);
  });

  test("replaces names by a count, and a count by names", () => {
    expect(watchRequests(some, { ...some, countOnly: true })).toEqual([
      { type: "UNWATCH", users: ["a", "b"] },
      { type: "WATCH", users: ["a", "b"], mode: "count" },
    ]);
    expect(watchRequests({ ...WATCH_EVERYONE, countOnly: true }, WATCH_EVERYONE)).toEqual([
      requestOf.notEveryone,
      requestOf.everyone,
    ]);
  });
});

test("a new session requests what its URL does not", () => {
  const desired = {
    ...defaultDesiredState("phone"),
    watch: watchUsers("a"),
    rooms: [
      { name: "lobby", joined: true, data: '{"seat":1}' },
      { name: "hall", joined: false, data: "" },
    ],
  };
  expect(allRequests(desired, WATCH_NOBODY)).toEqual([
    { type: "WATCH", users: ["a"] },
    { type: "JOIN", room: "lobby", data: { seat: 1 } },
    { type: "WATCH", rooms: ["hall"] },
  ]);
});

test("a saved state is restored, and anything else is ignored", () => {
  const desired = { ...defaultDesiredState("phone"), session: "s" };
  expect(parseDesiredState(JSON.stringify(desired))).toEqual(desired);
  for (const json of ["", "null", "7", "{}", '{"device":"x"}']) expect(parseDesiredState(json)).toBeNull();
});

test.each([
  ["", ""],
  ["  ", ""],
  ["hello", '"hello"'],
  ['{"a": 1}', '{"a":1}'],
  ["7", "7"],
  ['"x"', '"x"'],
  ["{a", '"{a"'],
])("typed data is JSON or becomes a string: %s", (typed, json) => {
  expect(parseData(typed)).toBe(json);
});
