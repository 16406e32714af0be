import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PresenceError, presenceServer, type ServerOptions } from "../../src/server/index.js";
import { type FakeFetch, fakeFetch, ok, problem, refused } from "./fake-fetch.js";

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1); // waits are the longest possible
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const server = (fake: FakeFetch, options: Partial<ServerOptions> = {}) =>
  presenceServer({ url: "http://presence:3001", apiKey: "pk_secret", fetch: fake.fetch, ...options });

/** Return what the promise rejects with, after all waits. */
async function failure(promise: Promise<unknown>): Promise<PresenceError> {
  const settled = promise.then(
    () => expect.fail("it did not fail"),
    (error) => error,
  );
  await vi.runAllTimersAsync();
  return settled;
}

test("a problem document becomes a PresenceError with its code, status and advice", async () => {
  const fake = fakeFetch(problem("CONFLICT", 409, false));
  const error = await failure(server(fake).newTicket({ userId: 7 }));
  expect(error).toBeInstanceOf(PresenceError);
  expect({ ...error }).toMatchObject({
    code: "CONFLICT",
    numericCode: 409,
    retryable: false,
    hint: "Do something else.",
  });
  expect(error.message).toBe("It failed. Do something else.");
  expect(fake.sent).toHaveLength(1);
});

test("a problem that may pass is retried after Retry-After", async () => {
  const fake = fakeFetch(problem("UNAVAILABLE", 503, true, { "retry-after": "5" }), ok({ onlineUsers: 3, rooms: 1 }));
  const counts = server(fake).getCounts();
  await vi.advanceTimersByTimeAsync(4999);
  expect(fake.sent).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(await counts).toEqual({ onlineUsers: 3, rooms: 1 });
});

test("a lost connection is retried twice by default, with growing waits", async () => {
  const fake = fakeFetch(refused());
  const failing = server(fake)
    .getCounts()
    .catch((error) => error);
  const sentAfter = async (ms: number) => {
    await vi.advanceTimersByTimeAsync(ms);
    return fake.sent.length;
  };
  expect([await sentAfter(249), await sentAfter(1), await sentAfter(499), await sentAfter(1)]).toEqual([1, 2, 2, 3]);
  const error = await failing;
  expect(error).toMatchObject({ code: "UNREACHABLE", retryable: true });
  expect(error.message).toBe("http://presence:3001/api/v1/counts: ECONNREFUSED");
});

test("the number of repetitions is an option of the server and of a request", async () => {
  const fake = fakeFetch(refused());
  await failure(server(fake, { retries: 4 }).getCounts());
  expect(fake.sent).toHaveLength(5);
  await failure(server(fake, { retries: 4 }).getCounts({}, { retries: 0 }));
  expect(fake.sent).toHaveLength(6);
});

test("a long Retry-After is left to the caller", async () => {
  const fake = fakeFetch(problem("TOO_MANY_REQUESTS", 429, true, { "retry-after": "600" }));
  const error = await failure(server(fake).getCounts());
  expect(error).toMatchObject({ code: "TOO_MANY_REQUESTS", retryable: true });
  expect(fake.sent).toHaveLength(1);
});

test("a server that does not answer in time is unreachable", async () => {
  const fake = fakeFetch("silence");
  const error = await failure(server(fake, { timeout: 3, retries: 0 }).getCounts());
  expect(error).toMatchObject({ code: "UNREACHABLE", message: expect.stringContaining("nothing received for 3 s") });
});

test("a body that does not arrive in time counts as silence", async () => {
  const fetch: typeof globalThis.fetch = async (_, init) => {
    const start = (stream: ReadableStreamDefaultController<Uint8Array>) => {
      stream.enqueue(new TextEncoder().encode("{"));
      init?.signal?.addEventListener("abort", () => stream.error(init.signal?.reason));
    };
    return new Response(new ReadableStream({ start }));
  };
  const error = await failure(server({ fetch, sent: [] }, { retries: 0 }).getCounts());
  expect(error).toMatchObject({ code: "UNREACHABLE", message: expect.stringContaining("nothing received for 10 s") });
});

test.each([
  ["the page of a proxy", new Response("<html>Bad Gateway</html>", { status: 502 }), true],
  ["JSON of something else", Response.json({ error: "not found" }, { status: 404 }), false],
  ["a page with status 200", new Response("<html>Hello</html>"), false],
])("%s is no response of presenced", async (_, response, retryable) => {
  const fake = fakeFetch(response);
  const error = await failure(server(fake, { retries: 1 }).getCounts());
  expect(error).toMatchObject({ code: "BAD_RESPONSE", numericCode: response.status, retryable });
  expect(fake.sent).toHaveLength(retryable ? 2 : 1);
});

