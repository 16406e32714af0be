/** Data of a member: what is sent of it, and what the server refuses. */

import { describe, expect, test } from "vitest";

import { FakeHost, settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";
import { requests } from "./support/reading.js";
import { member, roomSnapshot } from "./support/records.js";

describe("what is sent", () => {
  test("null removes the data, once", async () => {
    const { host, client } = await connected();
    const membership = client.join("hall", { seat: 1 });
    await membership.joined;
    await membership.setData(null);
    await host.advance(10_000);
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}', "SET_MEMBER hall null"]);
  });

  test("a member who joins with null has no data", async () => {
    const { host, client } = await connected();
    await client.join("hall", null).joined;
    await host.advance(10_000);
    expect(requests(host)).toEqual(["JOIN hall"]);
  });

  test("an object that the application changes is sent again when it is set again", async () => {
    const { host, client } = await connected();
    const data = { seat: 1 };
    const membership = client.join("hall", data);
    await membership.joined;
    data.seat = 2;
    await membership.setData(data);
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}', 'SET_MEMBER hall {"seat":2}']);
  });

  test("data that is not JSON rejects, and everything else goes on", async () => {
    const { host, client } = await connected();
    const membership = client.join("hall", { seat: 1n });
    await expect(membership.joined).rejects.toMatchObject({
      code: "BAD_REQUEST",
      message: expect.stringMatching(/^the data is not JSON: .*BigInt/),
    });
    await client.setStatus({ status: "busy" });
    expect(requests(host)).toEqual(["SET_STATUS busy"]);
    await membership.setData({ seat: 1 });
    await expect(membership.setData({ seat: 2n })).rejects.toMatchObject({ code: "BAD_REQUEST" });
    membership.leave();
    await host.advance(1_000);
    expect(requests(host).slice(1)).toEqual(['JOIN hall {"seat":1}', "LEAVE hall"]);
  });
});

describe("what the server refuses", () => {
  /** Refuse data with the text "bad", and accept everything else. */
  function refuseBad(host: FakeHost): void {
    const { socket } = host;
    socket.onSend = (message) =>
      queueMicrotask(() => {
        const isBad = JSON.stringify(message.data ?? "").includes("bad");
        const refusal = { type: "ERROR", code: 101, name: "BAD_REQUEST", message: "data has more than 2,048 bytes" };
        socket.receive({ ...(isBad ? refusal : { type: "ACK" }), id: message.id } as Message);
      });
  }

  async function seated() {
    const page = await connected();
    refuseBad(page.host);
    const membership = page.client.join("hall", { seat: 1 });
    await membership.joined;
    return { ...page, membership };
  }

  test("refused data rejects, and the member stays, with the data of before", async () => {
    const page = await seated();
    const { host, client, membership } = page;
    await expect(membership.setData("bad")).rejects.toMatchObject({ code: "BAD_REQUEST", numericCode: 101 });
    await host.advance(10_000);
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}', 'SET_MEMBER hall "bad"']);
    expect(client.room("hall").get().joined).toBe(true);
    await membership.setData({ seat: 1 }); // what the server has
    await membership.setData({ seat: 2 });
    await expect(membership.setData("bad")).rejects.toMatchObject({ code: "BAD_REQUEST" });
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    expect(requests(host)).toEqual(['JOIN hall {"seat":2}']);
    membership.leave();
    await settle();
    expect(requests(host)[1]).toBe("LEAVE hall");
  });

  test("newer data is sent, and its answer counts", async () => {
    const { host, membership } = await seated();
    const first = membership.setData("bad");
    await null;
    await membership.setData({ seat: 2 });
    await first;
    await host.advance(10_000);
    expect(requests(host).slice(1)).toEqual(['SET_MEMBER hall "bad"', 'SET_MEMBER hall {"seat":2}']);
  });

  test("after a reload, the data of before is that of the page before", async () => {
    const before = await seated();
    await before.host.signal("leaving");
    const page = await connecting({}, new FakeHost({ storage: before.host.storage }));
    const { host, client } = page;
    const membership = client.join("hall", { seat: 1 });
    await establish(host, {}, [roomSnapshot("hall", [member("ada", 1)])]);
    refuseBad(host);
    await expect(membership.setData("bad")).rejects.toMatchObject({ code: "BAD_REQUEST" });
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2" });
    expect(requests(host)).toEqual(['JOIN hall {"seat":1}']);
  });

  test("a room that refused the member is asked again by setData, and by the next join", async () => {
    const page = await connected();
    const { host, client } = page;
    refuseBad(host);
    const membership = client.join("hall", "bad");
    await expect(membership.joined).rejects.toMatchObject({ code: "BAD_REQUEST" });
    await expect(client.join("hall", "bad, too").joined).rejects.toMatchObject({ code: "BAD_REQUEST" });
    await host.advance(10_000);
    expect(requests(host).filter((request) => !request.startsWith("WATCH"))).toEqual([
      'JOIN hall "bad"',
      'JOIN hall "bad, too"',
    ]);
    await membership.setData({ seat: 1 });
    expect([requests(host).at(-1), client.room("hall").get().joined]).toEqual(['JOIN hall {"seat":1}', true]);
  });

  test("a room that a newer token does not allow is asked again by the next join", async () => {
    const { host, client } = await seated();
    host.socket.receive({ type: "ERROR", code: 107, name: "FORBIDDEN_ROOM", message: "", room: "hall" } as Message);
    await host.advance(10_000);
    expect([requests(host).length, client.room("hall").get().joined]).toEqual([1, false]);
    await client.join("hall", { seat: 2 }).joined;
    await host.advance(10_000);
    expect([requests(host).slice(1), client.room("hall").get().joined]).toEqual([['JOIN hall {"seat":2}'], true]);
  });
});
