// @vitest-environment jsdom
/** The environment of a page: which events of the browser become which signals and inputs. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import { createPresence, type Signal, webHost } from "../src/index.js";

let visibility: DocumentVisibilityState = "visible";

beforeEach(() => {
  visibility = "visible";
  vi.spyOn(document, "visibilityState", "get").mockImplementation(() => visibility);
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
  sessionStorage.clear();
  localStorage.clear();
});

/** Dispatch an event of the page's life. `persisted`: the page enters or leaves the back/forward cache. */
function dispatch(target: EventTarget, type: string, persisted?: boolean): void {
  target.dispatchEvent(Object.assign(new Event(type), persisted === undefined ? {} : { persisted }));
}

/** Return the signals that a listener receives from now on. */
function listening(): { signals: Signal[]; stop: () => void } {
  const signals: Signal[] = [];
  return { signals, stop: webHost.onSignal((signal) => signals.push(signal)) };
}

describe("signals", () => {
  test.each<[string, () => void, Signal[]]>([
    ["a window that gets the focus", () => dispatch(window, "focus"), ["visible"]],
    ["the network is back", () => dispatch(window, "online"), ["online"]],
    ["the network is gone", () => dispatch(window, "offline"), ["offline"]],
    ["a page that is unloaded", () => dispatch(window, "pagehide", false), ["leaving"]],
    ["a page that enters the cache", () => dispatch(window, "pagehide", true), ["frozen"]],
    ["a tab that is frozen", () => dispatch(document, "freeze"), ["frozen"]],
    ["a page that is shown for the first time", () => dispatch(window, "pageshow", false), []],
  ])("%s", (_, happen, expected) => {
    const { signals, stop } = listening();
    happen();
    stop();
    expect(signals).toEqual(expected);
  });

  test.each<DocumentVisibilityState>(["hidden", "visible"])("a page that becomes %s", (state) => {
    visibility = state;
    const { signals, stop } = listening();
    dispatch(document, "visibilitychange");
    stop();
    expect(signals).toEqual([state]);
  });

  test("a return from the back/forward cache is one `restored`, however many events report it", () => {
    const { signals, stop } = listening();
    dispatch(window, "pagehide", true);
    dispatch(document, "resume");
    dispatch(document, "visibilitychange");
    dispatch(window, "pageshow", true);
    stop();
    expect(signals).toEqual(["frozen", "restored", "visible"]);
  });

  test("the return of a frozen tab, which has no pageshow, is `restored`", () => {
    const { signals, stop } = listening();
    dispatch(document, "freeze");
    dispatch(document, "resume");
    stop();
    expect(signals).toEqual(["frozen", "restored"]);
  });

  test("nothing listens to unload and beforeunload, which keep a page out of the cache", () => {
    const added = [vi.spyOn(window, "addEventListener"), vi.spyOn(document, "addEventListener")];
    const client = createPresence({ url: "ws://localhost:3001" });
    vi.stubGlobal("WebSocket", class extends EventTarget {});
    client.connect();
    const names = added.flatMap(({ mock }) => mock.calls.map(([name]) => name as string));
    client.close();
    expect(names).toContain("pagehide");
    expect(names).not.toContain("unload");
    expect(names).not.toContain("beforeunload");
  });

  test("a stopped listener receives nothing", () => {
    const { signals, stop } = listening();
    stop();
    dispatch(window, "focus");
    dispatch(document, "visibilitychange");
    dispatch(window, "pagehide", true);
    expect(signals).toEqual([]);
  });
});

describe("input", () => {
  test.each(["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "scroll"])("%s is an input", (type) => {
    const listener = vi.fn();
    const stop = webHost.onInput(listener);
    document.body.dispatchEvent(new Event(type)); // does not bubble, as `scroll` of an element
    stop();
    document.body.dispatchEvent(new Event(type));
    expect(listener).toHaveBeenCalledTimes(1);
  });

  test("inputs count at most once a second", () => {
    vi.useFakeTimers();
    const listener = vi.fn();
    const stop = webHost.onInput(listener);
    for (let turn = 0; turn < 30; turn += 1) {
      window.dispatchEvent(new Event("pointermove"));
      vi.advanceTimersByTime(100);
    }
    stop();
    expect(listener).toHaveBeenCalledTimes(3);
  });

  test("an input counts after the clock went back", () => {
    vi.useFakeTimers();
    const listener = vi.fn();
    const stop = webHost.onInput(listener);
    window.dispatchEvent(new Event("pointermove"));
    vi.setSystemTime(Date.now() - 3_600_000);
    window.dispatchEvent(new Event("pointermove"));
    stop();
    expect(listener).toHaveBeenCalledTimes(2);
  });

  test("listeners are passive, so that they never delay scrolling", () => {
    const add = vi.spyOn(window, "addEventListener");
    webHost.onInput(() => {})();
    expect(add.mock.calls.length).toBe(6);
    for (const [, , options] of add.mock.calls) expect(options).toMatchObject({ passive: true });
  });
});

describe("storage", () => {
  test("a saved text is read again, and null deletes it", () => {
    webHost.save("key", "text");
    expect(webHost.load("key")).toBe("text");
    webHost.save("key", null);
    expect(webHost.load("key")).toBeNull();
    expect(sessionStorage.length).toBe(0);
  });

  test("a browser that forbids storage changes nothing else", () => {
    const refuse = () => {
      throw new DOMException("no", "SecurityError");
    };
    vi.spyOn(Storage.prototype, "getItem").mockImplementation(refuse);
    vi.spyOn(Storage.prototype, "setItem").mockImplementation(refuse);
    vi.spyOn(Storage.prototype, "removeItem").mockImplementation(refuse);
    webHost.save("key", "text");
    webHost.save("key", null);
    expect(webHost.load("key")).toBeNull();
  });
});

test("a delay that setTimeout cannot represent is as long as possible, and not over at once", () => {
  vi.useFakeTimers();
  const callback = vi.fn();
  for (const delay of [2 ** 31, Number.POSITIVE_INFINITY]) webHost.schedule(delay, callback);
  vi.advanceTimersByTime(86_400_000);
  expect(callback).not.toHaveBeenCalled();
});

test("without a global WebSocket, the error says what to do", () => {
  vi.stubGlobal("WebSocket", undefined);
  const client = createPresence({ url: "ws://localhost:3001" });
  client.connect();
  return vi.waitFor(() => {
    const { state, error } = client.connection.get();
    expect([state, error?.code, error?.hint]).toEqual([
      "failed",
      "NO_WEBSOCKET",
      "Use Node 22, or let host.openSocket return a WebSocket of the package ws.",
    ]);
    client.close();
  });
});

test("localStorage.presenced = 'debug' prints the log, and nothing else does", () => {
  const debug = vi.spyOn(console, "debug").mockImplementation(() => {});
  vi.stubGlobal("WebSocket", class extends EventTarget {});
  const run = () => {
    const client = createPresence({ url: "ws://localhost:3001" });
    client.connect();
    client.close();
    return debug.mock.calls.length;
  };
  expect(run()).toBe(0);
  localStorage.presenced = "debug";
  expect(run()).toBeGreaterThan(0);
});