test("an abort rejects with its reason, before a request, during it and between two", async () => {
  const reason = new Error("the user left");
  const before = fakeFetch(ok());
  expect(await failure(server(before).getCounts({}, { signal: AbortSignal.abort(reason) }))).toBe(reason);
  for (const answer of ["silence", refused()] as const) {
    const fake = fakeFetch(answer);
    const controller = new AbortController();
    const failing = server(fake)
      .getCounts({}, { signal: controller.signal })
      .catch((error) => error);
    await vi.advanceTimersByTimeAsync(100);
    controller.abort(reason);
    expect(await failing).toBe(reason);
    expect(fake.sent).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  }
});

test("an abort just after a refusal is not missed", async () => {
  const controller = new AbortController();
  const fetch = async () => {
    const response = problem("UNAVAILABLE", 503, true, { "retry-after": "5" });
    return Object.assign(response, { text: () => response.json().then((content) => abortedWith(content)) });
  };
  const abortedWith = (content: object) => {
    controller.abort();
    return JSON.stringify(content);
  };
  const error = await failure(server({ fetch, sent: [] }).getCounts({}, { signal: controller.signal }));
  expect(error).toMatchObject({ name: "AbortError" });
});

test("a stream may be silent for longer than the timeout, and ends with its signal", async () => {
  const controller = new AbortController();
  let ended: unknown;
  const fetch: typeof globalThis.fetch = async (_, init) => {
    init?.signal?.addEventListener("abort", () => {
      ended = init.signal?.reason;
    });
    return new Response("event: snapshot", { headers: { "content-type": "text/event-stream" } });
  };
  await server({ fetch, sent: [] }).watch({ everyone: true }, { signal: controller.signal });
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(ended).toBeUndefined();
  controller.abort("enough");
  expect(ended).toBe("enough");
});

test("a signal that lives long keeps no listener of finished requests", async () => {
  const { signal } = new AbortController();
  const added = vi.spyOn(signal, "addEventListener");
  const removed = vi.spyOn(signal, "removeEventListener");
  await server(fakeFetch(ok())).getCounts({}, { signal });
  await failure(server(fakeFetch(refused())).getCounts({}, { signal }));
  expect(removed).toHaveBeenCalledTimes(added.mock.calls.length);
});

test("errors by which Next.js steers pass unchanged", async () => {
  const steering = Object.assign(new Error("Dynamic server usage"), { digest: "DYNAMIC_SERVER_USAGE" });
  const fake = fakeFetch(steering);
  expect(await failure(server(fake).getCounts())).toBe(steering);
  expect(await failure(server(fake).snapshot([7]))).toBe(steering);
});

test.each([
  ["http://presence:3001", "http://presence:3001/api/v1/counts"],
  ["https://presence.example.com/", "https://presence.example.com/api/v1/counts"],
  ["http://localhost:3001/api/v1", "http://localhost:3001/api/v1/counts"],
  ["http://localhost:3001/api/v1/", "http://localhost:3001/api/v1/counts"],
  ["wss://app.example.com/presence", "https://app.example.com/presence/api/v1/counts"],
])("the url %s is understood", async (url, expected) => {
  const fake = fakeFetch(ok());
  await server(fake, { url }).getCounts();
  expect(fake.sent[0]?.url).toBe(expected);
});

test("the API key is a Bearer token, and appears in no error", async () => {
  const fake = fakeFetch(refused());
  const error = await failure(server(fake).getCounts());
  expect(fake.sent[0]?.headers.get("authorization")).toBe("Bearer pk_secret");
  expect(JSON.stringify([error.message, error.stack, error])).not.toContain("pk_secret");
  const anonymous = fakeFetch(ok());
  await server(anonymous, { apiKey: undefined }).getCounts();
  expect(anonymous.sent[0]?.headers.has("authorization")).toBe(false);
});

test.each(["presence.example.com", "localhost:3001", "//presence", "http:///api", "", undefined])(
  "the url %o is refused, and nothing is sent",
  async (url) => {
    const fake = fakeFetch(ok({}));
    const error = await failure(server(fake, { url: url as string }).listOnline());
    expect(error).toMatchObject({
      code: "BAD_URL",
      message: `url is "${url}"`,
      retryable: false,
    });
    expect(fake.sent).toHaveLength(0);
  },
);

test.each([
  "http://presence:3001",
  "http://[::1]:3001",
  "HTTPS://presence/",
  "wss://presence/api/v1",
  "ws://presence:3001/chat/",
])("the url %o is accepted", async (url) => {
  const fake = fakeFetch(ok({}));
  await server(fake, { url }).listOnline();
  expect(fake.sent[0]?.url).toMatch(/^https?:\/\/(presence|\[::1\])(:3001)?(\/chat)?\/api\/v1\/online$/i);
});
