/** Snapshots of everyone, settling servers, and what stays without a connection. */

import { describe, expect, test } from "vitest";

import type { Presence } from "../src/index.js";
import { settle } from "./support/fake-host.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";
import { knowing, read, status } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

describe("snapshot of everyone", () => {
  test("a user on none of its pages is offline", async () => {
    const page = await connected();
    const { host, client } = page;
    client.everyone.subscribe(() => {});
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1), record("carl", "online", 2)]), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, {}, [snapshot("everyone", [record("carl", "online", 1)])]);
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["offline", "online"]);
    await host.advance(100);
    expect([...client.everyone.get().keys()]).toEqual(["carl"]);
  });

  test("everyone is known once the server has answered, although nobody is there", async () => {
    const page = await connected();
    const { host, client } = page;
    const seen: unknown[] = [];
    const end = client.everyone.subscribe(() => seen.push([client.everyone.get().known, client.everyone.get().size]));
    expect(client.everyone.get().known).toBe(false);
    await settle();
    await receive(host, snapshot("everyone", []), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    expect(client.everyone.get().known).toBe(true);
    end();
    await host.advance(30_000);
    expect(client.everyone.get().known).toBe(false);
    expect(seen).toEqual([[true, 0]]);
  });

  test("a user that no message mentioned is offline, too", async () => {
    const { host, client } = await connected();
    client.everyone.subscribe(() => {});
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]), changes());
    expect(status(client, "zoe")).toBe("offline");
  });

  test("it is the answer for users by id, too: the server sends no other", async () => {
    const { host, client } = await connected();
    client.everyone.subscribe(() => {});
    read(client, "bob", "zoe");
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]), changes());
    expect([status(client, "bob"), status(client, "zoe")]).toEqual(["online", "offline"]);
    expect(client.connection.get().stale).toBe(false);
    await receive(host, changes(record("zoe", "online", 2)));
    expect(status(client, "zoe")).toBe("online");
  });

  test("in a new session, it is the answer for users by id, too", async () => {
    const page = await knowing(["bob", "zoe"]);
    const { host, client } = page;
    client.everyone.subscribe(() => {});
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]), changes());
    expect([status(client, "bob"), status(client, "zoe")]).toEqual(["online", "offline"]);
    expect(client.connection.get().stale).toBe(false);
  });

  test("the client is up to date although the snapshot does not name a user by id, who was never known", async () => {
    const { host, client } = await connected();
    client.everyone.subscribe(() => {});
    read(client, "zoe");
    const page = { host, client };
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    expect(client.connection.get().stale).toBe(true);
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]), changes());
    expect([status(client, "zoe"), client.connection.get().stale]).toEqual(["offline", false]);
  });

  test("a user by id stays known after everyone is no longer read, also to the next connection", async () => {
    const page = await knowing(["bob"], { linger: 0 });
    const { host, client } = page;
    const end = client.everyone.subscribe(() => {});
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]), changes());
    end();
    await host.advance(0);
    await receive(host, changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", resumed: true });
    expect([status(client, "bob"), client.connection.get().stale]).toEqual(["online", false]);
  });

  test("a user who came online during a restart of the server is a change", async () => {
    const page = await connected();
    const { host, client } = page;
    let calls = 0;
    client.everyone.subscribe(() => {
      calls += 1;
    });
    const seen: string[] = [];
    client.watch(["zoe"], ({ status }, previous) => seen.push(`${previous.status} ${status}`));
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 100)]), changes());
    await host.advance(1_000);
    const before = calls;
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
    await receive(host, snapshot("everyone", [record("zoe", "online", 1)]), changes());
    expect([seen, calls, [...client.everyone.get().keys()]]).toEqual([["offline online"], before + 1, ["bob", "zoe"]]);
  });

  test("versions of an earlier start of the server do not count, for users whom the new snapshot omits, too", async () => {
    const page = await connected();
    const { host, client } = page;
    client.everyone.subscribe(() => {});
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 100)]), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2" });
    await receive(host, snapshot("everyone", []), changes());
    expect(status(client, "bob")).toBe("offline");
    await receive(host, changes(record("bob", "busy", 1)));
    expect(status(client, "bob")).toBe("busy");
  });

  test("the map is current when the client is up to date", async () => {
    const page = await connected();
    const { host, client } = page;
    client.everyone.subscribe(() => {});
    const seen: string[] = [];
    const keys = () => [...client.everyone.get().keys()].join();
    client.on("reconnected", () => seen.push(`reconnected ${keys()}`));
    client.on("connection", ({ stale }) => stale || seen.push(`current ${keys()}`));
    client.room("hall").subscribe(() => {});
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]), roomSnapshot("hall", []), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
    const users = [record("carl", "online", 1), record("dora", "online", 2)];
    await receive(host, roomSnapshot("hall", [member("carl", 1)]), snapshot("everyone", users), changes());
    await host.advance(15_000);
    expect(seen).toEqual(["reconnected bob,carl,dora", "current carl,dora"]);
  });

  test("while the server is settling, the known users of a returning client stay as they are", async () => {
    const page = await connected();
    const { host, client } = page;
    client.everyone.subscribe(() => {});
    read(client, "dora");
    await settle();
    const users = ["bob", "carl"].map((id) => record(id, "online", 100));
    await receive(host, snapshot("everyone", users), snapshot("users", [record("dora", "busy", 9)]), changes());
    const seen: Presence[] = [];
    client.watch(["bob", "carl", "dora"], (user) => seen.push(user));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
    const known = snapshot("users", [
      record("bob", "offline", 1, { since: 0 }),
      record("dora", "offline", 1, { since: 0 }),
    ]);
    await receive(host, snapshot("everyone", [record("carl", "online", 1)]), known, changes());
    expect(["bob", "carl", "dora"].map((id) => status(client, id))).toEqual(["online", "online", "busy"]);
    expect(client.connection.get().stale).toBe(true);
    await host.advance(10_000);
    await receive(host, changes(record("dora", "busy", 2)));
    await host.advance(4_999);
    expect(status(client, "bob")).toBe("online");
    await host.advance(1);
    expect(["bob", "carl", "dora"].map((id) => status(client, id))).toEqual(["offline", "online", "busy"]);
    expect(client.connection.get().stale).toBe(false);
    expect(seen.map(({ userId }) => userId)).toEqual(["bob"]);
  });

  test("the client is up to date once all who were online are back", async () => {
    const page = await knowing(["bob", "carl", "dora"]);
    const { host, client } = page;
    await receive(host, changes(record("dora", "offline", 1_000)));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
    const absent = ["carl", "dora"].map((id) => record(id, "offline", 1, { since: 0 }));
    await receive(host, snapshot("users", [record("bob", "online", 1), ...absent]), changes());
    expect(client.connection.get().stale).toBe(true);
    await receive(host, changes(record("carl", "online", 2)));
    expect([client.connection.get().stale, status(client, "dora")]).toEqual([false, "offline"]);
  });

  test("a user who returns after the server has settled counts with any version", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, changes(record("bob", "online", 1_000)));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
    await receive(host, snapshot("users", [record("bob", "offline", 1, { since: 0 })]), changes());
    await host.advance(15_000);
    expect(status(client, "bob")).toBe("offline");
    await receive(host, changes(record("bob", "online", 2)));
    expect(status(client, "bob")).toBe("online");
  });

  test("news about a user from a settling server is shown at once", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
    await receive(host, snapshot("users", [record("bob", "offline", 2)]), changes());
    expect(status(client, "bob")).toBe("offline");
  });

  test("a client that knows nobody need not wait", async () => {
    const { host, client } = await connecting();
    read(client, "bob");
    await establish(host, { settling: 15 });
    await receive(host, snapshot("users", [record("bob", "offline", 1, { since: 0 })]), changes());
    expect([status(client, "bob"), client.connection.get().stale]).toEqual(["offline", false]);
  });
});

