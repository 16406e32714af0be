// @vitest-environment jsdom
import { act, cleanup, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createPresence, type PresenceOptions, type Signal } from "../../src/index.js";
import { appSignals, OnlineDot, PresenceProvider } from "../../src/react-native/index.js";
import { type FakePresence, fakePresence } from "../../src/testing/index.js";
import { AppState, change, listening } from "./stand-in.js";

vi.mock("../../src/index.js", async (original) => ({ ...(await original<object>()), createPresence: vi.fn() }));

let client: FakePresence;

beforeEach(() => {
  client = fakePresence({ 7: "online", bo: "away", eve: "offline" });
  vi.mocked(createPresence).mockReset();
  vi.mocked(createPresence).mockReturnValue(client);
});

afterEach(cleanup);

function options(): PresenceOptions {
  return vi.mocked(createPresence).mock.calls[0]?.[0] ?? {};
}

test("signals follow the application and ignore `inactive`", () => {
  const signals: Signal[] = [];
  const end = appSignals(AppState)((signal) => signals.push(signal));
  change("inactive", "active", "inactive", "background", "active");
  end();
  change("background");
  expect(signals).toEqual(["visible", "hidden", "visible"]);
  expect(listening()).toBe(0);
});

test("signals follow the network, if NetInfo is given", () => {
  const signals: Signal[] = [];
  const ended = vi.fn();
  let report = (_: boolean | null) => {};
  const netInfo = {
    addEventListener(listener: (state: { isConnected: boolean | null }) => void) {
      report = (isConnected) => listener({ isConnected });
      return ended;
    },
  };
  const end = appSignals(AppState, netInfo)((signal) => signals.push(signal));
  for (const connected of [true, null, false, false, true]) report(connected);
  expect(signals).toEqual(["offline", "online"]);
  end();
  expect(ended).toHaveBeenCalledTimes(1);
});

test("in the background, the user is idle at once; in the foreground, never", () => {
  render(<PresenceProvider url="ws://localhost:3001" userId="ada" />);
  expect(options()).toMatchObject({ url: "ws://localhost:3001", userId: "ada", activity: { hiddenAfter: 0 } });
  const { idleAfter = 0 } = options().activity || {};
  expect(idleAfter).toBeGreaterThan(20 * 24 * 3600);
  expect(idleAfter * 1000).toBeLessThan(2 ** 31); // timers take no longer time
  const signals: Signal[] = [];
  const end = options().host?.onSignal?.((signal) => signals.push(signal));
  change("background");
  end?.();
  expect(signals).toEqual(["hidden"]);
  expect(client.connection.get().state).toBe("open");
});

test("own activity and host options have precedence", () => {
  const onSignal = () => () => {};
  render(<PresenceProvider activity={false} host={{ onSignal }} />);
  expect(options()).toMatchObject({ activity: false, host: { onSignal } });
});

test('with background="close", the user is offline in the background and back when active', () => {
  const { unmount } = render(<PresenceProvider client={client} background="close" />);
  act(() => change("inactive"));
  expect(client.connection.get().state).toBe("open");
  act(() => change("background"));
  expect(client.connection.get().state).toBe("closed");
  act(() => change("active"));
  expect(client.connection.get().state).toBe("open");
  act(() => client.close()); // signed out by the application: stays so
  act(() => change("background", "active"));
  expect(client.connection.get().state).toBe("closed");
  unmount();
  expect(listening()).toBe(0);
});

test("a dot is a view with an accessible name, full only while online", () => {
  render(
    <PresenceProvider client={client} labels={{ busy: "beschäftigt" }}>
      <OnlineDot userId={7} size={20} colors={{ online: "lime" }} style={{ margin: 4 }} />
      <OnlineDot userId="eve" />
    </PresenceProvider>,
  );
  const styles = (title: string) => JSON.parse(screen.getByTitle(title).dataset.style ?? "");
  expect(styles("Online")).toEqual([
    { width: 20, height: 20, borderRadius: 10, borderWidth: 4, borderColor: "lime" },
    { backgroundColor: "lime" },
    { margin: 4 },
  ]);
  expect(styles("Offline")[1]).toBe(false);
  act(() => client.set(7, "busy"));
  expect(screen.getAllByRole("image")[0]?.title).toBe("beschäftigt");
});
