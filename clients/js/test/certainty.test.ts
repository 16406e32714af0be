/** A server that has lost the store that it shares with other servers. */

import { describe, expect, test } from "vitest";

import type { Presence } from "../src/index.js";
import type { Message } from "./support/fake-socket.js";
import { connected, drop, establish, nextAttempt } from "./support/page.js";
import { knowing, read, status } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

const STALE: Message = { type: "CERTAINTY", certainty: "stale", since: 5 };
const LIVE: Message = { type: "CERTAINTY", certainty: "live" };
const marked = { certainty: "stale" };

describe("the connection", () => {
  test("is stale until the server is certain again, and users stay as they were", async () => {
    const { host, client } = await knowing(["bob"]);
    const seen: boolean[] = [];
    client.on("connection", ({ stale }) => seen.push(stale));
    await receive(host, STALE);
    expect(client.user("bob").get()).toMatchObject({ status: "online", certain: true });
    await receive(host, changes(record("bob", "busy", 2)), STALE);
    expect(status(client, "bob")).toBe("busy");
    await receive(host, LIVE);
    expect(seen).toEqual([true, false]);
  });

  test("is stale from the beginning if the first message says so, but ready", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await drop(host);
    await nextAttempt(page);
    await establish(host, { resumed: true, staleSince: 5 });
    await receive(host, changes());
    await client.ready();
    expect(client.connection.get()).toMatchObject({ state: "open", stale: true });
    await receive(host, LIVE);
    expect(client.connection.get()).toMatchObject({ state: "open", stale: false });
  });

  test("is no longer stale if the next server is certain", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, STALE, changes(record("bob", "offline", 2, marked)));
    await drop(host);
    await nextAttempt(page);
    expect(client.user("bob").get().certain).toBe(false);
    await establish(host, { resumed: true });
    await receive(host, changes());
    expect([client.connection.get().stale, client.user("bob").get().certain]).toEqual([false, true]);
  });
});

describe("a user", () => {
  test("is uncertain if the record says so, until a newer record or the end", async () => {
    const { host, client } = await knowing(["bob", "carl"]);
    const seen: [string, boolean][] = [];
    client.watch(["bob", "carl"], ({ userId, certain }: Presence) => seen.push([String(userId), certain]));
    await receive(host, STALE, changes(record("bob", "offline", 2, marked), record("carl", "offline", 3, marked)));
    await receive(host, changes(record("carl", "online", 4)));
    expect(client.user("bob").get()).toMatchObject({ status: "offline", version: 2, certain: false });
    const before = client.user("carl").get();
    await receive(host, LIVE);
    expect(client.user("bob").get()).toMatchObject({ status: "offline", version: 2, certain: true });
    expect(client.user("carl").get()).toBe(before);
    expect(seen).toEqual([
      ["bob", false],
      ["carl", false],
      ["carl", true],
      ["bob", true],
    ]);
  });

  test("is certain before the connection is no longer stale", async () => {
    const { host, client } = await knowing(["bob"]);
    await receive(host, STALE, changes(record("bob", "offline", 2, marked)));
    const seen: unknown[] = [];
    client.on("connection", ({ stale }) => seen.push([stale, client.user("bob").get().certain]));
    await receive(host, LIVE);
    expect(seen).toEqual([[false, true]]);
  });

  test("who is hidden outside a room is certain again, too, after leaving it", async () => {
    const { host, client } = await connected({ linger: 0 });
    client.room("hall").subscribe(() => {});
    read(client, "bob");
    await receive(host, STALE);
    await receive(host, roomSnapshot("hall", [member("bob", 1)]), changes());
    await receive(host, snapshot("users", [record("bob", "offline", 9, { since: 0, ...marked })]), changes());
    await receive(host, LIVE);
    expect(status(client, "bob")).toBe("online");
    await receive(host, { type: "ROOM_CHANGES", room: "hall", count: 0, mode: "full", left: ["bob"] });
    expect(client.user("bob").get()).toMatchObject({ status: "offline", certain: true });
  });
});
