/** How an application begins and ends the connection. */

import { describe, expect, test } from "vitest";

import type { Connection } from "../src/index.js";
import { FakeHost, settle } from "./support/fake-host.js";
import { connected, connecting, drop, establish, type Page } from "./support/page.js";

describe("connect, retry, close", () => {
  const states = (page: Page) => page.client.connection.get().state;

  test("nothing is opened before connect", async () => {
    const host = new FakeHost();
    const client = host.client();
    client.user("bob").subscribe(() => {});
    await host.advance(60_000);
    expect([host.sockets.length, client.connection.get().state]).toEqual([0, "idle"]);
  });

  test("several users of the client share one connection, which outlives the last by a second", async () => {
    const host = new FakeHost();
    const client = host.client();
    const [release, releaseToo] = [client.connect(), client.connect()];
    await settle();
    await establish(host);
    release();
    release();
    await host.advance(5_000);
    expect(host.socket.isClosed).toBe(false);
    releaseToo();
    await host.advance(999);
    const releaseLast = client.connect();
    await host.advance(5_000);
    expect([host.sockets.length, host.socket.isClosed]).toEqual([1, false]);
    releaseLast();
    await host.advance(1_000);
    expect(host.socket).toMatchObject({ isClosed: true, closeCode: 1000 });
    expect(client.connection.get()).toMatchObject({ state: "idle", stale: true, error: null });
    await host.advance(120_000); // until what is known is forgotten
    expect(host.leftovers).toBe(0);
  });

  test("retry() connects at once instead of waiting", async () => {
    const page = await connected();
    await drop(page.host, 4429);
    page.client.retry();
    await settle();
    expect([states(page), page.host.sockets.length]).toEqual(["connecting", 2]);
  });

  test.each(["connecting", "open"])("retry() changes nothing in state %s", async (state) => {
    const page = await (state === "open" ? connected() : connecting());
    page.client.retry();
    await settle();
    expect([states(page), page.host.sockets.length]).toEqual([state, 1]);
  });

  test("close() is deliberate, in every state", async () => {
    for (const step of [
      () => connecting(),
      () => connected(),
      async () => {
        const page = await connected();
        await drop(page.host);
        return page;
      },
    ]) {
      const page = await step();
      page.client.close();
      const { length } = page.host.sockets;
      await page.host.advance(3_600_000);
      expect([states(page), page.host.sockets.length]).toEqual(["closed", length]);
      expect(page.host.socket.readyState).toBe(3);
      if (page.host.socket.isClosed) expect(page.host.socket.closeCode).toBe(1000);
      expect(page.host.storage.size).toBe(0);
    }
  });

  test("close() works although the url is wrong", async () => {
    const { host, client } = await connecting({ url: "ftp://presence.test" });
    expect(client.connection.get()).toMatchObject({ state: "failed", error: { code: "BAD_URL" } });
    client.close();
    expect([client.connection.get().state, host.leftovers]).toEqual(["closed", 0]);
  });

  test("close() forgets the session, the records and the user's own state", async () => {
    const page = await connected();
    const { host, client } = page;
    const bob = client.user("bob");
    bob.subscribe(() => {});
    await settle();
    host.socket.receive({
      type: "PRESENCE_SNAPSHOT",
      watch: "users",
      page: 1,
      pages: 1,
      users: [{ userId: "bob", status: "online", since: 1, version: 3 }],
    });
    expect([bob.get().status, client.self.get()?.status]).toEqual(["online", "online"]);
    client.close();
    expect([bob.get().status, client.self.get()]).toEqual(["unknown", null]);
    client.connect();
    await settle();
    expect(host.socket.parameters).not.toHaveProperty("session");
  });

  test.each<[string, (connection: Connection) => boolean]>([
    ["connecting", ({ state, attempt }) => state === "connecting" && attempt > 0],
    ["open", ({ state, since }) => state === "open" && since > 0],
    ["lost", ({ state, stale }) => state === "open" && stale],
    ["waiting", ({ state }) => state === "waiting"],
  ])("close() in a listener of the connection holds: %s", async (moment, isMoment) => {
    const page = await (moment === "open" ? connecting() : connected());
    const { host, client } = page;
    let isClosed = false;
    client.on("connection", (connection) => {
      if (isClosed || !isMoment(connection)) return;
      isClosed = true;
      client.close();
    });
    if (moment === "open") await establish(host);
    else await drop(host);
    await host.advance(600_000);
    expect([isClosed, states(page), client.self.get(), host.leftovers]).toEqual([true, "closed", null, 0]);
    expect(host.sockets.filter(({ readyState }) => readyState !== 3)).toEqual([]);
    client.connect();
    await settle();
    expect(host.socket.parameters).not.toHaveProperty("session");
  });

  test("retry() in a listener of the connection begins one attempt", async () => {
    const page = await connected();
    const { host, client } = page;
    client.on("connection", ({ state }) => state === "waiting" && client.retry());
    await drop(host);
    expect([states(page), host.sockets.length]).toEqual(["connecting", 2]);
    await establish(host, { resumed: true });
    await host.advance(20_000);
    expect([states(page), host.sockets.length]).toEqual(["open", 2]);
  });
});
