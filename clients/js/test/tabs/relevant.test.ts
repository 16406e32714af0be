/** The part of the messages for all tabs that concerns one tab. */

import { describe, expect, test } from "vitest";
import type { SharedClient } from "../../src/client.js";
import type { Message } from "../../src/outbox.js";
import { COUNT, EVERYONE, FULL, JOIN, ROOM, USER } from "../../src/scope.js";
import { relevant } from "../../src/tabs/relevant.js";

const users = [{ userId: "bo" }, { userId: 7 }];

/** Return what a tab with these subscriptions gets of a message. */
function received(agreed: readonly (readonly [string, number])[], message: Message, members: string[] = []): unknown {
  const client = {
    agreed: new Map(agreed),
    hasMember: (id: string) => members.includes(id),
  } as unknown as SharedClient;
  const text = relevant(client, message, JSON.stringify(message));
  return text && JSON.parse(text);
}

describe.each(["PRESENCE_CHANGES", "PRESENCE_SNAPSHOT"])("%s of users", (type) => {
  const message = {
    type,
    ...(type === "PRESENCE_SNAPSHOT" ? { watch: "users", page: 1, pages: 2 } : { position: "p" }),
    users,
  };

  test.each([
    ["the users it watches", [[USER + 7, FULL]], [], [users[1]]],
    ["members of its rooms", [], ["bo"], [users[0]]],
    ["all, if it watches everyone", [[EVERYONE, FULL]], [], users],
    ["none, if it only counts", [[EVERYONE, COUNT]], [], []],
  ] as const)("has %s, and everything else", (_, agreed, members, expected) => {
    expect(received(agreed, message, [...members])).toEqual({ ...message, users: expected });
  });
});

test.each([
  [{ type: "PRESENCE_SNAPSHOT", watch: "everyone", users }, [EVERYONE, FULL]],
  [{ type: "PRESENCE_COUNT", watch: "everyone", online: 1 }, [EVERYONE, COUNT]],
  [{ type: "PRESENCE_COUNT", watch: "room", room: "a", online: 1 }, [`${ROOM}a`, COUNT]],
  [{ type: "ROOM_SNAPSHOT", room: "a" }, [`${ROOM}a`, FULL]],
  [{ type: "ROOM_CHANGES", room: "a" }, [`${ROOM}a`, JOIN]],
] as const)("%j only reaches tabs that asked", (message, [scope, bit]) => {
  expect(received([[scope, bit]], message)).toEqual(message);
  expect(received([[scope, bit === COUNT ? FULL : COUNT]], message)).toBeUndefined();
  expect(received([[USER + 7, FULL]], message)).toBeUndefined();
});

test("an ERROR about a room only reaches tabs that asked for it", () => {
  const message = { type: "ERROR", code: 114, name: "NOT_ALLOWED", message: "", room: "a" };
  for (const bit of [COUNT, FULL, JOIN]) expect(received([[`${ROOM}a`, bit]], message)).toEqual(message);
  expect(received([[`${ROOM}b`, FULL]], message)).toBeUndefined();
  const { room: _, ...other } = message;
  expect(received([], other)).toEqual(other);
});

test.each(["SELF", "GOING_AWAY", "CHAT", "ACK"])("%s reaches every tab that it is sent to", (type) => {
  expect(received([], { type, room: "a" })).toEqual({ type, room: "a" });
});
