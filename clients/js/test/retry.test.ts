/** The table of retries after the end of a connection, row by row. */

import { describe, expect, test } from "vitest";

import codes from "../../../spec/codes.json" with { type: "json" };
import { settle } from "./support/fake-host.js";
import { connected, connecting, drop, establish, nextAttempt, wait } from "./support/page.js";

const ALMOST_ONE = 1 - 2 ** -32;

interface Row {
  readonly code: number;
  readonly name: string;
  readonly reconnect: boolean;
  readonly hint: string;
  readonly backoff?: string;
}

const rows: readonly Row[] = codes.close;
const final = rows.filter(({ reconnect, code }) => !reconnect && code !== 4401 && code !== 4409);
const slow = rows.filter(({ backoff }) => backoff === "slow");
const ordinary = rows.filter(({ reconnect, backoff }) => reconnect && !backoff);

/** Waits after `count` losses in a row with this code, each of an attempt that never opened. */
async function waits(code: number, count: number, random: number): Promise<number[]> {
  const page = await connecting();
  page.host.random = () => random;
  const result: number[] = [];
  for (let attempt = 0; attempt < count; attempt += 1) {
    if (attempt) await nextAttempt(page);
    await drop(page.host, code);
    result.push(Math.round(wait(page)));
  }
  return result;
}

describe("1006, unknown codes and codes after which a client reconnects", () => {
  test("the table of codes has all kinds", () => {
    expect([final.length, slow.length, ordinary.length]).toEqual([
      expect.any(Number),
      3,
      rows.length - final.length - 3 - 2,
    ]);
    expect(slow.map(({ code }) => code)).toEqual([1013, 4421, 4429]);
  });

  test.each([1006, 1005, 1015, 4999, 3000, ...ordinary.map(({ code }) => code)])("%d: full jitter", async (code) => {
    expect(await waits(code, 9, 0)).toEqual(Array(9).fill(100));
    expect(await waits(code, 9, ALMOST_ONE)).toEqual([600, 1_100, 2_100, 4_100, 8_100, 16_100, 30_100, 30_100, 30_100]);
  });

  test("a wait lies anywhere between the bounds", async () => {
    expect(await waits(1006, 3, 0.5)).toEqual([350, 600, 1_100]);
  });

  test("the number of attempts returns to 0 after 10 s in state open, not before", async () => {
    const page = await connecting();
    const { host, client } = page;
    host.random = () => ALMOST_ONE;
    await drop(host);
    await nextAttempt(page);
    await drop(host);
    await nextAttempt(page);
    expect(client.connection.get().attempt).toBe(2);
    await establish(host);
    await host.advance(9_999);
    expect(client.connection.get().attempt).toBe(2);
    await drop(host);
    expect(Math.round(wait(page))).toBe(2_100);
    await nextAttempt(page);
    await establish(host);
    await host.advance(10_000);
    expect(client.connection.get().attempt).toBe(0);
    await drop(host);
    expect(Math.round(wait(page))).toBe(600);
  });

  test("the state says since when, which attempt, and when the next one is", async () => {
    const page = await connected();
    const { host, client } = page;
    await host.advance(20_000);
    await drop(host);
    const { state, since, attempt, retryAt, stale, error } = client.connection.get();
    expect({ state, since, attempt, stale, error }).toEqual({
      state: "waiting",
      since: host.time,
      attempt: 1,
      stale: true,
      error: null,
    });
    expect(retryAt).toBeGreaterThanOrEqual(host.time + 100);
    expect(retryAt).toBeLessThan(host.time + 600);
  });

  test("a code of the table shows as an error while the client waits, and is gone when it is open", async () => {
    const page = await connected();
    await drop(page.host, 4408, "no pong");
    expect(page.client.connection.get().error).toMatchObject({ code: "TIMED_OUT", numericCode: 4408, retryable: true });
    await nextAttempt(page);
    await establish(page.host);
    expect(page.client.connection.get()).toMatchObject({ state: "open", error: null });
  });

  test("an attempt without an answer is given up", async () => {
    const page = await connecting();
    await page.host.advance(60_000);
    expect(page.host.sockets.length).toBeGreaterThan(1);
    expect(page.host.sockets[0]?.isClosed).toBe(true);
  });

  test("a message of an abandoned socket counts no more", async () => {
    const page = await connected();
    const [first] = page.host.sockets;
    await page.host.signal("restored");
    first?.receive({ type: "PRESENCE_CHANGES", position: "late", users: [] });
    first?.drop(4401);
    await settle();
    await establish(page.host, { resumed: true });
    expect(page.client.connection.get()).toMatchObject({ state: "open", error: null });
  });
});

describe("GOING_AWAY", () => {
  test.each([1001, 1006])(
    "the first attempt waits as long as the server asks, then as after 1006 (%d)",
    async (code) => {
      const page = await connected();
      const { host } = page;
      host.random = () => ALMOST_ONE;
      host.socket.receive({ type: "GOING_AWAY", retryAfter: 1.234 });
      await drop(host, code);
      expect(wait(page)).toBe(1_234);
      await nextAttempt(page);
      await drop(host);
      expect(Math.round(wait(page))).toBe(600);
      await nextAttempt(page);
      await drop(host);
      expect(Math.round(wait(page))).toBe(1_100);
    },
  );

  test("a retryAfter of 0 is a wait, too", async () => {
    const page = await connected();
    page.host.socket.receive({ type: "GOING_AWAY", retryAfter: 0 });
    await drop(page.host, 1001);
    expect(wait(page)).toBeGreaterThanOrEqual(0);
    expect(wait(page)).toBeLessThanOrEqual(10);
  });

  test("it does not outlive the next connection", async () => {
    const page = await connected();
    page.host.random = () => ALMOST_ONE;
    page.host.socket.receive({ type: "GOING_AWAY", retryAfter: 25 });
    await page.host.signal("restored"); // the page left before the close frame came
    await establish(page.host, { resumed: true });
    await drop(page.host);
    expect(Math.round(wait(page))).toBe(600);
  });
});

