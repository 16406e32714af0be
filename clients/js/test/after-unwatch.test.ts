/** Messages that the server sent before it processed the end of a subscription. */

import { expect, test } from "vitest";

import { settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected } from "./support/page.js";
import { read, requests, status } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

test("a snapshot of everyone has no effect once everyone is no longer watched", async () => {
  const { host, client } = await connected({ linger: 0 });
  read(client, "carl", "dave");
  const end = client.everyone.subscribe(() => {});
  await settle();
  end();
  await host.advance(0);
  expect(requests(host)).toEqual(["WATCH everyone carl,dave", "UNWATCH everyone"]);
  const users = [record("bob", "online", 1), record("carl", "online", 2)];
  await receive(host, snapshot("everyone", users), changes());
  const seen = ["bob", "carl", "dave", "zoe"].map((id) => status(client, id));
  expect([seen, client.connection.get().stale]).toEqual([["unknown", "online", "offline", "unknown"], false]);
  expect([...client.everyone.get().keys()]).toEqual(["carl"]);
});

test("records of users who are no longer watched are ignored", async () => {
  const { host, client } = await connected({ linger: 0 });
  const [end] = read(client, "bob");
  await settle();
  end?.();
  await host.advance(0);
  await receive(host, snapshot("users", [record("bob", "online", 1)]), changes(record("bob", "busy", 2)));
  expect(status(client, "bob")).toBe("unknown");
});

test("a room that is no longer watched stays unknown, and so do its members", async () => {
  const { host, client } = await connected({ linger: 0 });
  const end = client.room("hall").subscribe(() => {});
  await settle();
  end();
  await host.advance(0);
  const news = { type: "ROOM_CHANGES", room: "hall", count: 2, mode: "full", members: [member("carl", 1)] };
  await receive(host, roomSnapshot("hall", [member("bob", 1)]), news as Message, changes());
  expect(client.room("hall").get()).toMatchObject({ known: false, count: 0 });
  expect(["bob", "carl"].map((id) => status(client, id))).toEqual(["unknown", "unknown"]);
});

test("a count that is no longer watched stays unknown", async () => {
  const { host, client } = await connected({ linger: 0 });
  const end = client.count("everyone").subscribe(() => {});
  await settle();
  end();
  await host.advance(0);
  await receive(host, { type: "PRESENCE_COUNT", watch: "everyone", online: 7 } as Message, changes());
  expect(client.count("everyone").get()).toBe(null);
});
