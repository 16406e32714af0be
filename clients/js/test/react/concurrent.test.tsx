// @vitest-environment jsdom
import { act, render } from "@testing-library/react";
import * as React from "react";
import { type ComponentType, type ReactNode, StrictMode, startTransition, useState } from "react";
import { createRoot } from "react-dom/client";
import { expect, test, vi } from "vitest";
import { OnlineDot, PresenceProvider, usePresence } from "../../src/react/index.js";
import { fakePresence, probe, renderWith } from "./support.js";

const Activity = (React as { Activity?: ComponentType<{ mode: "visible" | "hidden"; children: ReactNode }> }).Activity;

test("1,000 dots under StrictMode share a connection, count their reads, and render once for one change", () => {
  const ids = Array.from({ length: 1000 }, (_, index) => index);
  const client = fakePresence(Object.fromEntries(ids.map((id) => [id, "online" as const])));
  const connect = vi.spyOn(client, "connect");
  const committed = vi.fn();
  const tree = (
    <StrictMode>
      <PresenceProvider client={client}>
        {ids.map((id) => (
          <React.Profiler key={id} id={String(id)} onRender={committed}>
            <OnlineDot userId={id} />
          </React.Profiler>
        ))}
      </PresenceProvider>
    </StrictMode>
  );
  const { container, unmount } = render(tree);
  expect(container.querySelectorAll('[data-status="online"]')).toHaveLength(1000);
  expect(client.connections).toBe(1);
  expect(connect.mock.calls.length).toBeLessThanOrEqual(2); // StrictMode mounts twice, and releases in between
  expect(ids.every((id) => client.readers(id) === 1)).toBe(true);
  committed.mockClear();
  act(() => client.set(500, "away"));
  expect(committed.mock.calls.map(([id]) => id)).toEqual(["500"]);
  expect(container.querySelectorAll('[data-status="online"]')).toHaveLength(999);
  unmount();
  expect(client.connections).toBe(0);
  expect(ids.some((id) => client.readers(id) > 0)).toBe(false);
});

test("a change of 1,000 users renders each component once", () => {
  const ids = Array.from({ length: 1000 }, (_, index) => index);
  const client = fakePresence();
  const { Probe, results } = probe(() => usePresence(7).status);
  renderWith(client, <Probe />);
  act(() => client.setAll(Object.fromEntries(ids.map((id) => [id, "busy" as const]))));
  expect(results).toEqual(["unknown", "busy"]);
});

test.skipIf(!Activity)("a hidden <Activity> reads nobody, and shows the latest state when it is visible again", () => {
  if (!Activity) return;
  const client = fakePresence({ 7: "online" });
  const tree = (mode: "visible" | "hidden") => (
    <Activity mode={mode}>
      <OnlineDot userId={7} />
    </Activity>
  );
  const { container, rerender } = renderWith(client, tree("visible"));
  rerender(tree("hidden"));
  expect(client.readers(7)).toBe(0);
  act(() => client.set(7, "away"));
  rerender(tree("visible"));
  expect(client.readers(7)).toBe(1);
  expect(container.querySelector("[data-status]")?.getAttribute("data-status")).toBe("away");
  act(() => client.set(7, "busy"));
  expect(container.querySelector("[data-status]")?.getAttribute("data-status")).toBe("busy");
});

test("60 slow readers in a transition never show two values in one frame", async () => {
  vi.stubGlobal("IS_REACT_ACT_ENVIRONMENT", false); // `act` would render everything at once, without time slices
  const statuses = ["online", "away", "busy"] as const;
  const client = fakePresence({ 7: "online" });
  let renders = 0;
  function Slow() {
    "use no memo"; // counts its renders
    const { status, version } = usePresence(7);
    const end = performance.now() + 1;
    while (performance.now() < end); // longer than a share of a time slice, so that React yields in between
    renders += 1;
    return <i>{`${status} ${version}`}</i>;
  }
  let show = () => {};
  function App() {
    const [shown, setShown] = useState(false);
    show = () => startTransition(() => setShown(true));
    return shown ? Array.from({ length: 60 }, (_, index) => <Slow key={String(index)} />) : null;
  }
  const container = document.createElement("div");
  const root = createRoot(container);
  root.render(
    <PresenceProvider client={client}>
      <App />
    </PresenceProvider>,
  );
  const frames: number[] = [];
  const readers = () => [...container.querySelectorAll("i")].map((element) => element.textContent);
  const observer = new MutationObserver(() => frames.push(new Set(readers()).size));
  observer.observe(container, { childList: true, subtree: true, characterData: true });
  await vi.waitFor(() => expect(client.connections).toBe(1));
  show();
  let changes = 0;
  await vi.waitFor(
    () => {
      if (renders > changes * 15 && changes < 6) client.set(7, statuses[changes++ % 3] ?? "online");
      expect(changes).toBe(6);
      expect(new Set(readers())).toEqual(new Set([`${client.user(7).get().status} ${client.user(7).get().version}`]));
      expect(readers()).toHaveLength(60);
    },
    { interval: 0, timeout: 10_000 },
  );
  expect(frames.length).toBeGreaterThan(0);
  expect(Math.max(...frames)).toBe(1);
  observer.disconnect();
  root.unmount();
  await vi.waitFor(() => expect(client.connections).toBe(0));
  vi.unstubAllGlobals();
});
