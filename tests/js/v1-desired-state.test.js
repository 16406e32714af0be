/** What a connection of presenced.v1 is for, as the page saves it and as people type it. */

import { expect, test } from "vitest";

import { defaultDesiredState, parseData, parseDesiredState } from "../../src/presenced/web/demo/v1-desired-state.js";

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
