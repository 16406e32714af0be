/** Signals of the page while it waits, connects or is open: return, restore, loss of the network. */

import { describe, expect, test } from "vitest";

import type { Signal } from "../src/index.js";
import { connected, connecting, drop, establish, nextAttempt, type Page, wait } from "./support/page.js";

const RETURN: readonly Signal[] = ["visible", "online"];
const ALMOST_ONE = 1 - 2 ** -32;

/** A client that waits half a minute for its next attempt. */
async function waiting(): Promise<Page> {
  const page = await connected();
  page.host.socket.receive({ type: "GOING_AWAY", retryAfter: 30 });
  await drop(page.host, 1001);
  return page;
}

const state = ({ client }: Page) => client.connection.get().state;

describe.each(RETURN)("%s", (signal) => {
  test("waiting: the client connects now, within 250 ms", async () => {
    for (const random of [0, 0.5, ALMOST_ONE]) {
      const page = await waiting();
      page.host.random = () => random;
      await page.host.signal(signal);
      expect(wait(page)).toBeCloseTo(random * 250, 3);
      await page.host.advance(250);
      expect([state(page), page.host.sockets.length]).toEqual(["connecting", 2]);
    }
  });

  test("connecting: an attempt older than 2 s is abandoned", async () => {
    const page = await connecting();
    const [first] = page.host.sockets;
    await page.host.advance(2_001);
    await page.host.signal(signal);
    await page.host.advance(250);
    expect([state(page), page.host.sockets.length, first?.isClosed]).toEqual(["connecting", 2, true]);
  });

  test("connecting: a younger one goes on", async () => {
    const page = await connecting();
    await page.host.advance(1_999);
    await page.host.signal(signal);
    await page.host.advance(1_000);
    expect([state(page), page.host.sockets.length, page.host.socket.isClosed]).toEqual(["connecting", 1, false]);
  });

  test("open: a message within 2 s is proof enough", async () => {
    const page = await connected();
    await page.host.advance(1_999);
    await page.host.signal(signal);
    await page.host.advance(10_000);
    expect(page.host.socket.sentOf("PING")).toEqual([]);
    expect(state(page)).toBe("open");
  });

  test("open: otherwise PING, and its answer keeps the connection and measures it", async () => {
    const page = await connected();
    const { host, client } = page;
    host.socket.onSend = () => {};
    await host.advance(2_000);
    await host.signal(signal);
    const [ping] = host.socket.sentOf("PING");
    expect(ping).toBeDefined();
    await host.advance(2_900);
    host.socket.receive({ type: "PONG", id: ping?.id, serverTime: host.time } as never);
    await host.advance(10_000);
    expect(client.connection.get()).toMatchObject({ state: "open", latency: 2_900 });
    expect(host.sockets.length).toBe(1);
  });

  test("open: after 3 s of silence the connection counts as lost, and is resumed", async () => {
    const page = await connected();
    const { host } = page;
    host.socket.onSend = () => {};
    await host.advance(2_000);
    await host.signal(signal);
    await host.advance(2_999);
    expect(state(page)).toBe("open");
    await host.advance(1);
    expect(state(page)).toBe("waiting");
    await nextAttempt(page);
    expect(host.socket.parameters).toMatchObject({ session: "session-1", position: "epoch-1-1" });
  });

  test("open: any message within the 3 s is proof enough", async () => {
    const page = await connected();
    const { host } = page;
    host.socket.onSend = () => {};
    await host.advance(2_000);
    await host.signal(signal);
    await host.advance(2_000);
    host.socket.receive({ type: "PRESENCE_CHANGES", position: "epoch-1-2", users: [] });
    await host.advance(2_000);
    expect(state(page)).toBe("open");
  });

  test("open: several signals do not prolong the 3 s", async () => {
    const page = await connected();
    const { host } = page;
    host.socket.onSend = () => {};
    await host.advance(2_000);
    for (let second = 0; second < 3; second += 1) {
      await host.signal(signal);
      await host.advance(1_000);
    }
    expect(state(page)).toBe("waiting");
  });
});