describe("1013, 4421, 4429", () => {
  test.each(slow)("$code: seconds instead of half a second", async ({ code }) => {
    expect(await waits(code, 5, 0)).toEqual(Array(5).fill(100));
    expect(await waits(code, 5, ALMOST_ONE)).toEqual([4_100, 8_100, 16_100, 30_100, 30_100]);
  });

  test.each(slow)("$code: the state says why", async ({ code, name, hint }) => {
    const page = await connected();
    await drop(page.host, code, "a reason");
    expect(page.client.connection.get().error).toMatchObject({ code: name, numericCode: code, hint, retryable: true });
    expect(page.client.connection.get().error?.message).toContain("a reason");
  });
});

describe("4401", () => {
  const page = (token: () => string) => connecting({ token });

  test("the client tries once more with a fresh token, a second later: the next one is of another second", async () => {
    let calls = 0;
    const { host, client } = await page(() => `ticket-${++calls}`);
    await drop(host, 4401);
    await host.advance(1_000);
    expect(host.sockets.map(({ protocols }) => protocols[1])).toEqual([
      "presenced.token.ticket-1",
      "presenced.token.ticket-2",
    ]);
    expect(client.connection.get().state).toBe("connecting");
  });

  test("a second one in a row is final", async () => {
    const { host, client } = await page(() => "ticket");
    await drop(host, 4401);
    await host.advance(1_000);
    await drop(host, 4401, "revoked");
    await host.advance(1_000);
    const { state, error } = client.connection.get();
    expect(state).toBe("failed");
    expect(error).toMatchObject({ code: "UNAUTHORIZED", numericCode: 4401, retryable: false });
    expect(error?.hint).not.toBe("");
    await host.advance(3_600_000);
    expect(host.sockets.length).toBe(2);
  });

  test("after a connection that opened, there is another try", async () => {
    const { host, client } = await page(() => "ticket");
    for (let turn = 0; turn < 4; turn += 1) {
      await establish(host);
      await drop(host, 4401, "expired");
      await host.advance(1_000);
      expect(client.connection.get().state).toBe("connecting");
    }
  });

  test.each([
    ["a fixed token", { token: "fixed" }],
    ["no token", {}],
  ])("with %s it is final at once", async (_, options) => {
    const { host, client } = await connecting(options);
    await drop(host, 4401);
    await host.advance(1_000);
    expect(client.connection.get()).toMatchObject({ state: "failed", error: { code: "UNAUTHORIZED" } });
    await host.advance(3_600_000);
    expect(host.sockets.length).toBe(1);
  });
});

describe("4409 on the newest connection", () => {
  test("a new session begins at once", async () => {
    const { host, client } = await connected();
    await drop(host, 4409);
    expect(client.connection.get().state).toBe("connecting");
    expect(host.socket.parameters).not.toHaveProperty("session");
    expect(host.socket.parameters).not.toHaveProperty("position");
  });

  test("the third within a minute is final", async () => {
    const { host, client } = await connected();
    for (const sessionId of ["session-2", "session-3"]) {
      await drop(host, 4409);
      await establish(host, { sessionId });
      await host.advance(29_000);
    }
    await drop(host, 4409);
    expect(client.connection.get()).toMatchObject({ state: "failed", error: { code: "REPLACED", numericCode: 4409 } });
    await host.advance(3_600_000);
    expect(host.sockets.length).toBe(3);
  });

  test("three in more than a minute are not", async () => {
    const { host, client } = await connected();
    for (const sessionId of ["session-2", "session-3", "session-4", "session-5"]) {
      await drop(host, 4409);
      await establish(host, { sessionId });
      await host.advance(31_000);
    }
    expect(client.connection.get().state).toBe("open");
  });
});

describe("codes after which the same client does not reconnect", () => {
  test.each(final)("$code $name", async ({ code, name, hint }) => {
    const { host, client } = await connected();
    host.socket.drop(code, "what is wrong");
    await settle();
    const { state, error, stale, retryAt } = client.connection.get();
    expect({ state, stale, retryAt }).toEqual({ state: "failed", stale: true, retryAt: 0 });
    expect(error).toMatchObject({ code: name, numericCode: code, hint, retryable: false, message: "what is wrong" });
    expect(hint).not.toBe("");
    await host.advance(3_600_000);
    expect(host.sockets.length).toBe(1);
  });

  test("everything that waits is rejected, and later calls at once", async () => {
    const { host, client } = await connecting();
    const calls = () => [
      client.ready(),
      client.setStatus({ status: "busy" }),
      client.wire.request({ type: "X" }),
      client.join("lobby").joined,
    ];
    const before = calls();
    await drop(host, 4400, "no user id");
    for (const call of [...before, ...calls()]) await expect(call).rejects.toMatchObject({ code: "BAD_USER_ID" });
  });

  test.each(["connect", "retry"] as const)("%s() tries again", async (method) => {
    const { host, client } = await connected();
    await drop(host, 4410);
    client[method]();
    await settle();
    expect(host.sockets.length).toBe(2);
    await establish(host, { sessionId: "session-2" });
    expect(client.connection.get()).toMatchObject({ state: "open", error: null });
  });

  test("after 4410 the client has a session again", async () => {
    const { host, client } = await connected();
    await drop(host, 4410);
    client.retry();
    await settle();
    await establish(host, { sessionId: "session-2" });
    expect(client.connection.get()).toMatchObject({ state: "open", stale: false });
  });
});
