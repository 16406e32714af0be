import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Change, presenceServer } from "../../src/server/index.js";
import { type FakeFetch, fakeFetch, ok, problem, refused } from "./fake-fetch.js";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const server = ({ fetch }: FakeFetch) => presenceServer({ url: "http://presence", fetch });
const page = (next: string, ...users: string[]) =>
  ok({ changes: users.map((userId, version) => ({ userId, version })), next, digest: null });
const afters = (fake: FakeFetch) => fake.sent.map(({ url }) => /after=([^&]*)/.exec(url)?.[1]);

/** Return the next `count` changes, and end the loop. */
async function take(changes: AsyncIterable<Change>, count: number): Promise<Change[]> {
  const taken: Change[] = [];
  for await (const change of changes) if (taken.push(change) === count) break;
  return taken;
}

test("it follows from the cursor, page by page, and waits for changes", async () => {
  const fake = fakeFetch(page("e-2", "ada", "bo"), page("e-2"), page("e-3", "cy"));
  const taken = await take(server(fake).changes("e-0"), 3);
  expect(taken.map(({ userId }) => userId)).toEqual(["ada", "bo", "cy"]);
  expect(afters(fake)).toEqual(["e-0", "e-2", "e-2"]);
  expect(fake.sent[0]?.url).toContain("wait=30");
});

test("going on from the position of a change misses nothing", async () => {
  const taken = await take(server(fakeFetch(page("e-2", "ada", "bo"))).changes("e-0"), 2);
  expect(taken.map(({ position }) => position)).toEqual(["e-0", "e-2"]);
});

test("without a cursor it begins now, and keeps this position over a loss", async () => {
  const fake = fakeFetch(page("e-5"), refused(), page("e-6", "ada"));
  const taking = take(server(fake).changes(), 1);
  await vi.runAllTimersAsync();
  expect(await taking).toMatchObject([{ userId: "ada" }]);
  expect(afters(fake)).toEqual([undefined, "e-5", "e-5"]);
  expect(fake.sent[0]?.url).not.toContain("wait"); // the position is known before anything can be lost
});

test("it returns after an outage of any length, at most half a minute later", async () => {
  const outage = Array.from({ length: 40 }, () => refused());
  const fake = fakeFetch(page("e-1", "ada"), ...outage, page("e-2", "bo"));
  const taking = take(server(fake).changes("e-0"), 2);
  await vi.advanceTimersByTimeAsync(40 * 30_000);
  expect(await taking).toHaveLength(2);
});

test("an unreachable server fails at first, because the url may be wrong", async () => {
  const taking = take(server(fakeFetch(refused())).changes("e-0"), 1).catch((error) => error);
  await vi.runAllTimersAsync();
  expect(await taking).toMatchObject({ code: "UNREACHABLE" });
});

test("lost changes throw CURSOR_TOO_OLD", async () => {
  const fake = fakeFetch(page("e-1", "ada"), problem("CURSOR_TOO_OLD", 410, false));
  await expect(take(server(fake).changes("e-0"), 2)).rejects.toMatchObject({
    code: "CURSOR_TOO_OLD",
    retryable: false,
  });
});

test("an abort ends the wait with its reason", async () => {
  const controller = new AbortController();
  const changes = server(fakeFetch("silence")).changes("e-0", { signal: controller.signal });
  const taking = take(changes, 1).catch((error) => error);
  await vi.advanceTimersByTimeAsync(1000);
  controller.abort();
  expect(await taking).toMatchObject({ name: "AbortError" });
  expect(vi.getTimerCount()).toBe(0);
});

test("a network that went silent is given up after 40 seconds", async () => {
  const fake = fakeFetch(page("e-1", "ada"), "silence", page("e-2", "bo"));
  const taking = take(server(fake).changes("e-0"), 2);
  await vi.advanceTimersByTimeAsync(39_000); // the server may be silent for 30 seconds
  expect(fake.sent).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await taking).toHaveLength(2);
});
