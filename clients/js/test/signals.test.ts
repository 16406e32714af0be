/** Signals of the page, in each state: the table row by row. */

import { describe, expect, test } from "vitest";

import type { Signal } from "../src/index.js";
import { FakeHost } from "./support/fake-host.js";
import { connected, connecting, drop, establish, nextAttempt, type Page, wait } from "./support/page.js";

const SIGNALS: readonly Signal[] = ["visible", "hidden", "online", "offline", "restored", "leaving", "frozen"];
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

describe("hidden", () => {
  test("waiting: at most one attempt a minute", async () => {
    const page = await connected();
    const { host } = page;
    await host.signal("hidden");
    await drop(host);
    for (let minute = 0; minute < 5; minute += 1) {
      const { openedAt } = host.socket;
      const next = await nextAttempt(page);
      expect(next.openedAt - openedAt).toBeGreaterThanOrEqual(60_000);
      await drop(host);
    }
  });

  test("waiting: a page that is hidden meanwhile postpones its attempt, and one that is shown connects now", async () => {
    const page = await connected();
    const { host } = page;
    await drop(host);
    await nextAttempt(page);
    const { openedAt } = host.socket;
    await drop(host);
    await host.signal("hidden");
    expect(host.time + wait(page)).toBe(openedAt + 60_000);
    await host.advance(10_000);
    await host.signal("visible");
    await host.advance(250);
    expect(host.sockets.length).toBe(3);
  });

  test("connecting: the attempt goes on", async () => {
    const page = await connecting();
    await page.host.signal("hidden");
    await establish(page.host);
    expect(state(page)).toBe("open");
  });

  test("open: the client sends no PING", async () => {
    const page = await connected();
    await page.host.signal("hidden");
    await page.host.advance(600_000);
    expect(page.host.socket.sentOf("PING")).toEqual([]);
  });

  test("open and visible: a PING one heartbeat interval after the last message", async () => {
    const page = await connected();
    const { host } = page;
    await host.advance(20_000);
    host.socket.receive({ type: "PRESENCE_CHANGES", position: "epoch-1-2", users: [] });
    await host.advance(29_999);
    expect(host.socket.sentOf("PING").length).toBe(0);
    await host.advance(1);
    expect(host.socket.sentOf("PING").length).toBe(1);
    await host.advance(30_000);
    expect(host.socket.sentOf("PING").length).toBe(2);
  });

  test("open and visible: a PING without an answer is a loss", async () => {
    const page = await connected();
    page.host.socket.onSend = () => {};
    await page.host.advance(45_000);
    expect(page.host.sockets.length + Number(state(page) === "waiting")).toBeGreaterThan(1);
  });

  test("a page that opens hidden is one", async () => {
    const host = new FakeHost();
    host.isHidden = true;
    await connected({}, host);
    await host.advance(600_000);
    expect(host.socket.sentOf("PING")).toEqual([]);
  });
});

describe("hidden and input: activity", () => {
  const activities = ({ host }: Page) => host.socket.sentOf("ACTIVITY").map(({ state }) => state);

  test("hidden for hiddenAfter is idle, visible again is active", async () => {
    const page = await connected({ activity: {} });
    await page.host.signal("hidden");
    await page.host.advance(59_999);
    expect(activities(page)).toEqual([]);
    await page.host.advance(1);
    expect(activities(page)).toEqual(["idle"]);
    await page.host.advance(60_000);
    await page.host.signal("visible");
    expect(activities(page)).toEqual(["idle", "active"]);
  });

  test("a page that opens hidden is idle after hiddenAfter", async () => {
    const host = new FakeHost();
    host.isHidden = true;
    const page = await connected({ activity: {} }, host);
    await host.advance(60_000);
    expect(activities(page)).toEqual(["idle"]);
  });

  test("no input for idleAfter is idle, an input is active; only changes are sent", async () => {
    const page = await connected({ activity: { idleAfter: 100 } });
    for (let turn = 0; turn < 5; turn += 1) {
      await page.host.advance(99_000);
      await page.host.input();
    }
    expect(activities(page)).toEqual([]);
    await page.host.advance(200_000);
    expect(activities(page)).toEqual(["idle"]);
    await page.host.input();
    await page.host.input();
    expect(activities(page)).toEqual(["idle", "active"]);
  });

  test("an idle page says so in the URL of its next connection", async () => {
    const page = await connected({ activity: {} });
    expect(page.host.socket.parameters.activity).toBe("active");
    await page.host.signal("hidden");
    await page.host.advance(60_000);
    await drop(page.host);
    await nextAttempt(page);
    expect(page.host.socket.parameters.activity).toBe("idle");
    await establish(page.host, { resumed: true });
    expect(activities(page)).toEqual([]);
  });

  test("setActive overrides what is detected, until auto", async () => {
    const page = await connected({ activity: {} });
    page.client.setActive(false);
    await page.host.input();
    expect(activities(page)).toEqual(["idle"]);
    page.client.setActive("auto");
    await page.host.advance(0);
    expect(activities(page)).toEqual(["idle", "active"]);
  });

  test("without detection nothing is sent", async () => {
    const page = await connected({ activity: false });
    await page.host.signal("hidden");
    await page.host.advance(600_000);
    expect(activities(page)).toEqual([]);
  });
});

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
