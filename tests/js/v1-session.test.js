/** A session of presenced.v1 over several connections: requests, keepalive and reconnects. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Keepalive } from "../../src/presenced/web/demo/v1-keepalive.js";
import { Requests } from "../../src/presenced/web/demo/v1-requests.js";
import { defaultDesiredState } from "../../src/presenced/web/demo/v1-desired-state.js";
import { plainText } from "../../src/presenced/web/demo/v1-descriptions.js";
import { V1Session } from "../../src/presenced/web/demo/v1-session.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("location", { protocol: "http:", host: "localhost:3001" });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function newSession() {
  /** @type {Record<string, unknown>[]} */
  const sent = [];
  const session = new V1Session("ada", defaultDesiredState("phone"), {
    send: (json) => sent.push(JSON.parse(json)),
    changed: () => {},
    timedOut: () => {},
  });
  /** @param {Record<string, unknown>} message */
  const receive = (message) => session.received(JSON.stringify(message));
  return { session, sent, receive };
}

const ESTABLISHED = { type: "CONNECTION_ESTABLISHED", sessionId: "s1", heartbeatInterval: 30, resumeWindow: 60 };
const BOB = { userId: "bob", status: "online", since: 1, version: 1 };

test("a session resumes with its id and position, and reports what it missed", () => {
  const { session, receive } = newSession();
  expect(session.url).toBe("ws://localhost:3001/ws-online-status?userId=ada&device=phone");
  receive({ ...ESTABLISHED, resumed: false });
  receive({ type: "PRESENCE_SNAPSHOT", watch: "everyone", page: 1, pages: 1, users: [BOB] });
  receive({ type: "PRESENCE_CHANGES", position: "e-7", users: [] });
  session.connectionLost();
  expect(new URL(session.url).searchParams.get("session")).toBe("s1");
  expect(new URL(session.url).searchParams.get("position")).toBe("e-7");
  receive({ ...ESTABLISHED, resumed: true });
  expect(session.reconnect).toEqual({ how: "resumed", missed: null });
  receive({ type: "PRESENCE_CHANGES", position: "e-8", users: [{ ...BOB, status: "busy", version: 2 }] });
  receive({ type: "PONG" });
  expect(session.reconnect?.missed?.map(plainText)).toEqual(["bob online → busy"]);
});

test("a request without a response is sent again after a resume, and dropped with its session", () => {
  const { session, sent, receive } = newSession();
  receive({ ...ESTABLISHED, resumed: false });
  session.enterRoom({ name: "lobby", joined: true, data: "" });
  session.connectionLost();
  sent.length = 0;
  receive({ ...ESTABLISHED, resumed: true });
  expect(sent.map(({ type }) => type)).toContain("JOIN");
  session.connectionLost();
  sent.length = 0;
  receive({ ...ESTABLISHED, sessionId: "s2", resumed: false });
  expect(sent.map(({ type }) => type)).not.toContain("JOIN");
});

test("a deliberate close begins a new session", () => {
  const { session, receive } = newSession();
  receive({ ...ESTABLISHED, resumed: false });
  session.ended();
  expect(new URL(session.url).searchParams.has("session")).toBe(false);
});

test("the delay of GOING_AWAY applies once", () => {
  const { session, receive } = newSession();
  receive({ ...ESTABLISHED, resumed: false });
  receive({ type: "GOING_AWAY", retryAfter: 1.5 });
  expect(session.takeRetryDelayMs()).toBe(1500);
  expect(session.takeRetryDelayMs()).toBe(0);
});

test("a refused request leaves its reason, and does not take effect", () => {
  const { session, sent, receive } = newSession();
  receive({ ...ESTABLISHED, resumed: false });
  session.enterRoom({ name: "lobby", joined: true, data: "" });
  const id = sent.find(({ type }) => type === "JOIN")?.id;
  receive({ type: "ERROR", id, code: 1, name: "TOO_MANY", message: "too many rooms" });
  expect(session.refusal).toBe("too many rooms");
  expect(session.desired.rooms).toEqual([]);
});

test("beyond 100 unanswered requests the oldest is no longer tracked", () => {
  const requests = new Requests(() => {});
  const done = vi.fn();
  requests.send({ type: "JOIN" }, done);
  for (let i = 0; i < 100; i++) requests.send({ type: "JOIN" });
  requests.settle("1", true);
  expect(done).not.toHaveBeenCalled();
});

test("a connection times out if no message arrives within an interval", () => {
  const hooks = { ping: vi.fn(), timedOut: vi.fn() };
  const keepalive = new Keepalive(hooks);
  keepalive.start(30_000);
  keepalive.received();
  vi.advanceTimersByTime(30_000);
  expect(hooks.ping).toHaveBeenCalledTimes(2);
  expect(hooks.timedOut).not.toHaveBeenCalled();
  vi.advanceTimersByTime(30_000);
  expect(hooks.timedOut).toHaveBeenCalledTimes(1);
});

test("a machine that has slept pings again before it reports a timeout", () => {
  const hooks = { ping: vi.fn(), timedOut: vi.fn() };
  const keepalive = new Keepalive(hooks);
  const now = vi.spyOn(performance, "now").mockReturnValue(0);
  keepalive.start(30_000);
  now.mockReturnValue(600_000);
  vi.advanceTimersByTime(30_000);
  expect(hooks.timedOut).not.toHaveBeenCalled();
  expect(hooks.ping).toHaveBeenCalledTimes(2);
  keepalive.stop();
  now.mockRestore();
});

test("the server's limits are known after the first message", () => {
  const { session, receive } = newSession();
  receive({ ...ESTABLISHED, resumed: false, limits: { maxTextLength: 140 } });
  expect(session.resumeWindowS).toBe(60);
  expect(session.maxTextLength).toBe(140);
});
