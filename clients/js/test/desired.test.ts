/** Desired state: who reads what, and what the server is asked for. */

import { describe, expect, test } from "vitest";

import { settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";
import { knowing, read, requests, status } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

describe("reading", () => {
  test("1,000 readers are one WATCH of 1,000 ids", async () => {
    const { host, client } = await connected();
    read(client, ...Array.from({ length: 1_000 }, (_, id) => id));
    await host.advance(1_000);
    expect(host.socket.sent.length).toBe(1);
    expect(host.socket.sent[0]).toMatchObject({ type: "WATCH" });
    expect(host.socket.sent[0]?.users).toHaveLength(1_000);
  });

  test("before the connection opens, readers wait, and are one request, too", async () => {
    const { host, client } = await connecting();
    read(client, "bob");
    await settle();
    client.room("lobby").subscribe(() => {});
    client.everyone.subscribe(() => {});
    await settle();
    await establish(host);
    expect(requests(host)).toEqual(["WATCH everyone bob lobby"]);
  });

  test("7 and '7' are the same user, and several readers of one user are one subscription", async () => {
    const { host, client } = await connected();
    read(client, 7, "7", 7);
    await settle();
    expect(requests(host)).toEqual(["WATCH 7"]);
    await receive(host, snapshot("users", [record(7, "busy", 1)]));
    expect([status(client, 7), status(client, "7")]).toEqual(["busy", "busy"]);
    expect(client.user("7").get()).toBe(client.user(7).get());
    expect(client.user("7").get().userId).toBe(7);
  });

  test("get() alone subscribes nothing", async () => {
    const { host, client } = await connected();
    client.user("bob").get();
    client.users(["bob"]).get();
    client.room("lobby").get();
    client.everyone.get();
    await host.advance(1_000);
    expect(host.socket.sent).toEqual([]);
  });

  test("subscribe, unsubscribe and subscribe in one turn, as StrictMode does, is one request", async () => {
    const { host, client } = await connected({ linger: 0 });
    for (const store of [client.user("bob"), client.room("lobby"), client.everyone, client.count("everyone")]) {
      store.subscribe(() => {})();
      store.subscribe(() => {});
    }
    client.join("hall", { seat: 1 }).leave();
    client.join("hall", { seat: 1 });
    await host.advance(1_000);
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}', "WATCH everyone bob lobby", "WATCH everyone count"]);
  });

  test("the same, once it is subscribed, sends nothing", async () => {
    const { host, client } = await connected({ linger: 0 });
    const end = client.user("bob").subscribe(() => {});
    const membership = client.join("hall");
    await settle();
    const { length } = host.socket.sent;
    end();
    client.user("bob").subscribe(() => {});
    membership.leave();
    client.join("hall");
    await settle();
    expect(requests(host).slice(length)).toEqual([]);
  });

  test("users(): one map, the same object until one of them changes", async () => {
    const { host, client } = await knowing(["bob", "carl"]);
    const store = client.users(["bob", "carl"]);
    const before = store.get();
    expect([...before].map(([id, user]) => [id, user.status])).toEqual([
      ["bob", "online"],
      ["carl", "online"],
    ]);
    expect(store.get()).toBe(before);
    await receive(host, changes(record("dora", "online", 2)));
    expect(store.get()).toBe(before);
    await receive(host, changes(record("carl", "away", 2)));
    expect(store.get()).not.toBe(before);
    expect(store.get().get("bob")).toBe(before.get("bob"));
  });

  test("a room, a count and everyone by count", async () => {
    const { host, client } = await connected();
    client.count("everyone").subscribe(() => {});
    client.count({ room: "lobby" }).subscribe(() => {});
    await settle();
    expect(requests(host)).toEqual(["WATCH everyone lobby count"]);
    expect(client.count("everyone").get()).toBeNull();
    await receive(
      host,
      { type: "PRESENCE_COUNT", watch: "everyone", online: 4_711 } as Message,
      { type: "PRESENCE_COUNT", watch: "room", room: "lobby", online: 12 } as Message,
    );
    expect([client.count("everyone").get(), client.count({ room: "lobby" }).get()]).toEqual([4_711, 12]);
  });
});

test("the end of a count leaves what is also read in full, and the other way round", async () => {
  const { host, client } = await connected({ linger: 0 });
  const endRoom = client.room("hall").subscribe(() => {});
  const endCount = client.count({ room: "hall" }).subscribe(() => {});
  await settle();
  endCount();
  await host.advance(0);
  expect(requests(host)).toEqual(["WATCH hall", "WATCH hall count"]);
  client.count({ room: "hall" }).subscribe(() => {});
  endRoom();
  await host.advance(0);
  expect(requests(host).slice(2)).toEqual(["UNWATCH hall", "WATCH hall count"]);
});

