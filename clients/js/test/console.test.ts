/** What the client prints in the console, where a developer looks first. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { PresenceOptions } from "../src/index.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";

const printed = () => ({
  error: vi.mocked(console.error).mock.calls.flat(),
  warn: vi.mocked(console.warn).mock.calls.flat(),
});

beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  vi.spyOn(console, "warn").mockImplementation(() => {});
});

afterEach(() => {
  vi.restoreAllMocks();
});

test("an invalid URL is one error with its fix", async () => {
  await connecting({ url: "localhost:3003" });
  const line =
    'presenced: BAD_URL: url is "localhost:3003". ' +
    'Set url to the address of the server, such as "wss://presence.example.com".';
  expect(printed()).toEqual({ error: [line], warn: [] });
});

test("a final close code is one error with the server's reason", async () => {
  const { host, client } = await connecting();
  await drop(host, 4400, "userId is missing");
  await host.advance(60_000);
  expect(client.connection.get().state).toBe("failed");
  const line = "presenced: BAD_USER_ID: userId is missing. Set userId, or connect only after the user has signed in.";
  expect(printed()).toEqual({ error: [line], warn: [] });
});

test("a client that fails again after retry says so again", async () => {
  const { host, client } = await connecting();
  await drop(host, 4400, "userId is missing");
  client.retry();
  await host.advance(0);
  await drop(host, 4400, "userId is missing");
  expect(printed().error.length).toBe(2);
});

test("of the errors of a token function, only the first in a row is printed", async () => {
  let fails = true;
  const token: PresenceOptions["token"] = () => {
    if (fails) throw new Error("no token: 500");
    return "ticket";
  };
  const page = await connecting({ token: async () => token() as string });
  await page.host.advance(60_000);
  expect(page.client.connection.get().attempt).toBeGreaterThan(2);
  const line = "presenced: TOKEN_FAILED: no token: 500. See the error of the token function. The client tries again.";
  expect(printed()).toEqual({ error: [], warn: [line] });

  fails = false;
  await nextAttempt(page);
  await establish(page.host);
  fails = true;
  await drop(page.host);
  await page.host.advance(60_000);
  expect(printed().warn).toEqual([line, line]);
});

test("losses from which the client recovers print nothing", async () => {
  const page = await connected();
  await drop(page.host);
  await nextAttempt(page);
  await drop(page.host, 1013, "the key set does not respond");
  await nextAttempt(page);
  await establish(page.host);
  page.client.close();
  expect(printed()).toEqual({ error: [], warn: [] });
});
