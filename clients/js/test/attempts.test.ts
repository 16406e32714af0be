/** Attempts that cannot begin, and servers that cannot be reached. */

import { describe, expect, test } from "vitest";

import type { PresenceError } from "../src/index.js";
import { FakeHost } from "./support/fake-host.js";
import { connected, connecting, drop, establish, nextAttempt, wait } from "./support/page.js";

const ALMOST_ONE = 1 - 2 ** -32;

describe("an attempt that cannot begin", () => {
  test("the token function throws: as after 1006, and the state says so", async () => {
    const host = new FakeHost();
    host.random = () => ALMOST_ONE;
    let calls = 0;
    const token = () => {
      calls += 1;
      if (calls < 4) throw new Error("signing is down");
      return "ticket";
    };
    const page = await connecting({ token }, host);
    for (const expected of [600, 1_100, 2_100]) {
      expect(Math.round(wait(page))).toBe(expected);
      const { error } = page.client.connection.get();
      expect(error).toMatchObject({ code: "TOKEN_FAILED", message: "signing is down", retryable: true });
      expect(host.sockets.length).toBe(0);
      await host.advance(Math.ceil(wait(page)));
    }
    expect(host.sockets.length).toBe(1);
    await establish(host);
    expect(page.client.connection.get()).toMatchObject({ state: "open", error: null });
  });

  test("the token function rejects: the same", async () => {
    const page = await connecting({ token: () => Promise.reject(new Error("offline")) });
    expect(page.client.connection.get()).toMatchObject({ state: "waiting", error: { code: "TOKEN_FAILED" } });
  });

  test.each([
    ["a text", "offline", "offline"],
    ["undefined", undefined, "undefined"],
    ["null", null, "null"],
  ])("the token function rejects with %s instead of an error: the same", async (_, reason, message) => {
    const page = await connecting({ token: () => Promise.reject(reason) });
    expect(page.client.connection.get()).toMatchObject({ state: "waiting", error: { code: "TOKEN_FAILED", message } });
  });

  test("the token function returns null: closed, and nothing is opened", async () => {
    const { host, client } = await connecting({ token: async () => null });
    expect(client.connection.get()).toMatchObject({ state: "closed", retryAt: 0 });
    await host.signal("visible");
    await host.signal("online");
    await host.signal("restored");
    await host.advance(3_600_000);
    expect(host.sockets.length).toBe(0);
  });

  test("the token function returns null later: closed, and no attempt follows", async () => {
    let token: string | null = "ticket";
    const page = await connected({ token: () => token });
    token = null;
    await drop(page.host);
    await page.host.advance(60_000);
    expect(page.client.connection.get().state).toBe("closed");
    expect(page.host.sockets.length).toBe(1);
  });

  test.each(["presence.test", "ftp://presence.test", "https://presence.test/#here", "https://"])(
    'the url "%s" cannot be used: failed, with a hint',
    async (url) => {
      const { host, client } = await connecting({ url });
      expect(client.connection.get()).toMatchObject({ state: "failed", error: { code: "BAD_URL" } });
      expect(client.connection.get().error?.hint).not.toBe("");
      expect(host.sockets.length).toBe(0);
    },
  );

  test("the host refuses to open a socket: failed", async () => {
    const host = new FakeHost();
    host.onOpen = () => {
      throw new SyntaxError("not a URL");
    };
    const { client } = await connecting({}, host);
    expect(client.connection.get()).toMatchObject({ state: "failed", error: { message: "not a URL" } });
  });

  test("after three attempts that never opened, the server counts as unreachable", async () => {
    const page = await connecting();
    const errors: (PresenceError | null)[] = [];
    for (let attempt = 0; attempt < 4; attempt += 1) {
      if (attempt) await nextAttempt(page);
      await drop(page.host);
      errors.push(page.client.connection.get().error);
    }
    expect(errors.map((error) => error?.code)).toEqual([undefined, undefined, "UNREACHABLE", "UNREACHABLE"]);
    expect(errors[2]?.hint).toMatch(/running.*log.*origin/i);
    expect(errors[2]?.retryable).toBe(true);
    await nextAttempt(page);
    await establish(page.host);
    await drop(page.host);
    expect(page.client.connection.get().error).toBeNull();
  });
});
