/// <reference types="node" />

/** Desired state and what is shown: the table of the core, row by row. */

import process from "node:process";

import { describe, expect, test } from "vitest";

import type { Presence, PresenceClient } from "../src/index.js";
import { type FakeHost, settle } from "./support/fake-host.js";
import { LIMITS, type Message } from "./support/fake-socket.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

const read = (client: PresenceClient, ...ids: readonly (string | number)[]) =>
  ids.map((id) => client.user(id).subscribe(() => {}));

const status = (client: PresenceClient, id: string | number) => client.user(id).get().status;

/** Requests on the newest connection, as "WATCH bob,carl". */
const requests = (host: FakeHost) =>
  host.socket.sent
    .filter(({ type }) => type !== "PING")
    .map(({ type, everyone, users, rooms, room, mode, data, status }) =>
      [type, everyone && "everyone", users, rooms, room, mode, data !== undefined && JSON.stringify(data), status]
        .filter((part) => part)
        .join(" "),
    );

/** A client that knows these users to be online. */
async function knowing(ids: readonly string[], options = {}) {
  const page = await connected(options);
  const ends = read(page.client, ...ids);
  await settle();
  await receive(
    page.host,
    snapshot(
      "users",
      ids.map((id) => record(id, "online", 1)),
    ),
  );
  return { ...page, ends };
}

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

describe("watch", () => {
  test("it never fires for the first answer, nor for one that repeats what is known", async () => {
    const { host, client } = await connected();
    const seen: string[] = [];
    client.watch(["bob", "carl"], (user, before) => seen.push(`${user.userId} ${before.status} ${user.status}`));
    await settle();
    expect(requests(host)).toEqual(["WATCH bob,carl"]);
    await receive(host, snapshot("users", [record("bob", "online", 1), record("carl", "offline", 1)]));
    await receive(host, changes(record("bob", "online", 2), record("carl", "offline", 1)));
    expect(seen).toEqual([]);
    await receive(host, changes(record("bob", "away", 3), record("carl", "online", 2)));
    expect(seen).toEqual(["bob online away", "carl offline online"]);
  });

  test("a reconnect that brings the same states does not fire", async () => {
    const page = await connected();
    const { host, client } = page;
    let calls = 0;
    client.watch(["bob"], () => (calls += 1));
    await settle();
    await receive(host, snapshot("users", [record("bob", "online", 50)]), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2" });
    await receive(host, snapshot("users", [record("bob", "online", 3)]), changes());
    expect(calls).toBe(0);
    await receive(host, changes(record("bob", "busy", 4)));
    expect(calls).toBe(1);
  });

  test("it ends with the returned function, also within a callback", async () => {
    const { host, client } = await knowing(["bob"]);
    let calls = 0;
    const end = client.watch(["bob"], () => {
      calls += 1;
      end();
    });
    await receive(host, changes(record("bob", "away", 2)), changes(record("bob", "busy", 3)));
    expect(calls).toBe(1);
  });

  test("an error in a listener stops neither the others nor the connection", async () => {
    const { host, client } = await knowing(["bob"]);
    const uncaught: unknown[] = [];
    const catchError = (error: unknown) => uncaught.push(error);
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", catchError);
    let calls = 0;
    client.watch(["bob"], () => {
      throw new Error("a listener's error");
    });
    client.watch(["bob"], () => (calls += 1));
    await receive(host, changes(record("bob", "away", 2)));
    process.removeListener("uncaughtException", catchError);
    for (const listener of listeners) process.on("uncaughtException", listener);
    expect([calls, uncaught.map((error) => (error as Error).message)]).toEqual([1, ["a listener's error"]]);
    expect(client.connection.get().state).toBe("open");
  });
});

describe("publishing", () => {
  test("all changes of one message appear together", async () => {
    const { host, client } = await knowing(["bob", "carl"]);
    const seen: string[] = [];
    client.user("bob").subscribe(() => seen.push(`${status(client, "bob")} ${status(client, "carl")}`));
    client.user("carl").subscribe(() => seen.push(`${status(client, "bob")} ${status(client, "carl")}`));
    client.watch(["bob"], () => seen.push(`${status(client, "bob")} ${status(client, "carl")}`));
    await receive(host, changes(record("bob", "away", 2), record("carl", "busy", 2)));
    expect(new Set(seen)).toEqual(new Set(["away busy"]));
  });

  test("a listener of several users is called once for one message", async () => {
    const { host, client } = await knowing(["bob", "carl"]);
    let calls = 0;
    client.users(["bob", "carl"]).subscribe(() => (calls += 1));
    await receive(host, changes(record("bob", "away", 2), record("carl", "busy", 2)));
    expect(calls).toBe(1);
  });

  test("pages of a snapshot appear with its last page", async () => {
    const { host, client } = await connected();
    client.everyone.subscribe(() => {});
    read(client, "bob", "carl");
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)], 1, 2));
    expect(status(client, "bob")).toBe("unknown");
    await receive(host, snapshot("everyone", [record("carl", "online", 2)], 2, 2));
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["online", "online"]);
  });

  test("pages that a lost connection cut off are forgotten", async () => {
    const page = await connected();
    const { host, client } = page;
    client.everyone.subscribe(() => {});
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)], 1, 2));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { resumed: false });
    await receive(host, snapshot("everyone", [record("carl", "online", 2)], 2, 2));
    expect(status(client, "bob")).not.toBe("online");
  });

  test("everyone is built at most ten times a second, and is the same object meanwhile", async () => {
    const { host, client } = await connected();
    let calls = 0;
    client.everyone.subscribe(() => (calls += 1));
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]));
    const before = client.everyone.get();
    for (let version = 2; version < 202; version += 1) {
      await receive(host, changes(record("bob", version % 2 ? "online" : "away", version)));
      await host.advance(10);
    }
    await host.advance(1_000);
    expect(calls).toBeGreaterThan(15);
    expect(calls).toBeLessThanOrEqual(22);
    expect(client.everyone.get()).not.toBe(before);
    expect(client.everyone.get().get("bob")).toBe(client.user("bob").get());
    expect(client.everyone.get()).toBe(client.everyone.get());
  });

  test("a listener that is called sees the map that get() returns until the next call", async () => {
    const { host, client } = await connected();
    const maps: unknown[] = [];
    client.everyone.subscribe(() => maps.push(client.everyone.get()));
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]));
    await receive(host, changes(record("bob", "away", 2)));
    expect(client.everyone.get()).toBe(maps.at(-1));
    await host.advance(100);
    expect(maps.length).toBe(2);
    expect(client.everyone.get()).toBe(maps.at(-1));
  });
});

