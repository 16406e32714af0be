/** A server that has just started, and does not know yet who returns. */

import { describe, expect, test } from "vitest";

import { FakeHost, settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, connecting, drop, establish, nextAttempt, type Page } from "./support/page.js";
import { read, requests, status } from "./support/reading.js";
import { changes, member, receive, record, roomSnapshot, snapshot } from "./support/records.js";

const RESTARTED = { sessionId: "session-2", epoch: "epoch-2", settling: 15 };
const never = (id: string) => record(id, "offline", 900, { since: 0 });
const news = (fields: Readonly<Record<string, unknown>>): Message => ({
  type: "ROOM_CHANGES",
  room: "hall",
  count: 0,
  mode: "full",
  ...fields,
});

/** A client that knew bob and carl in the hall, and whose server has restarted without them. */
async function restarted(before: (page: Page) => void = () => {}, host = new FakeHost()) {
  const page = await connected({ linger: 0 }, host);
  const end = page.client.room("hall").subscribe(() => {});
  before(page);
  await settle();
  await receive(host, roomSnapshot("hall", [member("bob", 1), member("carl", 1)]), changes());
  await drop(host);
  await nextAttempt(page);
  await establish(host, RESTARTED);
  const shown = () => {
    const { count, members } = page.client.room("hall").get();
    return [count, ...members.keys()];
  };
  const isStale = () => page.client.connection.get().stale;
  return { ...page, end, shown, isStale };
}

describe("members of before", () => {
  test("stay if the room is sent again while the server settles", async () => {
    const { host, shown, isStale } = await restarted();
    await receive(host, roomSnapshot("hall", [member("dora", 1)]), changes());
    await receive(host, roomSnapshot("hall", [member("carl", 2)]), changes());
    expect([shown(), isStale()]).toEqual([[2, "bob", "carl"], true]);
    await host.advance(15_000);
    expect([shown(), isStale()]).toEqual([[1, "carl"], false]);
  });

  test("stay over a second loss, if the session is resumed with the whole room", async () => {
    const page = await restarted();
    const { host, shown } = page;
    await receive(host, roomSnapshot("hall", []), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { ...RESTARTED, resumed: true, settling: 10 }, [roomSnapshot("hall", [])]);
    expect(shown()).toEqual([2, "bob", "carl"]);
    await receive(host, news({ count: 1, members: [member("bob", 2)] }), changes());
    await host.advance(15_000);
    expect(shown()).toEqual([1, "bob"]);
  });

  test("stay over a second loss, if the same session gets everything again", async () => {
    const page = await restarted();
    const { host, shown } = page;
    await receive(host, roomSnapshot("hall", []), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { ...RESTARTED, settling: 10 }, [roomSnapshot("hall", [member("carl", 1)])]);
    expect(shown()).toEqual([2, "bob", "carl"]);
    await host.advance(10_000);
    expect(shown()).toEqual([1, "carl"]);
  });

  test("stay over a second restart, and are gone if the server has settled when the client returns", async () => {
    const page = await restarted();
    const { host, shown, isStale } = page;
    await receive(host, roomSnapshot("hall", []), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { ...RESTARTED, sessionId: "session-3", epoch: "epoch-3" });
    await receive(host, roomSnapshot("hall", [member("carl", 1)]), changes());
    expect(shown()).toEqual([2, "bob", "carl"]);
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-4", epoch: "epoch-3" });
    await receive(host, roomSnapshot("hall", [member("carl", 2)]), changes());
    expect([shown(), isStale()]).toEqual([[1, "carl"], false]);
  });

  test("are removed with the news of a resumption, if the server settles while there is no connection", async () => {
    const page = await restarted();
    const { host, client, shown } = page;
    await receive(host, roomSnapshot("hall", []), changes());
    const seen: unknown[] = [];
    client.room("hall").subscribe(() => seen.push(shown()));
    await drop(host);
    await host.signal("offline");
    await host.advance(20_000);
    expect(shown()).toEqual([2, "bob", "carl"]);
    await host.signal("online");
    await host.advance(250);
    await establish(host, { ...RESTARTED, resumed: true, settling: 0 }, [
      news({ count: 1, members: [member("bob", 2)] }),
    ]);
    expect([shown(), seen]).toEqual([
      [1, "bob"],
      [
        [2, "bob", "carl"],
        [1, "bob"],
      ],
    ]);
  });

  test("of a room that the application leaves meanwhile are unknown, and the client need not wait for them", async () => {
    const { host, client, end, shown, isStale } = await restarted();
    await receive(host, roomSnapshot("hall", []), changes());
    end();
    await host.advance(0);
    expect([shown(), status(client, "bob"), isStale()]).toEqual([[0], "unknown", false]);
    await receive(host, news({ count: 1, members: [member("bob", 2)] }), changes());
    expect(shown()).toEqual([0]);
  });

  test("are unknown once the room reports only its count, also when it names its members again", async () => {
    const { host, shown, isStale } = await restarted();
    await receive(host, roomSnapshot("hall", [], { mode: "counts", count: 900 }), changes());
    expect([shown(), isStale()]).toEqual([[900], false]);
    await receive(host, news({ count: 1, mode: "coalesced" }), changes());
    expect(requests(host).at(-1)).toBe("WATCH hall");
    await receive(host, roomSnapshot("hall", [member("dora", 1)], { mode: "coalesced" }), changes());
    expect([shown(), isStale()]).toEqual([[1, "dora"], false]);
  });

  test("return in changes of a second together", async () => {
    const { host, shown, isStale } = await restarted();
    await receive(host, roomSnapshot("hall", [member("dora", 1)], { mode: "coalesced" }), changes());
    const back = { mode: "coalesced", count: 2, members: [member("bob", 1)], left: ["dora", "eve"] };
    await receive(host, news(back), changes());
    expect([shown(), isStale()]).toEqual([[3, "bob", "carl"], true]);
  });
});

