import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type PresenceError, presenceServer } from "../../src/server/index.js";
import { type FakeFetch, fakeFetch, ok, problem, refused } from "./fake-fetch.js";

const NOW = Date.parse("2026-05-04T09:30:00Z");
const ADA = { userId: "ada", status: "online", since: 1, version: 2 };

beforeEach(() => vi.useFakeTimers({ now: NOW }));
afterEach(() => vi.useRealTimers());

const server = (
  { fetch }: FakeFetch,
  onError: (error: PresenceError) => void = (error) => expect.fail(error.message),
) => presenceServer({ url: "http://presence", fetch, onError });

const found = (...users: object[]) => ok({ users, errors: [] });

test("it returns the records of the users, with the time", async () => {
  const fake = fakeFetch(found(ADA));
  expect(await server(fake).snapshot(["ada"])).toEqual({ at: NOW, users: [ADA] });
  expect(JSON.parse(fake.sent[0]?.body ?? "")).toEqual({ users: ["ada"] });
});

test("causes do not reach the page", async () => {
  expect((await server(fakeFetch(found({ ...ADA, cause: "kick" }))).snapshot(["ada"])).users).toEqual([ADA]);
});

test("it asks for what a viewer may see", async () => {
  const fake = fakeFetch(found());
  await server(fake).snapshot(["ada"], { viewer: 7 });
  expect(JSON.parse(fake.sent[0]?.body ?? "")).toEqual({ users: ["ada"], viewer: 7 });
});

test("a viewer that is missing by mistake sees nobody", async () => {
  const fake = fakeFetch(found(ADA));
  const onError = vi.fn();
  const { users } = await server(fake, onError).snapshot(["ada"], { viewer: undefined } as unknown as {
    viewer: string;
  });
  expect(users).toEqual([]);
  expect(onError.mock.calls).toMatchObject([[{ code: "BAD_PARAMETER" }]]);
});

test("more than 1,000 users are several requests, and nobody is none", async () => {
  const fake = fakeFetch(found(ADA));
  const ids = new Set(Array.from({ length: 2001 }, (_, id) => id));
  expect((await server(fake).snapshot(ids)).users).toHaveLength(3);
  expect(fake.sent.map(({ body }) => JSON.parse(body ?? "").users.length)).toEqual([1000, 1000, 1]);
  expect(await server(fake).snapshot([])).toEqual({ at: NOW, users: [] });
  expect(fake.sent).toHaveLength(3);
});

test.each([
  ["a server that is down", refused(), "UNREACHABLE"],
  ["a server that does not answer", "silence" as const, "UNREACHABLE"],
  ["a refusal", problem("UNAUTHORIZED", 401, false), "UNAUTHORIZED"],
  ["a proxy's page", new Response("<html>", { status: 502 }), "BAD_RESPONSE"],
])("%s does not break the page", async (_, answer, code) => {
  const fake = fakeFetch(answer);
  const onError = vi.fn();
  const snapshot = server(fake, onError).snapshot(["ada"]);
  await vi.advanceTimersByTimeAsync(1000); // no page waits for longer
  expect((await snapshot).users).toEqual([]);
  expect(onError.mock.calls).toMatchObject([[{ code }]]);
  expect(fake.sent).toHaveLength(1);
});

test("without onError the reason is a warning on the console", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  await presenceServer({ url: "http://presence", fetch: fakeFetch(refused()).fetch }).snapshot(["ada"]);
  expect(warn.mock.calls).toMatchObject([[{ code: "UNREACHABLE" }]]);
  warn.mockRestore();
});

test("an abort of the caller is not swallowed", async () => {
  const reason = new Error("the user left");
  const options = { signal: AbortSignal.abort(reason) };
  await expect(server(fakeFetch("silence")).snapshot(["ada"], options)).rejects.toBe(reason);
});
