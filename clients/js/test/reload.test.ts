/** State that survives a reload of the page, and that a duplicated tab must not take. */

import { describe, expect, test } from "vitest";

import type { Choice, PresenceClient, PresenceOptions } from "../src/index.js";
import { FakeHost, settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";
import { requests } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

/** A page that reads bob, is a member of the hall, and is about to be reloaded. */
async function leaving(options: PresenceOptions = {}) {
  const page = await connected(options);
  page.client.user("bob").subscribe(() => {});
  await page.client.join("hall", { seat: 1 }).joined;
  await settle();
  await receive(page.host, snapshot("users", [record("bob", "online", 1)]), roomSnapshot("hall", [member("ada", 1)]));
  await page.host.signal("leaving");
  return page;
}

/** The page after the reload, with the storage of the page before. */
const reloaded = (storage: Map<string, string>, options: PresenceOptions = {}) =>
  connecting(options, new FakeHost({ storage }));

describe("the session over a reload", () => {
  test("the next page goes on with the session, and asks for everything again", async () => {
    const { storage } = (await leaving()).host;
    const { host } = await reloaded(storage);
    expect(host.socket.parameters).toMatchObject({ session: "session-1", watch: "none" });
    expect(host.socket.parameters).not.toHaveProperty("position");
  });

  test("what is wanted again is not requested again", async () => {
    const { storage } = (await leaving()).host;
    const { host, client } = await reloaded(storage);
    client.user("bob").subscribe(() => {});
    const { joined } = client.join("hall", { seat: 1 });
    await establish(host, {}, [
      snapshot("users", [record("bob", "away", 2)]),
      roomSnapshot("hall", [member("ada", 1)]),
    ]);
    await joined;
    expect(host.socket.sent).toEqual([]);
    expect(client.room("hall").get()).toMatchObject({ known: true, joined: true });
    expect([client.user("bob").get().status, client.connection.get().stale]).toEqual(["away", false]);
  });

  test("other data of a member is sent, and what is no longer wanted ends", async () => {
    const { storage } = (await leaving()).host;
    const { host, client } = await reloaded(storage);
    client.join("hall", { seat: 2 });
    client.user("carl").subscribe(() => {});
    await establish(host, {}, [
      snapshot("users", [record("bob", "away", 2)]),
      roomSnapshot("hall", [member("ada", 1)]),
    ]);
    expect(host.socket.sent.map(({ id: _, ...request }) => request)).toEqual([
      { type: "UNWATCH", users: ["bob"] },
      { type: "SET_MEMBER", room: "hall", data: { seat: 2 } },
      { type: "WATCH", users: ["carl"] },
    ]);
  });

  test("a member without data sends none afterwards", async () => {
    const page = await connected();
    await page.client.join("hall").joined;
    await page.host.signal("leaving");
    const { host, client } = await reloaded(page.host.storage);
    client.join("hall");
    await establish(host, {}, [roomSnapshot("hall", [member("ada", 1)])]);
    expect(host.socket.sent).toEqual([]);
  });

  test("a room that was only watched is not joined afterwards", async () => {
    const hall = roomSnapshot("hall", [member("bob", 1)]);
    const page = await connected();
    page.client.room("hall").subscribe(() => {});
    await settle();
    await receive(page.host, hall);
    await page.host.signal("leaving");
    const { host, client } = await reloaded(page.host.storage);
    client.room("hall").subscribe(() => {});
    await establish(host, {}, [hall]);
    expect(client.room("hall").get()).toMatchObject({ known: true, joined: false });
  });

  test("requests that the server did not receive before the reload are sent again", async () => {
    const { storage } = (await leaving()).host;
    const { host, client } = await reloaded(storage);
    client.user("bob").subscribe(() => {});
    const { joined } = client.join("hall", { seat: 1 });
    await establish(host);
    await joined;
    expect(host.socket.sent.map(({ id: _, ...request }) => request)).toEqual([
      { type: "JOIN", room: "hall", data: { seat: 1 } },
      { type: "WATCH", users: ["bob"] },
    ]);
    const bob = record("bob", "online", 1);
    await receive(host, snapshot("users", [bob]), roomSnapshot("hall", [member("ada", 1)]), changes());
    expect(client.connection.get().stale).toBe(false);
  });

  test("a LEAVE without an answer is sent again by the next page", async () => {
    const page = await connected();
    const { host } = page;
    const membership = page.client.join("hall");
    await membership.joined;
    host.socket.onSend = () => {};
    membership.leave();
    await settle();
    await host.signal("leaving");
    const next = await reloaded(host.storage);
    await establish(next.host, {}, [roomSnapshot("hall", [member("ada", 1)])]);
    await next.host.advance(10_000);
    expect(requests(next.host)).toEqual(["LEAVE hall"]);
    expect(next.client.connection.get().stale).toBe(false);
  });

  test("the session is over: everything wanted is requested", async () => {
    const { storage } = (await leaving()).host;
    const { host, client } = await reloaded(storage);
    client.user("bob").subscribe(() => {});
    client.join("hall", { seat: 1 });
    await establish(host, { sessionId: "session-2" });
    expect(host.socket.sent.map(({ id: _, ...request }) => request)).toEqual([
      { type: "JOIN", room: "hall", data: { seat: 1 } },
      { type: "WATCH", users: ["bob"] },
    ]);
  });

  test("it is deleted as soon as it is read: a duplicated tab does not take it", async () => {
    const { storage } = (await leaving()).host;
    const original = await reloaded(storage);
    const duplicate = await reloaded(new Map(storage)); // a browser copies the storage of the tab
    expect(original.host.socket.parameters).toHaveProperty("session");
    expect(duplicate.host.socket.parameters).not.toHaveProperty("session");
  });

  test("nothing is read before connect", async () => {
    const { storage } = (await leaving()).host;
    const before = [...storage];
    new FakeHost({ storage }).client();
    expect([...storage]).toEqual(before);
  });

  test("a duplicated tab of an open page begins its own session", async () => {
    const { host } = await connected();
    const duplicate = await reloaded(new Map(host.storage));
    expect(duplicate.host.socket.parameters).not.toHaveProperty("session");
  });

  test("another user, or another server, does not take it", async () => {
    const { storage } = (await leaving()).host;
    for (const options of [{ userId: "eve" }, { url: "wss://elsewhere.test" }]) {
      const { host } = await reloaded(new Map(storage), options);
      expect(host.socket.parameters).not.toHaveProperty("session");
    }
  });

  test.each([
    ["without userId, the choice is not in the next URL: the token may be of another user", "", undefined],
    ["with userId, the choice is in the next URL", "ada", "invisible"],
  ])("%s", async (_, userId, status) => {
    const page = await connected({ userId, token: "of-ada" });
    await receive(page.host, {
      type: "SELF",
      status: "invisible",
      chosen: "invisible",
      text: "at the doctor's",
    } as Message);
    await page.host.signal("leaving");
    const { host } = await reloaded(page.host.storage, { userId, token: "of-eve" });
    expect(host.socket.parameters.status).toBe(status);
    expect(host.socket.url.includes("doctor")).toBe(status !== undefined);
  });

  test("after close() nothing is saved", async () => {
    const { host, client } = await leaving();
    client.close();
    await host.signal("leaving");
    expect(host.storage.size).toBe(0);
  });

  test("a page that stays and reconnects still resumes from its position", async () => {
    const page = await leaving();
    await drop(page.host);
    await nextAttempt(page);
    expect(page.host.socket.parameters).toMatchObject({ session: "session-1", position: "epoch-1-1" });
  });

  test.each(["", "no JSON", "null", "{}", "[]", '{"sessionId":7}', '{"sessionId":"s","agreed":1}'])(
    "what another program saved under the key is ignored: %s",
    async (text) => {
      const { storage } = (await leaving()).host;
      for (const key of storage.keys()) storage.set(key, text);
      const { host, client } = await reloaded(storage);
      await establish(host, { sessionId: "session-2" });
      expect(client.connection.get()).toMatchObject({ state: "open", error: null });
    },
  );
});

describe("a page that returns from the back/forward cache, after the next page went on with its session", () => {
  /** Return what the page sends, which is a member of doc-1 and reads bob; `snapshots`: of the session of the next page. */
  async function returned(snapshots: readonly Message[], read: (client: PresenceClient) => void = () => {}) {
    const page = await connected();
    const { host, client } = page;
    client.user("bob").subscribe(() => {});
    read(client);
    await client.join("doc-1").joined;
    await host.signal("frozen");
    await host.signal("restored");
    await establish(host, {}, snapshots);
    await host.advance(10_000);
    return { sent: requests(host), client };
  }
  const bob = snapshot("users", [record("bob", "online", 1)]);
  const own = roomSnapshot("doc-1", [member("ada", 1)]);

  test("it asks again for what the next page has ended, and ends what only that one wanted", async () => {
    const count = { type: "PRESENCE_COUNT", watch: "everyone", online: 2 } as Message;
    const { sent, client } = await returned([
      snapshot("users", [record("carl", "online", 1)]),
      count,
      roomSnapshot("doc-2", [member("eve", 1)], { page: 1, pages: 2, count: 2 }),
      roomSnapshot("doc-2", [member("ada", 1)], { page: 2, pages: 2, count: 2 }),
      roomSnapshot("doc-3", [member("eve", 1)]),
      roomSnapshot("doc-4", [], { mode: "counts", count: 900 }),
    ]);
    expect(sent).toEqual(["UNWATCH everyone carl doc-3", "LEAVE doc-2", "LEAVE doc-4", "JOIN doc-1", "WATCH bob"]);
    expect([client.room("doc-2").get().joined, client.user("carl").get().status]).toEqual([false, "unknown"]);
  });

  test("it leaves a room that it only reads, and that the next page joined", async () => {
    const hall = roomSnapshot("hall", [member("ada", 1)]);
    const { sent } = await returned([bob, own, hall], (client) => client.room("hall").subscribe(() => {}));
    expect(sent).toEqual(["LEAVE hall", "WATCH hall"]);
  });

  test("a snapshot of everyone that only the next page wanted ends", async () => {
    const everyone = snapshot("everyone", [record("bob", "online", 1), record("carl", "online", 1)]);
    const { sent } = await returned([everyone, own]);
    expect(sent).toEqual(["UNWATCH everyone"]);
  });

  test("nothing is sent if the server sends what the page wants", async () => {
    const { sent, client } = await returned([bob, own]);
    expect([sent, client.connection.get().stale]).toEqual([[], false]);
  });
});

describe("activity over a reload", () => {
  test("a page that opens is active, also if the one before was idle", async () => {
    const page = await leaving({ activity: {} });
    const { host } = await reloaded(page.host.storage, { activity: {} });
    expect(host.socket.parameters.activity).toBe("active");
  });

  test("an idle page that reconnects says so, and nobody flashes online", async () => {
    const page = await connected({ activity: { idleAfter: 10 } });
    await page.host.advance(10_000);
    expect(page.host.socket.sentOf("ACTIVITY")).toMatchObject([{ state: "idle" }]);
    await drop(page.host);
    await nextAttempt(page);
    expect(page.host.socket.parameters.activity).toBe("idle");
    await establish(page.host, { sessionId: "session-2" });
    expect(page.host.socket.sentOf("ACTIVITY")).toEqual([]);
  });

  test("a person who returns during the loss is active in the URL", async () => {
    const page = await connected({ activity: { idleAfter: 10 } });
    await page.host.advance(10_000);
    await drop(page.host);
    await page.host.input();
    await nextAttempt(page);
    expect(page.host.socket.parameters.activity).toBe("active");
  });

  test("a change between the URL and the opening is sent", async () => {
    const page = await connecting({ activity: { idleAfter: 10 } });
    expect(page.host.socket.parameters.activity).toBe("active");
    await page.host.advance(10_000);
    await establish(page.host);
    expect(page.host.socket.sentOf("ACTIVITY")).toMatchObject([{ state: "idle" }]);
  });
});

describe("the choice in the URL", () => {
  const choices: [string, Record<string, unknown>, Record<string, string>][] = [
    ["no choice", { status: "online", chosen: "auto" }, {}],
    ["a status", { status: "invisible", chosen: "invisible" }, { status: "invisible" }],
    [
      "text and emoji",
      { status: "busy", chosen: "busy", text: "in a meeting & more", emoji: "☕" },
      { status: "busy", text: "in a meeting & more", emoji: "☕" },
    ],
    [
      "an end",
      { status: "away", chosen: "away", until: 1_700_000_900_000 },
      { status: "away", until: "1700000900000" },
    ],
    [
      "a text alone",
      { status: "online", chosen: "auto", text: "at the desk" },
      { status: "auto", text: "at the desk" },
    ],
    ["one that is over", { status: "away", chosen: "away", until: 1_600_000_000_000 }, {}],
    [
      "one that a claim overrides",
      {
        status: "busy",
        chosen: "away",
        text: "the claim's",
        claimed: true,
        until: 1_700_000_100_000,
        choice: { text: "my own" },
      },
      { status: "away", text: "my own" },
    ],
    ["a claim without a choice", { status: "busy", chosen: "auto", text: "the claim's", claimed: true }, {}],
  ];

  test.each(choices)("%s", async (_, self, expected) => {
    const page = await connected();
    await receive(page.host, { type: "SELF", ...self } as Message);
    await drop(page.host);
    await nextAttempt(page);
    const { status, text, emoji, until } = page.host.socket.parameters;
    const found = { status, text, emoji, until };
    expect(JSON.parse(JSON.stringify(found))).toEqual(expected);
  });

  describe("a status that waits", () => {
    /** Return the first connection of a client with this choice, and its call. */
    async function chosenFirst(choice: Choice, host = new FakeHost()) {
      const client = host.client();
      const call = client.setStatus(choice);
      client.connect();
      await settle();
      return { host, client, call, parameters: host.socket.parameters };
    }

    test("is in the URL of the first connection, and the whole choice follows", async () => {
      const { host, call, parameters } = await chosenFirst({ status: "invisible", text: "at home", data: 1 });
      expect(parameters.status).toBe("invisible");
      expect(parameters).not.toHaveProperty("text");
      expect(parameters).not.toHaveProperty("until");
      await establish(host);
      expect(host.socket.sentOf("SET_STATUS")).toMatchObject([{ status: "invisible", text: "at home", data: 1 }]);
      await expect(call).resolves.toBeUndefined();
    });

    test("ends when the choice would have ended", async () => {
      const host = new FakeHost();
      const { parameters } = await chosenFirst({ status: "busy", expiresIn: 60.25 }, host);
      expect(parameters).toMatchObject({ status: "busy", until: String(host.time + 60_250) });
      await host.advance(30_000); // the attempt is abandoned, and another one begins
      expect(host.socket.parameters.until).toBe(parameters.until);
    });

    test.each<[string, Choice]>([
      ["a status that does not exist", { status: "asleep" as "away" }],
      ["an end that is no number", { status: "busy", expiresIn: Number.POSITIVE_INFINITY }],
      ["an end in the past of all clocks", { status: "busy", expiresIn: -1e12 }],
      ["no choice", { status: "auto" }],
    ])("%s is not in the URL, so that the connection is not refused", async (_, choice) => {
      const { parameters } = await chosenFirst(choice);
      expect(parameters).not.toHaveProperty("status");
    });

    test("counts more than what the server knew, also after a loss", async () => {
      const page = await connected();
      await receive(page.host, { type: "SELF", status: "busy", chosen: "busy", text: "lunch" } as Message);
      await drop(page.host);
      page.client.setStatus({ status: "invisible" }).catch(() => {});
      await nextAttempt(page);
      expect(page.host.socket.parameters).toMatchObject({ status: "invisible" });
      expect(page.host.socket.parameters).not.toHaveProperty("text");
      await drop(page.host);
      page.client.setStatus({ status: "auto" }).catch(() => {});
      await nextAttempt(page);
      expect(page.host.socket.parameters).not.toHaveProperty("status");
    });

    test("is not in the URL once it was withdrawn", async () => {
      const host = new FakeHost();
      const client = host.client();
      const abort = new AbortController();
      client.setStatus({ status: "invisible" }, abort.signal).catch(() => {});
      abort.abort();
      client.connect();
      await settle();
      expect(host.socket.parameters).not.toHaveProperty("status");
    });
  });

  test("SELF during the connection counts, and close() forgets it", async () => {
    const page = await connected();
    await receive(page.host, { type: "SELF", status: "busy", chosen: "busy" } as Message);
    page.client.close();
    page.client.connect();
    await settle();
    expect(page.host.socket.parameters).not.toHaveProperty("status");
  });

  test("the end of a choice is compared with the server's clock", async () => {
    const host = new FakeHost();
    const { client } = await connecting({}, host);
    await establish(host, { serverTime: host.time + 3_600_000 }); // this machine is an hour late
    expect(client.now() - host.time).toBe(3_600_000);
    await receive(host, { type: "SELF", status: "away", chosen: "away", until: host.time + 600_000 } as Message);
    await drop(host);
    await nextAttempt({ host, client });
    expect(host.socket.parameters).not.toHaveProperty("status");
  });
});