describe("without a connection", () => {
  test("everyone stays as known for forgetAfter, and is unknown then", async () => {
    const { host, client } = await knowing(["bob"], { forgetAfter: 60 });
    await drop(host);
    await host.signal("offline");
    await host.advance(59_999);
    expect(status(client, "bob")).toBe("online");
    await host.advance(1);
    expect(status(client, "bob")).toBe("unknown");
  });

  test("the default is the server's resumeWindow", async () => {
    const { host, client } = await knowing(["bob"]);
    await drop(host);
    await host.signal("offline");
    await host.advance(119_999);
    expect(status(client, "bob")).toBe("online");
    await host.advance(1);
    expect(status(client, "bob")).toBe("unknown");
  });

  test("failed attempts do not begin the time anew", async () => {
    const { host, client } = await knowing(["bob"], { forgetAfter: 60 });
    host.onOpen = (socket) => queueMicrotask(() => socket.drop());
    await drop(host);
    await host.advance(60_000);
    expect(host.sockets.length).toBeGreaterThan(3);
    expect(status(client, "bob")).toBe("unknown");
  });

  test("a client that has forgotten everyone asks for everything again, also if its session goes on", async () => {
    const page = await knowing(["bob"], { forgetAfter: 60 });
    const { host, client } = page;
    await drop(host);
    await host.signal("offline");
    await host.advance(60_000);
    await host.signal("online");
    await host.advance(250);
    expect(host.socket.parameters).toMatchObject({ session: "session-1" });
    expect(host.socket.parameters).not.toHaveProperty("position");
    await establish(host, {}, [snapshot("users", [record("bob", "online", 1)])]);
    expect([status(client, "bob"), client.connection.get().stale]).toEqual(["online", false]);
  });

  test("nothing is forgotten while an attempt may resume the session: the server sends only what was missed", async () => {
    const page = await knowing(["bob", "carl"], { forgetAfter: 60 });
    const { host, client } = page;
    await drop(host);
    await host.advance(45_000);
    await host.signal("visible"); // a new attempt, which is still opening when the time is over
    await host.advance(59_900 - 45_000);
    host.socket.drop();
    client.retry();
    await settle();
    expect(host.socket.parameters).toHaveProperty("position");
    await host.advance(5_000);
    expect(status(client, "bob")).toBe("online");
    await establish(host, { resumed: true });
    await receive(host, changes(record("carl", "busy", 2)));
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["online", "busy"]);
    expect(client.connection.get().stale).toBe(false);
  });

  test("if that attempt fails, everyone is unknown", async () => {
    const { host, client } = await knowing(["bob"], { forgetAfter: 60 });
    await drop(host);
    await host.advance(59_900);
    client.retry();
    await settle();
    await host.advance(5_000);
    await drop(host);
    expect(status(client, "bob")).toBe("unknown");
    await host.advance(30_000);
    expect(host.socket.parameters).not.toHaveProperty("position");
  });

  test("rooms and counts that were forgotten are known again with the same session", async () => {
    const { host, client } = await connected({ forgetAfter: 60 });
    client.room("hall").subscribe(() => {});
    client.count("everyone").subscribe(() => {});
    await client.join("lobby", { seat: 1 }).joined;
    const count = { type: "PRESENCE_COUNT", watch: "everyone", online: 7 };
    const rooms = [roomSnapshot("hall", [member("bob", 1)]), roomSnapshot("lobby", [member("ada", 2)])];
    await receive(host, ...rooms, count as never, changes());
    await drop(host);
    await host.signal("offline");
    await host.advance(60_000);
    expect(client.room("lobby").get()).toMatchObject({ known: false, joined: true, count: 0 });
    await host.signal("online");
    await host.advance(250);
    await establish(host, {}, [count as never, ...rooms]);
    expect(client.room("hall").get()).toMatchObject({ known: true, joined: false, count: 1 });
    expect(client.room("lobby").get()).toMatchObject({ known: true, joined: true, count: 1 });
    expect([client.count("everyone").get(), client.connection.get().stale]).toEqual([7, false]);
  });

  test("what the server rendered is shown until the server says something else", async () => {
    const initial = { at: 1_000, users: [record("bob", "busy", 7)] };
    const { host, client } = await connecting({ initial });
    expect([status(client, "bob"), client.connection.get().stale]).toEqual(["busy", true]);
    read(client, "bob");
    await establish(host);
    await receive(host, snapshot("users", [record("bob", "away", 3)]), changes());
    expect(status(client, "bob")).toBe("away");
  });
});
