/** Pages that leave or freeze, and clients that no signal may open. */

import { describe, expect, test } from "vitest";

import type { Signal } from "../src/index.js";
import { FakeHost } from "./support/fake-host.js";
import { connected, connecting, drop, establish, type Page } from "./support/page.js";

const SIGNALS: readonly Signal[] = ["visible", "hidden", "online", "offline", "restored", "leaving", "frozen"];

/** A client that waits half a minute for its next attempt. */
async function waiting(): Promise<Page> {
  const page = await connected();
  page.host.socket.receive({ type: "GOING_AWAY", retryAfter: 30 });
  await drop(page.host, 1001);
  return page;
}

const state = ({ client }: Page) => client.connection.get().state;

describe("leaving", () => {
  test("open: the session is saved, and the browser may close with 1001", async () => {
    const page = await connected();
    await page.host.signal("leaving");
    expect([state(page), page.host.socket.isClosed, page.host.storage.size]).toEqual(["open", false, 1]);
    expect([...page.host.storage.values()].join()).toContain("session-1");
  });

  test("waiting: the session is saved", async () => {
    const page = await waiting();
    await page.host.signal("leaving");
    expect([state(page), page.host.storage.size]).toEqual(["waiting", 1]);
  });

  test("connecting for the first time: there is nothing to save", async () => {
    const page = await connecting();
    await page.host.signal("leaving");
    expect([state(page), page.host.storage.size]).toEqual(["connecting", 0]);
  });

  test("a page that stays goes on", async () => {
    const page = await connected();
    await page.host.signal("leaving");
    await page.host.advance(100_000);
    expect([state(page), page.host.sockets.length]).toEqual(["open", 1]);
  });
});

describe("frozen", () => {
  test("open: saved, closed with 4001, and nothing is opened until restored", async () => {
    const page = await connected();
    const { host } = page;
    await host.signal("frozen");
    expect(host.socket).toMatchObject({ isClosed: true, closeCode: 4001 });
    expect(host.storage.size).toBe(1);
    await host.signal("hidden");
    await host.advance(100_000);
    expect([state(page), host.sockets.length]).toEqual(["waiting", 1]);
    expect(page.client.connection.get()).toMatchObject({ stale: true, retryAt: 0 });
    await host.signal("restored");
    await host.advance(250);
    expect(host.sockets.length).toBe(2);
    expect(host.socket.parameters).toMatchObject({ session: "session-1", position: "epoch-1-1" });
    await establish(host, { resumed: true });
    expect(page.client.connection.get()).toMatchObject({ state: "open", stale: false });
  });

  test("waiting: nothing is opened until restored", async () => {
    const page = await waiting();
    await page.host.signal("frozen");
    await page.host.advance(100_000);
    expect(page.host.sockets.length).toBe(1);
    await page.host.signal("restored");
    await page.host.advance(250);
    expect(page.host.sockets.length).toBe(2);
  });

  test("connecting: the attempt ends, and nothing is opened until restored", async () => {
    const page = await connecting();
    await page.host.signal("frozen");
    await page.host.advance(100_000);
    expect([page.host.sockets.length, page.host.socket.isClosed]).toEqual([1, true]);
    await page.host.signal("restored");
    await page.host.advance(250);
    expect(page.host.sockets.length).toBe(2);
  });

  test("a frozen page that is offline on its return waits for online", async () => {
    const page = await connected();
    await page.host.signal("frozen");
    await page.host.signal("offline");
    await page.host.advance(100_000);
    expect(page.host.sockets.length).toBe(1);
  });

  test("what was saved is not left behind for another page once the session goes on", async () => {
    const page = await connected();
    await page.host.signal("frozen");
    await page.host.signal("restored");
    await page.host.advance(250);
    await establish(page.host, { resumed: true });
    page.client.close();
    expect(page.host.storage.size).toBe(0);
  });
});

describe("a client that does not want to connect", () => {
  test.each(SIGNALS)("%s opens nothing while it is idle, closed or failed", async (signal) => {
    const idle = new FakeHost();
    idle.client();
    const released = await connecting();
    released.client.close();
    const closed = await connected();
    closed.client.close();
    const closedWaiting = await waiting();
    closedWaiting.client.close();
    const signedOut = await connecting({ token: () => null });
    const failed = await connected();
    await drop(failed.host, 4410);
    for (const host of [idle, released.host, closed.host, closedWaiting.host, signedOut.host, failed.host]) {
      const { length } = host.sockets;
      await host.signal("offline");
      await host.signal(signal);
      await host.signal("online");
      await host.signal(signal);
      await host.advance(3_600_000);
      expect(host.sockets.length).toBe(length);
    }
    expect(state(closed)).toBe("closed");
    expect(state(failed)).toBe("failed");
  });

  test("a closed client leaves no listeners and no timers", async () => {
    const page = await connected({ activity: {} });
    page.client.user("bob").subscribe(() => {})();
    await drop(page.host);
    page.client.close();
    await page.host.advance(60_000);
    expect(page.host.leftovers).toBe(0);
  });
});