describe("a socket that the client gives up", () => {
  // A browser sends the close frame if the connection still works. No code, or 1000, would end the session.
  test("closes so that its session survives: lost after a PING", async () => {
    const { host } = await connected();
    host.socket.onSend = () => {};
    await host.advance(2_000);
    await host.signal("visible");
    await host.advance(3_000);
    expect(host.sockets[0]).toMatchObject({ isClosed: true, closeCode: 4001 });
  });

  test("closes so that its session survives: restored", async () => {
    const { host } = await connected();
    await host.signal("restored");
    expect(host.sockets[0]).toMatchObject({ isClosed: true, closeCode: 4001 });
  });

  test("closes so that its session survives: an old attempt", async () => {
    const page = await connected();
    const { host } = page;
    await drop(host);
    const second = await nextAttempt(page);
    second.open();
    await host.advance(3_000);
    await host.signal("visible");
    expect(second).toMatchObject({ isClosed: true, closeCode: 4001 });
  });

  test("closes so that its session survives: an attempt without an answer", async () => {
    const page = await connected();
    const { host } = page;
    await drop(host);
    const second = await nextAttempt(page);
    second.open();
    await host.advance(60_000);
    expect(second).toMatchObject({ isClosed: true, closeCode: 4001 });
  });
});

describe("restored", () => {
  test("waiting: the client connects now", async () => {
    const page = await waiting();
    await page.host.signal("restored");
    await page.host.advance(250);
    expect([state(page), page.host.sockets.length]).toEqual(["connecting", 2]);
  });

  test("connecting: it starts again, however young the attempt is", async () => {
    const page = await connecting();
    await page.host.signal("restored");
    expect([state(page), page.host.sockets.length, page.host.sockets[0]?.isClosed]).toEqual(["connecting", 2, true]);
  });

  test("open: the socket is dropped without a wait for its close, and the session resumed at once", async () => {
    const page = await connected();
    const [first] = page.host.sockets;
    await page.host.signal("restored");
    expect([state(page), page.host.sockets.length]).toEqual(["connecting", 2]);
    expect(page.host.socket.parameters).toMatchObject({ session: "session-1", position: "epoch-1-1" });
    first?.drop(1006); // the browser reports it late
    await establish(page.host, { resumed: true });
    expect([state(page), page.host.sockets.length]).toEqual(["open", 2]);
  });

  test("what is known stays, and is stale until the client has caught up", async () => {
    const page = await connected();
    const { host, client } = page;
    const bob = client.user("bob");
    bob.subscribe(() => {});
    await host.advance(0);
    const users = [{ userId: "bob", status: "online", since: 1, version: 1 }];
    host.socket.receive({ type: "PRESENCE_SNAPSHOT", watch: "users", page: 1, pages: 1, users } as never);
    const before = bob.get();
    expect([before.status, client.connection.get().stale]).toEqual(["online", false]);
    await host.signal("restored");
    expect([bob.get() === before, client.connection.get().stale]).toEqual([true, true]);
    await establish(host, { resumed: true });
    expect([bob.get() === before, client.connection.get().stale]).toEqual([true, false]);
    expect(host.socket.sent).toEqual([]);
  });
});

describe("offline", () => {
  test("waiting: the client waits for online", async () => {
    const page = await waiting();
    await page.host.signal("offline");
    expect(page.client.connection.get()).toMatchObject({ state: "waiting", retryAt: 0 });
    await page.host.advance(3_600_000);
    expect(page.host.sockets.length).toBe(1);
    await page.host.signal("online");
    await page.host.advance(250);
    expect([state(page), page.host.sockets.length]).toEqual(["connecting", 2]);
  });

  test("connecting: nothing changes; the next wait is one for online", async () => {
    const page = await connecting();
    await page.host.signal("offline");
    expect([state(page), page.host.socket.isClosed]).toEqual(["connecting", false]);
    await drop(page.host);
    await page.host.advance(3_600_000);
    expect([state(page), page.host.sockets.length]).toEqual(["waiting", 1]);
  });

  test("open: stale, but the socket may survive", async () => {
    const page = await connected();
    await page.host.signal("offline");
    expect(page.client.connection.get()).toMatchObject({ state: "open", stale: true });
    expect(page.host.socket.isClosed).toBe(false);
    await page.host.signal("online");
    await page.host.advance(10_000);
    expect(page.client.connection.get()).toMatchObject({ state: "open", stale: false });
    expect(page.host.sockets.length).toBe(1);
  });

  test("open, and the socket breaks: no attempts until online", async () => {
    const page = await connected();
    await page.host.signal("offline");
    await drop(page.host);
    await page.host.advance(3_600_000);
    expect([state(page), page.host.sockets.length]).toEqual(["waiting", 1]);
  });
});
