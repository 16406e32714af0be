/** Hidden pages: attempts, pings, and whether the person is there. */

import { describe, expect, test } from "vitest";

import type { PresenceClient } from "../src/index.js";
import { FakeHost, settle } from "./support/fake-host.js";
import { connected, connecting, drop, establish, nextAttempt, type Page, wait } from "./support/page.js";

const state = ({ client }: Page) => client.connection.get().state;

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

describe("activity after close()", () => {
  test("retry() detects it again", async () => {
    const { host, client } = await connected({ activity: { idleAfter: 10 } });
    client.close();
    client.retry();
    await settle();
    await establish(host, { sessionId: "session-2" });
    await host.advance(10_000);
    await host.input();
    expect(host.socket.sentOf("ACTIVITY")).toMatchObject([{ state: "idle" }, { state: "active" }]);
  });

  test("an application that closes in the background is active when it returns", async () => {
    const host = new FakeHost();
    let client: PresenceClient | undefined;
    // Like React Native, the fake host still calls listeners that an earlier one removes.
    host.host.onSignal((signal) => (signal === "hidden" ? client?.close() : client?.retry()));
    ({ client } = await connected({ activity: { hiddenAfter: 0 } }, host));
    await host.signal("hidden");
    await host.advance(60_000);
    await host.signal("visible");
    expect([client.explain().activity, host.socket.parameters.activity]).toEqual(["active", "active"]);
  });
});
