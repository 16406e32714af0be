/** The address of the server, and the parameters of a connection. */

import { afterEach, describe, expect, test, vi } from "vitest";

import { socketAddress, withParameters } from "../src/url.js";
import { connecting } from "./support/page.js";

const thrownBy = (call: () => unknown): unknown => {
  try {
    return call();
  } catch (error) {
    return error;
  }
};

describe("the address", () => {
  afterEach(() => vi.unstubAllGlobals());

  test.each([
    ["ws://presence.test", "ws://presence.test/ws-online-status"],
    ["wss://presence.test", "wss://presence.test/ws-online-status"],
    ["http://localhost:3001", "ws://localhost:3001/ws-online-status"],
    ["https://presence.test/", "wss://presence.test/ws-online-status"],
    ["HTTP://presence.test", "ws://presence.test/ws-online-status"],
    [" wss://presence.test\n", "wss://presence.test/ws-online-status"],
    ["wss://example.com/presence/", "wss://example.com/presence/ws-online-status"],
    ["wss://presence.test/ws-online-status", "wss://presence.test/ws-online-status"],
    ["wss://[::1]:3001", "wss://[::1]:3001/ws-online-status"],
  ])("%j is %s", (url, address) => {
    expect(socketAddress(url)).toBe(address);
  });

  test("without the option, it is the page's own origin", () => {
    vi.stubGlobal("location", { origin: "https://app.test" });
    expect(socketAddress(undefined)).toBe("wss://app.test/ws-online-status");
  });

  test("without the option and without a page, the error says that url is missing", () => {
    expect(thrownBy(() => socketAddress(undefined))).toMatchObject({ code: "BAD_URL", message: "url is missing" });
  });

  test.each(["presence.test", "ws://", "ws://presence.test?a=1", "ws://presence.test#a", "ws://a b", ""])(
    "%j is refused, and the error shows it",
    (url) => {
      const error = thrownBy(() => socketAddress(url));
      expect(error).toMatchObject({ code: "BAD_URL", message: `url is "${url}"` });
      expect((error as { hint: string }).hint).toContain("wss://presence.example.com");
    },
  );
});

test("parameters are encoded, and empty ones are left out", () => {
  const parameters = { userId: "ä&b=1", device: undefined, session: "", until: 0, position: "e-1" };
  expect(withParameters("ws://presence.test", parameters)).toBe(
    "ws://presence.test?userId=%C3%A4%26b%3D1&position=e-1",
  );
});

test("the first URL says who connects with which device, and that nothing is watched yet", async () => {
  const { host } = await connecting({ url: "http://presence.test", userId: 7, device: "phone" });
  expect(host.socket.url.split("?")[0]).toBe("ws://presence.test/ws-online-status");
  expect(host.socket.parameters).toEqual({ userId: "7", device: "phone", watch: "none", activity: "active" });
});
