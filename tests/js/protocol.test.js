/** Messages and close codes of the classic protocol. */

import { expect, test } from "vitest";

import codes from "../../spec/codes.json";
import {
  CLOSE_CODES,
  KEEP_SESSION,
  mayReconnect,
  parseMessage,
} from "../../src/presenced/web/demo/protocol.js";

test("the close codes are those of the server", () => {
  const known = [...CLOSE_CODES].map(([code, { meaning, reconnect }]) => ({ code, meaning, reconnect }));
  expect(known).toEqual(codes.close.map(({ code, meaning, reconnect }) => ({ code, meaning, reconnect })));
  expect(codes.clientClose).toContainEqual(expect.objectContaining({ code: KEEP_SESSION, name: "KEEP_SESSION" }));
});

test("a client reconnects after an unknown code", () => {
  expect(mayReconnect(4999)).toBe(true);
  expect(mayReconnect(4410)).toBe(false);
});

test("ids are strings, whatever they are on the wire", () => {
  const timestamp = "2026-01-01T12:00:00.000Z";
  expect(parseMessage(JSON.stringify({ type: "USER_ONLINE", userId: 7, timestamp }))).toEqual({
    type: "USER_ONLINE",
    userId: "7",
    at: Date.parse(timestamp),
    connectionId: "",
  });
});

test.each([
  "",
  "null",
  "[]",
  '"x"',
  '{"type":"toString","userId":1}',
  '{"type":"USER_ONLINE"}',
  '{"type":"USER_AWAY","userId":1}',
  '{"type":"USER_ONLINE","userId":{}}',
])("messages of a later server are ignored: %s", (text) => {
  expect(parseMessage(text)).toBeNull();
});