describe("linger", () => {
  test("a user stays subscribed for 30 s after the last reader has left", async () => {
    const { host, client, ends } = await knowing(["bob"]);
    for (const end of ends) end();
    await host.advance(29_999);
    expect([requests(host), status(client, "bob")]).toEqual([["WATCH bob"], "online"]);
    await host.advance(1);
    expect([requests(host), status(client, "bob")]).toEqual([["WATCH bob", "UNWATCH bob"], "unknown"]);
  });

  test("a user who is read again meanwhile stays, even if the reading began just before the end", async () => {
    const { host, client, ends } = await knowing(["bob"], { linger: 5 });
    for (const end of ends) end();
    await host.advance(4_999);
    read(client, "bob");
    await host.advance(60_000);
    expect(requests(host)).toEqual(["WATCH bob"]);
  });

  test("each end of reading begins anew", async () => {
    const { host, client, ends } = await knowing(["bob"], { linger: 5 });
    for (const end of ends) end();
    await host.advance(4_000);
    const [end] = read(client, "bob");
    end?.();
    await host.advance(4_999);
    expect(requests(host)).toEqual(["WATCH bob"]);
    await host.advance(1);
    expect(requests(host)).toEqual(["WATCH bob", "UNWATCH bob"]);
  });

  test("users who end together are one UNWATCH", async () => {
    const { host, ends } = await knowing(["bob", "carl", "dora"], { linger: 5 });
    for (const end of ends) end();
    await host.advance(5_000);
    expect(requests(host)).toEqual(["WATCH bob,carl,dora", "UNWATCH bob,carl,dora"]);
  });

  test("a second call of the function that ends a reading changes nothing", async () => {
    const { host, client, ends } = await knowing(["bob"], { linger: 5 });
    read(client, "bob");
    for (const end of [...ends, ...ends]) end();
    await host.advance(60_000);
    expect(requests(host)).toEqual(["WATCH bob"]);
  });

  test("a reading that ends while another connection opens is not requested again", async () => {
    const page = await knowing(["bob", "carl"], { linger: 1 });
    const { host, ends } = page;
    await drop(host);
    ends[0]?.();
    await host.advance(50);
    await nextAttempt(page);
    await host.advance(1_000);
    await establish(host, { sessionId: "session-2" });
    expect(requests(host)).toEqual(["WATCH carl"]);
  });
});

describe("UNWATCH is sent", () => {
  test("the record is forgotten, and unknown until the server answers again", async () => {
    const { host, client, ends } = await knowing(["bob"], { linger: 1 });
    for (const end of ends) end();
    await host.advance(1_000);
    read(client, "bob");
    await settle();
    expect(status(client, "bob")).toBe("unknown");
    await receive(host, snapshot("users", [record("bob", "away", 1)]));
    expect(status(client, "bob")).toBe("away"); // the same version, from another answer
  });

  test("without an answer, the next connection asks for everything: else there may be no snapshot", async () => {
    const page = await knowing(["bob"], { linger: 1 });
    const { host, client, ends } = page;
    await receive(host, changes());
    host.socket.onSend = () => {};
    for (const end of ends) end();
    await host.advance(1_000);
    read(client, "bob");
    await drop(host);
    await nextAttempt(page);
    expect(host.socket.parameters).toMatchObject({ session: "session-1" });
    expect(host.socket.parameters).not.toHaveProperty("position");
  });

  test("a user who is covered otherwise stays known", async () => {
    const { host, client } = await connected({ linger: 1 });
    client.everyone.subscribe(() => {});
    const [end] = read(client, "bob");
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]), changes());
    end?.();
    await host.advance(1_000);
    expect([requests(host).at(-1), status(client, "bob")]).toEqual(["UNWATCH bob", "online"]);
  });

  test("a member of a room stays known while the room is read", async () => {
    const { host, client } = await connected({ linger: 1 });
    client.room("hall").subscribe(() => {});
    const [end] = read(client, "bob");
    await settle();
    await receive(
      host,
      snapshot("users", [record("bob", "online", 1)]),
      roomSnapshot("hall", [member("bob", 1)]),
      changes(),
    );
    end?.();
    await host.advance(1_000);
    expect([requests(host).at(-1), status(client, "bob")]).toEqual(["UNWATCH bob", "online"]);
  });
});