describe("a record arrives", () => {
  test("it counts if its version is above the known one", async () => {
    const { host, client } = await knowing(["bob"]);
    let calls = 0;
    client.user("bob").subscribe(() => (calls += 1));
    await receive(
      host,
      changes(record("bob", "busy", 5)),
      changes(record("bob", "away", 5)),
      changes(record("bob", "away", 4)),
    );
    expect([status(client, "bob"), calls]).toEqual(["busy", 1]);
  });

  test("a new session resets the known versions, and nobody flickers", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, changes(record("bob", "busy", 1_000)));
    const seen: string[] = [];
    client.user("bob").subscribe(() => seen.push(status(client, "bob")));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2" });
    expect(requests(host)).toEqual(["WATCH bob"]);
    await receive(host, snapshot("users", [record("bob", "away", 2)]), changes());
    expect(seen).toEqual(["away"]);
  });

  test("a full resync of the same session does, too, and repeats no request", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, changes(record("bob", "busy", 1_000)));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { epoch: "epoch-2" }, [snapshot("users", [record("bob", "away", 2)])]);
    expect([requests(host), status(client, "bob")]).toEqual([[], "away"]);
  });

  test("unknown messages and fields are ignored", async () => {
    const { host, client } = await knowing(["bob"]);
    host.socket.receiveText("no JSON").receiveText("null").receiveText("[]").receiveText('"text"').receiveText("1");
    await receive(
      host,
      { type: "SOMETHING_NEW", users: [] } as Message,
      changes(record("bob", "away", 2, { later: 1 })),
    );
    expect([client.connection.get().state, status(client, "bob")]).toEqual(["open", "away"]);
  });
});

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

  test("a user whom no message mentioned is offline, too", async () => {
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

  test("while the server is settling, users whom a returning client knew stay as they are", async () => {
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

  test("a user of whom a settling server knows something new is shown so at once", async () => {
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

describe("rooms", () => {
  async function inRoom() {
    const page = await connected();
    page.client.room("hall").subscribe(() => {});
    await settle();
    await receive(page.host, roomSnapshot("hall", [member("bob", 1, { seat: 1 }), member("carl", 1)]), changes());
    return { ...page, room: () => page.client.room("hall").get() };
  }

  test("members and their presence appear", async () => {
    const { client, room } = await inRoom();
    expect(room()).toMatchObject({ name: "hall", known: true, joined: false, mode: "full", count: 2 });
    expect([...room().members.keys()]).toEqual(["bob", "carl"]);
    expect(room().members.get("bob")).toEqual({ userId: "bob", joinedAt: 5_000, data: { seat: 1 } });
    expect(status(client, "bob")).toBe("online");
  });

  test("members join and leave, and whoever left is known no more", async () => {
    const { host, client, room } = await inRoom();
    const news = {
      type: "ROOM_CHANGES",
      room: "hall",
      count: 2,
      mode: "full",
      members: [member("dora", 1)],
      left: ["bob", "x"],
    };
    await receive(host, news as Message, changes());
    expect([...room().members.keys()]).toEqual(["carl", "dora"]);
    expect([status(client, "bob"), status(client, "dora")]).toEqual(["unknown", "online"]);
  });

  test("in mode counts there is only the number", async () => {
    const { host, room } = await inRoom();
    await receive(host, { type: "ROOM_CHANGES", room: "hall", count: 5_000, mode: "counts" } as Message, changes());
    expect(room()).toMatchObject({ known: true, mode: "counts", count: 5_000 });
    expect(room().members.size).toBe(0);
  });

  test("a room that leaves mode counts is unknown, and requested again", async () => {
    const { host, client, room } = await inRoom();
    await receive(host, { type: "ROOM_CHANGES", room: "hall", count: 5_000, mode: "counts" } as Message, changes());
    const { length } = host.socket.sent;
    await receive(host, { type: "ROOM_CHANGES", room: "hall", count: 3_000, mode: "coalesced" } as Message, changes());
    expect(requests(host).slice(length)).toEqual(["WATCH hall"]);
    expect(room()).toMatchObject({ known: false, mode: "coalesced", count: 3_000 });
    await receive(host, roomSnapshot("hall", [member("bob", 3)], { mode: "coalesced", count: 3_000 }), changes());
    expect(room()).toMatchObject({ known: true, mode: "coalesced", count: 3_000 });
    expect(client.connection.get().stale).toBe(false);
  });

  test("a member's room that leaves mode counts is requested again, and stays joined", async () => {
    const { host, client } = await connected();
    const { joined } = client.join("hall");
    await joined;
    await receive(host, roomSnapshot("hall", [], { mode: "counts", count: 9 }), changes());
    const { length } = host.socket.sent;
    await receive(host, { type: "ROOM_CHANGES", room: "hall", count: 3, mode: "full" } as Message, changes());
    expect(requests(host).slice(length)).toEqual(["WATCH hall"]);
    expect(client.room("hall").get()).toMatchObject({ known: false, joined: true });
  });

  test("pages of a room appear with the last one", async () => {
    const { host, client } = await connected();
    client.room("hall").subscribe(() => {});
    await settle();
    await receive(host, roomSnapshot("hall", [member("bob", 1)], { page: 1, pages: 2, count: 2 }));
    expect(client.room("hall").get().known).toBe(false);
    await receive(host, roomSnapshot("hall", [member("carl", 1)], { page: 2, pages: 2, count: 2 }));
    expect(client.room("hall").get().members.size).toBe(2);
  });

  test("join, setData and leave", async () => {
    const { host, client } = await connected();
    const membership = client.join("hall", { seat: 1 });
    await membership.joined;
    expect(client.room("hall").get().joined).toBe(true);
    await membership.setData({ seat: 2 });
    await membership.setData({ seat: 2 });
    membership.leave();
    await settle();
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}', 'SET_MEMBER hall {"seat":2}', "LEAVE hall"]);
    expect(client.room("hall").get().joined).toBe(false);
  });

  test("whoever leaves before the answer to JOIN is no member afterwards", async () => {
    const { host, client } = await connecting();
    host.socket.establish();
    const membership = client.join("hall");
    await settle();
    membership.leave();
    await settle();
    expect(requests(host)).toEqual(["JOIN hall", "LEAVE hall"]);
    host.socket.acceptAll();
    await settle();
    expect(client.room("hall").get().joined).toBe(false);
  });

  test("whoever may not join again in a new session is no member any more", async () => {
    const page = await connected();
    const { host, client } = page;
    await client.join("hall").joined;
    await drop(host);
    await nextAttempt(page);
    host.socket.establish({ sessionId: "session-2" });
    await settle();
    const [request] = host.socket.sentOf("JOIN");
    host.socket.receive({ type: "ERROR", code: 113, name: "ROOM_FULL", message: "", id: request?.id } as never);
    await settle();
    expect(client.room("hall").get().joined).toBe(false);
  });

  test("whoever leaves while the connection is lost is no member in the new session", async () => {
    const page = await connected();
    const { host, client } = page;
    const membership = client.join("hall");
    await membership.joined;
    await drop(host);
    membership.leave();
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    expect([requests(host), client.room("hall").get().joined]).toEqual([[], false]);
  });

  test("a count whose request stayed unanswered is requested again, also after a LEAVE", async () => {
    const page = await connected();
    const { host, client } = page;
    const membership = client.join("hall");
    await membership.joined;
    host.socket.onSend = () => {};
    client.count({ room: "hall" }).subscribe(() => {});
    await settle();
    membership.leave();
    await settle();
    await drop(host);
    await nextAttempt(page);
    await establish(host, { resumed: true });
    expect(requests(host)).toEqual(["LEAVE hall", "WATCH hall count"]);
  });

  test("of several unanswered requests about a room, the session may have accepted any", async () => {
    const page = await connected();
    const { host, client } = page;
    const first = client.join("hall");
    await first.joined;
    host.socket.onSend = () => {};
    void first.setData({ seat: 1 }).catch(() => {});
    await settle();
    first.leave();
    await settle();
    const second = client.join("hall");
    await settle();
    await drop(host);
    await nextAttempt(page);
    await establish(host, { resumed: true });
    expect(requests(host)).toEqual(["JOIN hall"]);
    await second.joined;
    expect(client.room("hall").get().joined).toBe(true);
    host.socket.onSend = () => {};
    second.leave();
    client.room("hall").subscribe(() => {})();
  });

  test("a new session joins again with the data set last", async () => {
    const page = await connected();
    const { host, client } = page;
    const membership = client.join("hall", { seat: 1 });
    await membership.setData({ seat: 2 });
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    expect(requests(host)).toEqual(['JOIN hall {"seat":2}']);
  });

  test("in a new session, members and counts stay until the server has answered again", async () => {
    const page = await inRoom();
    const { host, client, room } = page;
    client.count("everyone").subscribe(() => {});
    await settle();
    await receive(host, { type: "PRESENCE_COUNT", watch: "everyone", online: 7 } as Message, changes());
    const before = room();
    const seen: unknown[] = [];
    client.room("hall").subscribe(() => seen.push(room().members.size));
    client.watch(["bob"], (user) => seen.push(user));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    expect([room(), client.count("everyone").get(), client.connection.get().stale]).toEqual([before, 7, true]);
    const users = snapshot("users", [record("bob", "online", 1)]);
    await receive(host, roomSnapshot("hall", [member("bob", 1), member("carl", 1)]), users, changes());
    expect(client.connection.get().stale).toBe(true); // the count is still to come
    await receive(host, { type: "PRESENCE_COUNT", watch: "everyone", online: 8 } as Message, changes());
    expect([status(client, "bob"), client.connection.get().stale, seen]).toEqual(["online", false, [2]]);
  });

  test("a refused JOIN rejects, and the others go on", async () => {
    const { host, client } = await connecting();
    const full = client.join("hall").joined;
    const other = client.join("lobby").joined;
    host.socket.establish();
    await settle();
    for (const { id, room } of host.socket.sentOf("JOIN")) {
      const refusal = { type: "ERROR", code: 113, name: "ROOM_FULL", message: "the room is full", id };
      host.socket.receive(room === "hall" ? refusal : ({ type: "ACK", id } as never));
    }
    await expect(full).rejects.toMatchObject({ code: "ROOM_FULL", numericCode: 113, retryable: true });
    await expect(other).resolves.toBeUndefined();
  });

  test("joining again after a refusal asks again, also while the room is read", async () => {
    const { host, client } = await connecting();
    client.room("hall").subscribe(() => {});
    const first = client.join("hall");
    host.socket.establish();
    await settle();
    const [request] = host.socket.sentOf("JOIN");
    host.socket.receive({ type: "ERROR", code: 113, name: "ROOM_FULL", message: "", id: request?.id } as never);
    await expect(first.joined).rejects.toMatchObject({ code: "ROOM_FULL" });
    first.leave();
    host.socket.acceptAll();
    await settle();
    client.join("hall");
    await settle();
    expect(host.socket.sentOf("JOIN").length).toBe(2);
  });

  test("whoever leaves before the answer gets LEFT, for data, too", async () => {
    const { host, client } = await connecting();
    const membership = client.join("hall");
    const data = membership.setData({ seat: 1 });
    membership.leave();
    await host.advance(1_000);
    const outcome = (call: Promise<void>) =>
      Promise.race([
        call.then(
          () => "joined",
          ({ code }) => code,
        ),
        settle().then(() => "waits"),
      ]);
    expect([await outcome(membership.joined), await outcome(data)]).toEqual(["LEFT", "LEFT"]);
    expect(await outcome(membership.setData({ seat: 2 }))).toBe("LEFT");
  });
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

  test("without an answer, the next connection asks for everything: the server may send no snapshot otherwise", async () => {
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

  test("whoever is covered otherwise stays known", async () => {
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

describe("a WATCH that is too large", () => {
  test("it is split at maxMessageSize", async () => {
    const { host, client } = await connecting();
    const ids = Array.from({ length: 500 }, (_, index) => `Benutzer-äöü-${index}`);
    read(client, ...ids);
    await establish(host, { limits: { ...LIMITS, maxMessageSize: 2_048 } });
    await host.advance(60_000);
    const watched = host.socket.sentOf("WATCH");
    expect(watched.length).toBeGreaterThan(3);
    for (const message of watched)
      expect(new TextEncoder().encode(JSON.stringify(message)).length).toBeLessThanOrEqual(2_048);
    expect(watched.flatMap(({ users }) => users as string[]).sort()).toEqual([...ids].sort());
  });

  test("at maxWatchedUsers, users who have lingered longest are dropped first", async () => {
    const { host, client } = await connecting();
    const ends = read(client, "a", "b", "c");
    await establish(host, { limits: { ...LIMITS, maxWatchedUsers: 3 } });
    ends[1]?.();
    await host.advance(1_000);
    ends[0]?.();
    await host.advance(1_000);
    read(client, "d");
    await settle();
    expect(requests(host)).toEqual(["WATCH a,b,c", "UNWATCH b", "WATCH d"]);
  });

  test("any excess stays unknown, with one TOO_MANY_WATCHED that says what to do", async () => {
    const { host, client } = await connecting();
    const errors: { code: string; hint: string }[] = [];
    client.on("rejected", (error) => errors.push(error));
    const ends = read(client, "a", "b", "c", "d");
    await establish(host, { limits: { ...LIMITS, maxWatchedUsers: 2 } });
    read(client, "e");
    await settle();
    expect(requests(host)).toEqual(["WATCH a,b"]);
    expect(errors.map(({ code, hint }) => [code, hint])).toEqual([["TOO_MANY_WATCHED", "Watch everyone, or a room."]]);
    expect(status(client, "c")).toBe("unknown");
    ends[0]?.();
    await host.advance(30_000);
    expect(requests(host)).toEqual(["WATCH a,b", "UNWATCH a", "WATCH c"]);
  });

  test("a refused scope is found, and the others are watched", async () => {
    const { host, client } = await connecting();
    const errors: string[] = [];
    client.on("rejected", ({ code }) => errors.push(code));
    for (const name of ["a", "b", "secret", "d", "e"]) client.room(name).subscribe(() => {});
    host.socket.establish();
    host.socket.onSend = ({ type, id, rooms }) =>
      queueMicrotask(() => {
        const isRefused = type === "WATCH" && (rooms as string[]).includes("secret");
        const refusal = { type: "ERROR", code: 114, name: "NOT_ALLOWED", message: "no", id };
        host.socket.receive(isRefused ? refusal : ({ type: "ACK", id } as never));
      });
    await host.advance(10_000);
    expect(errors).toEqual(["NOT_ALLOWED"]);
    const accepted = host.socket.sentOf("WATCH").filter(({ rooms }) => !(rooms as string[]).includes("secret"));
    expect(accepted.flatMap(({ rooms }) => rooms as string[]).sort()).toEqual(["a", "b", "d", "e"]);
    expect(host.socket.sent.length).toBeLessThan(8);
  });
});

describe("setStatus", () => {
  test("of several that wait, only the last is sent, and its answer resolves all", async () => {
    const { host, client } = await connecting();
    const calls = ["busy", "away", "online"].map((status) => client.setStatus({ status: status as "busy" }));
    await settle();
    await establish(host);
    expect(requests(host)).toEqual(["SET_STATUS online"]);
    await expect(Promise.all(calls)).resolves.toBeDefined();
  });

  test("the whole choice is sent", async () => {
    const { host, client } = await connected();
    await client.setStatus({ status: "busy", text: "lunch", emoji: "☕", data: { room: 4 }, expiresIn: 600 });
    const choice = {
      type: "SET_STATUS",
      status: "busy",
      text: "lunch",
      emoji: "☕",
      data: { room: 4 },
      expiresIn: 600,
    };
    expect(host.socket.sent).toEqual([{ ...choice, id: expect.anything() }]);
  });

  test("a refused one rejects", async () => {
    const { host, client } = await connecting();
    const call = client.setStatus({ status: "busy", text: "two\nlines" });
    host.socket.establish();
    await settle();
    const id = host.socket.sent[0]?.id;
    host.socket.receive({
      type: "ERROR",
      code: 101,
      name: "BAD_REQUEST",
      message: "text must not contain U+000A",
      id,
    } as never);
    await expect(call).rejects.toMatchObject({
      code: "BAD_REQUEST",
      numericCode: 101,
      message: expect.stringContaining("U+000A"),
    });
  });

  test("one without an answer is sent again, unless SELF shows that it was accepted", async () => {
    for (const chosen of ["busy", "auto"]) {
      const page = await connecting();
      const { host, client } = page;
      host.socket.establish();
      const call = client.setStatus({ status: "busy" });
      await settle();
      await drop(host);
      await nextAttempt(page);
      host.socket.open();
      host.socket.establish({ resumed: true }).receive({ type: "SELF", status: "busy", chosen } as never);
      await settle();
      host.socket.acceptAll();
      await settle();
      await expect(call).resolves.toBeUndefined();
      expect(requests(host)).toEqual(chosen === "busy" ? [] : ["SET_STATUS busy"]);
    }
  });

  test("expiresIn counts from the call", async () => {
    const { host, client } = await connecting();
    const call = client.setStatus({ status: "busy", expiresIn: 60 });
    await host.advance(10_000);
    await establish(host);
    expect(host.socket.sentOf("SET_STATUS")).toMatchObject([{ expiresIn: 50 }]);
    await call;
  });

  test("an aborted one that waits is not sent", async () => {
    const { host, client } = await connecting();
    const abort = new AbortController();
    const call = client.setStatus({ status: "busy" }, abort.signal);
    abort.abort(new Error("changed my mind"));
    await establish(host);
    expect(requests(host)).toEqual([]);
    await expect(call).rejects.toThrow("changed my mind");
  });
});

describe("request rate", () => {
  test("desired state is accumulated, so that the limits of the server hold", async () => {
    const { host, client } = await connecting();
    await establish(host, { limits: { ...LIMITS, requestsPerSecond: 2, requestBurst: 5 } });
    const times: number[] = [];
    host.socket.onSend = ({ id }) => {
      times.push(host.time);
      queueMicrotask(() => host.socket.receive({ type: "ACK", id } as never));
    };
    for (let turn = 0; turn < 100; turn += 1) {
      read(client, `user-${turn}`);
      void client.setStatus({ status: turn % 2 ? "busy" : "away" });
      await host.advance(50);
    }
    await host.advance(10_000);
    for (const [index, at] of times.entries()) {
      const earlier = times[index - 5];
      if (earlier !== undefined) expect(at - earlier).toBeGreaterThanOrEqual(0);
    }
    // At most the burst, and two a second.
    expect(times.length).toBeLessThanOrEqual(5 + 2 * 15);
    expect(client.connection.get().stale).toBe(host.socket.sent.length === 0);
    const watched = host.socket.sentOf("WATCH").flatMap(({ users }) => users as string[]);
    expect(new Set(watched).size).toBe(100);
  });

  test("RATE_LIMITED is not shown: the request is sent again after a pause", async () => {
    const { host, client } = await connecting();
    const errors: unknown[] = [];
    client.on("rejected", (error) => errors.push(error));
    read(client, "bob");
    const membership = client.join("hall");
    host.socket.establish();
    await settle();
    for (const { id } of [...host.socket.sent]) {
      host.socket.receive({ type: "ERROR", code: 120, name: "RATE_LIMITED", message: "slower", id } as never);
    }
    host.socket.acceptAll();
    await host.advance(2_000);
    await membership.joined;
    expect(errors).toEqual([]);
    expect(requests(host).slice(2).sort()).toEqual(["JOIN hall", "WATCH bob"]);
  });

  test("setStatus rejects with RATE_LIMITED, which says that it may be called again", async () => {
    const { host, client } = await connecting();
    const call = client.setStatus({ status: "busy" });
    host.socket.establish();
    await settle();
    const id = host.socket.sent[0]?.id;
    host.socket.receive({ type: "ERROR", code: 120, name: "RATE_LIMITED", message: "slower", id } as never);
    await expect(call).rejects.toMatchObject({ code: "RATE_LIMITED", retryable: true });
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

describe("ready and reconnected", () => {
  test("ready() resolves when everything wanted is known", async () => {
    const { host, client } = await connecting();
    read(client, "bob");
    let isReady = false;
    void client.ready().then(() => {
      isReady = true;
    });
    await establish(host);
    expect([isReady, client.connection.get().stale]).toEqual([false, true]);
    await receive(host, snapshot("users", [record("bob", "online", 1)]), changes());
    expect([isReady, client.connection.get().stale]).toEqual([true, false]);
  });

  test("close() rejects a ready() that waits", async () => {
    const { client } = await connecting();
    const ready = client.ready();
    client.close();
    expect(await Promise.race([ready.catch(({ code }) => code), settle().then(() => "waits")])).toBe("CLOSED");
  });

  test("ready() works again after close() and connect()", async () => {
    const { host, client } = await connecting();
    client.close();
    await expect(client.ready()).rejects.toMatchObject({ code: "CLOSED" });
    client.connect();
    const ready = client.ready();
    await settle();
    await establish(host);
    await expect(ready).resolves.toBeUndefined();
  });

  test.each([
    ["resumed", { resumed: true }],
    ["resynced", { resumed: false }],
    ["new-session", { resumed: false, sessionId: "session-2" }],
  ])("reconnected: %s, once the client has caught up", async (outcome, fields) => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, changes());
    const seen: string[] = [];
    client.on("reconnected", (event) => seen.push(event.outcome));
    await drop(host);
    await nextAttempt(page);
    const answer = snapshot("users", [record("bob", "online", 1)]);
    await establish(host, fields, outcome === "resynced" ? [answer] : []);
    if (outcome === "new-session") {
      expect(seen).toEqual([]); // the server has accepted the subscription, and not answered it yet
      await receive(host, answer, changes());
    }
    expect(seen).toEqual([outcome]);
  });
});