describe("a member who is also watched by id", () => {
  test("stays online after leaving the room, once the server knows the user again", async () => {
    const { host, client } = await restarted(({ client }) => read(client, "bob"));
    await receive(host, snapshot("users", [never("bob")]), roomSnapshot("hall", []), changes());
    await receive(host, changes(record("bob", "online", 901)));
    await receive(host, news({ count: 1, members: [member("bob", 901)] }), changes());
    await receive(host, news({ left: ["bob"] }), changes());
    expect(status(client, "bob")).toBe("online");
  });

  test("stays online, too, if the return and the room are one message", async () => {
    const { host, client } = await restarted(({ client }) => read(client, "bob"));
    await receive(host, snapshot("users", [never("bob")]), roomSnapshot("hall", []), changes());
    await receive(host, news({ count: 1, members: [member("bob", 901)] }), changes(record("bob", "online", 901)));
    await receive(host, news({ left: ["bob"] }), changes());
    expect(status(client, "bob")).toBe("online");
  });

  test("is offline once the server has settled without the user, and counts anew afterwards", async () => {
    const { host, client } = await restarted(({ client }) => read(client, "bob"));
    await receive(host, snapshot("users", [never("bob")]), roomSnapshot("hall", []), changes());
    expect(status(client, "bob")).toBe("online");
    await host.advance(15_000);
    expect(status(client, "bob")).toBe("offline");
    await receive(host, changes(record("bob", "busy", 901)));
    await receive(host, news({ count: 1, members: [member("dora", 902)] }), changes());
    expect(status(client, "bob")).toBe("busy");
  });

  test("is never seen after leaving the room, if the user may not be watched by id", async () => {
    const { host, client } = await restarted(({ client }) => read(client, "bob"));
    await receive(host, snapshot("users", [never("bob")]), roomSnapshot("hall", []), changes());
    await receive(host, news({ count: 1, members: [member("bob", 901)] }), changes());
    await receive(host, changes(record("bob", "busy", 902)));
    expect(status(client, "bob")).toBe("busy");
    await receive(host, news({ left: ["bob"] }), changes());
    expect(status(client, "bob")).toBe("offline");
  });
});

test("after a reload, a client shows whom the server names, and is up to date", async () => {
  const host = new FakeHost();
  const { client } = await connected({}, host);
  await client.join("hall").joined;
  await receive(host, roomSnapshot("hall", [member("bob", 1)]), changes());
  await host.signal("leaving");
  const next = new FakeHost({ storage: host.storage });
  const page = await connecting({}, next);
  page.client.join("hall");
  page.client.user("bob").subscribe(() => {});
  await establish(next, RESTARTED);
  await receive(next, roomSnapshot("hall", [member("ada", 1)]), snapshot("users", [never("bob")]), changes());
  expect(page.client.room("hall").get()).toMatchObject({ count: 1, joined: true });
  expect([status(page.client, "bob"), page.client.connection.get().stale]).toEqual(["offline", false]);
});
