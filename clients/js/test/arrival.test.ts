/** The first messages of a connection usually arrive one by one. The client sends requests before it has all of them. */

import { expect, test, vi } from "vitest";

import { settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, drop, establish, nextAttempt, type Page } from "./support/page.js";
import { requests } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

/** A client that reads bob and is a member of the hall. Its connection is lost, and the next one has just opened. */
async function returning(fields: Readonly<Record<string, unknown>>) {
  const page = await connected();
  const { host, client } = page;
  client.user("bob").subscribe(() => {});
  await client.join("hall").joined;
  await receive(host, snapshot("users", [record("bob", "online", 1)]), roomSnapshot("hall", [member("ada", 1)]));
  await receive(host, changes());
  const joined: boolean[] = [];
  client.room("hall").subscribe(() => joined.push(client.room("hall").get().joined));
  await drop(host);
  await nextAttempt(page);
  await open(page, fields);
  return { ...page, stale: () => client.connection.get().stale, joined };
}

/** The server accepts the connection and every request. Its other messages are still on their way. */
async function open({ host }: Page, fields: Readonly<Record<string, unknown>>): Promise<void> {
  const { socket } = host;
  const later: string[] = [];
  const receiveText = vi.spyOn(socket, "receiveText").mockImplementation((text) => {
    later.push(text);
    return socket;
  });
  socket.establish(fields, host.time);
  receiveText.mockRestore();
  socket.receiveText(later[0] ?? "").acceptAll();
  await settle();
}

const bob = snapshot("users", [record("bob", "away", 2)]);
const hall = roomSnapshot("hall", [member("ada", 1)]);
const self: Message = { type: "SELF", status: "online", chosen: "auto" };

test("a resumed session is stale until the changes that were missed have arrived", async () => {
  const { host, client, stale } = await returning({ resumed: true });
  await receive(host, self);
  expect([stale(), requests(host)]).toEqual([true, []]);
  await receive(host, changes(record("bob", "away", 2)));
  expect([stale(), client.user("bob").get().status]).toEqual([false, "away"]);
});

test("a resynced session is stale until the snapshots have arrived, and requests nothing again", async () => {
  const { host, stale } = await returning({ resumed: false });
  for (const message of [self, bob, hall]) {
    await receive(host, message);
    expect(stale()).toBe(true);
  }
  await receive(host, changes());
  expect([stale(), requests(host)]).toEqual([false, []]);
});

test("a resynced session that lacks a scope requests it again at once", async () => {
  const { host, stale } = await returning({ resumed: false });
  await receive(host, self, hall, changes());
  expect([stale(), requests(host)]).toEqual([true, ["WATCH bob"]]);
  await receive(host, bob, changes());
  expect(stale()).toBe(false);
});

test("a new session requests everything once, and the room stays joined meanwhile", async () => {
  const { host, stale, joined } = await returning({ resumed: false, sessionId: "session-2" });
  await receive(host, self, changes());
  expect([stale(), requests(host)]).toEqual([true, ["JOIN hall", "WATCH bob"]]);
  await receive(host, bob, hall, changes());
  expect([stale(), requests(host).length]).toEqual([false, 2]);
  expect(joined).not.toContain(false);
});

test.each([
  ["a room", "hall", [bob]],
  ["a user", "bob", [hall]],
])(
  "in a new session, %s that is still to come keeps the client stale, although everything is shown",
  async (_, which, first) => {
    const { host, client, stale } = await returning({ resumed: false, sessionId: "session-2" });
    await receive(host, self, ...first, changes());
    expect([stale(), client.room("hall").get().known, client.user("bob").get().online]).toEqual([true, true, true]);
    await receive(host, which === "hall" ? hall : bob, changes());
    expect(stale()).toBe(false);
  },
);

test("a snapshot of everyone does not stand for a room that is still to come", async () => {
  const { host, client, stale } = await returning({ resumed: false, sessionId: "session-2" });
  client.everyone.subscribe(() => {});
  await receive(host, self, snapshot("everyone", [record("bob", "away", 2)]), changes());
  expect([stale(), client.user("bob").get().status]).toEqual([true, "away"]);
  await receive(host, hall, changes());
  expect(stale()).toBe(false);
});

test("changes of a room whose snapshot is still to come do not mix with its earlier members", async () => {
  const { host, client } = await returning({ resumed: false, sessionId: "session-2" });
  const before = client.room("hall").get();
  const news = { type: "ROOM_CHANGES", room: "hall", mode: "full", count: 2, members: [member("carl", 1)] };
  await receive(host, self, news, changes());
  expect(client.room("hall").get()).toBe(before);
  await receive(host, roomSnapshot("hall", [member("ada", 1), member("carl", 1)]), changes());
  expect([...client.room("hall").get().members.keys()]).toEqual(["ada", "carl"]);
});

test("a user whose first answer was lost with the connection keeps the resumed session stale", async () => {
  const page = await connected({ linger: 0 });
  const { host, client } = page;
  const end = client.user("bob").subscribe(() => {});
  await receive(host, bob, changes());
  end();
  await host.advance(0);
  client.user("carl").subscribe(() => {});
  await settle();
  expect(requests(host)).toEqual(["WATCH bob", "UNWATCH bob", "WATCH carl"]);
  await drop(host);
  await nextAttempt(page);
  await establish(host, { resumed: true });
  expect(client.connection.get().stale).toBe(true);
  await receive(host, snapshot("users", [record("carl", "online", 3)]), changes());
  expect(client.connection.get().stale).toBe(false);
});

test("self has the id that the server gave the user", async () => {
  const { client } = await connected();
  expect(client.self.get()?.userId).toBe("ada");
});
