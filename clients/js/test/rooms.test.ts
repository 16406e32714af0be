/** Rooms: members, modes, and memberships. */

import { describe, expect, test } from "vitest";

import { settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";
import { requests, status } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

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

  test("members join and leave, and a member who left is forgotten", async () => {
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

  describe("after a restart of the server", () => {
    async function restarted() {
      const page = await inRoom();
      await drop(page.host);
      await nextAttempt(page);
      await establish(page.host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
      await receive(page.host, roomSnapshot("hall", [member("dora", 1)]), changes());
      const keys = () => [page.room().count, ...page.room().members.keys()];
      return { ...page, keys };
    }

    test("members stay until they return, or the server has settled", async () => {
      const { host, client, keys } = await restarted();
      expect(keys()).toEqual([3, "bob", "carl", "dora"]);
      expect([status(client, "bob"), client.connection.get().stale]).toEqual(["online", true]);
      const news = { type: "ROOM_CHANGES", room: "hall", count: 2, mode: "full", members: [member("bob", 2)] };
      await receive(host, news as Message, changes());
      expect(keys()).toEqual([3, "bob", "carl", "dora"]);
      await host.advance(15_000);
      expect(keys()).toEqual([2, "bob", "dora"]);
      expect([status(client, "carl"), client.connection.get().stale]).toEqual(["unknown", false]);
    });

    test("the client is up to date once all are back, and members who leave are gone at once", async () => {
      const { host, client, keys } = await restarted();
      const news = { type: "ROOM_CHANGES", room: "hall", count: 3, mode: "full" };
      await receive(host, { ...news, members: ["bob", "carl"].map((id) => member(id, 2)) } as Message, changes());
      expect([client.connection.get().stale, ...keys()]).toEqual([false, 3, "bob", "carl", "dora"]);
      await receive(host, { ...news, count: 2, left: ["bob"] } as Message, changes());
      expect(keys()).toEqual([2, "carl", "dora"]);
    });

    test("a member who returns, but not to the room, stays online for a reader by id", async () => {
      const page = await inRoom();
      const { host, client } = page;
      client.user("bob").subscribe(() => {});
      await settle();
      await receive(host, snapshot("users", [record("bob", "online", 1)]), changes());
      await drop(host);
      await nextAttempt(page);
      await establish(host, { sessionId: "session-2", epoch: "epoch-2", settling: 15 });
      const never = record("bob", "offline", 1, { since: 0 }); // the server does not know yet that he returns
      await receive(host, roomSnapshot("hall", []), snapshot("users", [never]), changes());
      await receive(host, changes(record("bob", "online", 2)));
      await host.advance(15_000);
      const news = { type: "ROOM_CHANGES", room: "hall", count: 1, mode: "full", members: [member("dora", 1)] };
      await receive(host, news as Message, changes());
      expect([...page.room().members.keys()]).toEqual(["dora"]);
      expect(status(client, "bob")).toBe("online");
    });

    test("members of a room that now reports only its count are unknown", async () => {
      const { host, keys } = await restarted();
      await receive(host, { type: "ROOM_CHANGES", room: "hall", count: 900, mode: "counts" } as Message, changes());
      expect(keys()).toEqual([900]);
    });
  });

  describe("a member who may not be watched by id", () => {
    const never = { userId: "bob", status: "offline", since: 0, version: 900 };

    test("is shown as in the room, and as never seen after leaving it", async () => {
      const { host, client } = await inRoom();
      client.user("bob").subscribe(() => {});
      await settle();
      await receive(host, snapshot("users", [never]), changes());
      expect(status(client, "bob")).toBe("online");
      await receive(host, changes(record("bob", "busy", 2)));
      expect(status(client, "bob")).toBe("busy");
      const news = { type: "ROOM_CHANGES", room: "hall", count: 1, mode: "full", left: ["bob"] };
      await receive(host, news as Message, changes());
      expect(status(client, "bob")).toBe("offline");
    });

    test("is shown as in the room, if a snapshot of everyone lacks the user", async () => {
      const { host, client } = await inRoom();
      client.everyone.subscribe(() => {});
      await settle();
      await receive(host, snapshot("everyone", [record("carl", "online", 1)]), changes());
      expect(status(client, "bob")).toBe("online");
      const news = { type: "ROOM_CHANGES", room: "hall", count: 1, mode: "full", left: ["bob"] };
      await receive(host, news as Message, changes());
      expect([status(client, "bob"), client.user("bob").get().userId]).toEqual(["offline", "bob"]);
    });

    test("is shown as in the room, if the answer about the id came first", async () => {
      const page = await connected();
      page.client.user("bob").subscribe(() => {});
      page.client.room("hall").subscribe(() => {});
      await settle();
      await receive(page.host, snapshot("users", [never]), roomSnapshot("hall", [member("bob", 1)]), changes());
      expect(status(page.client, "bob")).toBe("online");
      await receive(page.host, roomSnapshot("hall", []), changes());
      expect(status(page.client, "bob")).toBe("offline");
    });
  });

  test("a member whom the server also sends by id stays as known after leaving", async () => {
    const page = await connected();
    page.client.user("bob").subscribe(() => {});
    page.client.room("hall").subscribe(() => {});
    await settle();
    const never = { userId: "bob", status: "offline", since: 0, version: 0 };
    await receive(page.host, snapshot("users", [never]), roomSnapshot("hall", []), changes());
    // The first connection and the JOIN of a new user are in one write: the room first, then the user by id.
    const joined = { type: "ROOM_CHANGES", room: "hall", count: 1, mode: "full", members: [member("bob", 1)] };
    await receive(page.host, joined as Message, changes(record("bob", "online", 1)));
    const left = { type: "ROOM_CHANGES", room: "hall", count: 0, mode: "full", left: ["bob"] };
    await receive(page.host, left as Message, changes());
    expect(status(page.client, "bob")).toBe("online");
  });

  test("a member who may not be watched by id is offline when the room is no longer watched", async () => {
    const page = await connected();
    page.client.user("bob").subscribe(() => {});
    const stop = page.client.room("hall").subscribe(() => {});
    await settle();
    const never = { userId: "bob", status: "offline", since: 0, version: 900 };
    await receive(page.host, snapshot("users", [never]), roomSnapshot("hall", [member("bob", 1)]), changes());
    expect(status(page.client, "bob")).toBe("online");
    stop();
    await page.host.advance(31_000);
    expect(status(page.client, "bob")).toBe("offline");
  });

  test("in mode counts there is only the number", async () => {
    const { host, client, room } = await inRoom();
    const end = client.user("carl").subscribe(() => {});
    await receive(host, { type: "ROOM_CHANGES", room: "hall", count: 5_000, mode: "counts" } as Message, changes());
    expect(room()).toMatchObject({ known: true, mode: "counts", count: 5_000 });
    expect(room().members.size).toBe(0);
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["unknown", "online"]);
    end();
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

  test("after close() no room is joined, and after connect() the membership goes on", async () => {
    const { host, client } = await connected();
    await client.join("hall").joined;
    client.close();
    expect(client.room("hall").get()).toMatchObject({ joined: false, known: false });
    client.connect();
    await settle();
    await establish(host, { sessionId: "session-2" });
    expect([requests(host), client.room("hall").get().joined]).toEqual([["JOIN hall"], true]);
  });

  test("several memberships of a room are one member, who stays until the last one leaves", async () => {
    const { host, client } = await connected();
    const first = client.join("hall", { seat: 1 });
    const second = client.join("hall", { seat: 2 });
    await settle();
    expect(requests(host)).toEqual(['JOIN hall {"seat":2}']);
    second.leave();
    second.leave();
    await settle();
    expect([requests(host).length, client.room("hall").get().joined]).toEqual([1, true]);
    await first.setData({ seat: 3 });
    first.leave();
    await settle();
    expect(requests(host).slice(1)).toEqual(['SET_MEMBER hall {"seat":3}', "LEAVE hall"]);
    expect(client.room("hall").get().joined).toBe(false);
  });

  test("a client that leaves before the answer to JOIN is no member afterwards", async () => {
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

  test("a client that may not join again in a new session is no longer a member", async () => {
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

  test("a client that leaves while the connection is lost is no member in the new session", async () => {
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

  test("data that the server refuses because the client is no longer a member: it joins again with the data", async () => {
    const { host, client } = await connected();
    const membership = client.join("hall", { seat: 1 });
    await membership.joined;
    host.socket.onSend = () => {};
    const change = membership.setData({ seat: 2 });
    await settle();
    const id = host.socket.sent.at(-1)?.id;
    host.socket.receive({ type: "ERROR", code: 113, name: "NOT_A_MEMBER", message: "join first", id } as Message);
    await settle();
    expect(requests(host).slice(1)).toEqual(['SET_MEMBER hall {"seat":2}', 'JOIN hall {"seat":2}']);
    host.socket.receive({ type: "ACK", id: host.socket.sent.at(-1)?.id } as Message);
    await change;
    expect(client.room("hall").get().joined).toBe(true);
  });

  test("an end that the server refuses is over, and not repeated", async () => {
    const { host, client } = await connected({ linger: 0 });
    client.on("rejected", () => {});
    const end = client.user("bob").subscribe(() => {});
    const membership = client.join("hall");
    await membership.joined;
    host.socket.onSend = ({ id }) =>
      queueMicrotask(() =>
        host.socket.receive({ type: "ERROR", code: 113, name: "NOT_A_MEMBER", message: "you are not", id } as Message),
      );
    membership.leave();
    end();
    await host.advance(10_000);
    expect(requests(host).slice(2).sort()).toEqual(["LEAVE hall", "UNWATCH bob"]);
    expect([status(client, "bob"), client.room("hall").get().joined]).toEqual(["unknown", false]);
    expect(client.connection.get()).toMatchObject({ state: "open", stale: false });
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

  test("members whom a later snapshot of the room lacks are forgotten at once", async () => {
    const { host, client, room } = await inRoom();
    expect(client.connection.get().stale).toBe(false);
    await receive(host, roomSnapshot("hall", [member("carl", 2)]));
    expect([...room().members.keys()]).toEqual(["carl"]);
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["unknown", "online"]);
  });

  test("pages of two rooms may alternate", async () => {
    const { host, client } = await connected();
    for (const name of ["hall", "yard"]) client.room(name).subscribe(() => {});
    const page = (room: string, id: string, page: number) =>
      roomSnapshot(room, [member(id, 1)], { page, pages: 2, count: 2 });
    await receive(
      host,
      page("hall", "bob", 1),
      page("yard", "carl", 1),
      page("hall", "dora", 2),
      page("yard", "eve", 2),
    );
    const members = (room: string) => [...client.room(room).get().members.keys()];
    expect([members("hall"), members("yard")]).toEqual([
      ["bob", "dora"],
      ["carl", "eve"],
    ]);
  });

  test("a message of another type that names the room does not end it", async () => {
    const { host, room } = await inRoom();
    const before = room();
    await receive(host, { type: "SOMETHING_NEW", room: "hall" });
    expect(room()).toBe(before);
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

  test("a client that leaves before the answer gets LEFT, for data, too", async () => {
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
