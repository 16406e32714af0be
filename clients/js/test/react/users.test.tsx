// @vitest-environment jsdom
import { act, render } from "@testing-library/react";
import { expect, test, vi } from "vitest";
import type { UserId } from "../../src/index.js";
import { useEveryone, usePresence, usePresences } from "../../src/react/index.js";
import { fakePresence, probe, renderWith } from "./support.js";

test("usePresence renders again only when its user changes", () => {
  const client = fakePresence({ 7: "online", bo: "online" });
  const { Probe, results } = probe(() => usePresence(7).status);
  renderWith(client, <Probe />);
  act(() => client.set("bo", "away"));
  expect(results).toEqual(["online"]);
  act(() => client.set(7, { status: "busy", text: "lunch" }));
  expect(results).toEqual(["online", "busy"]);
});

test("7 and '7' are the same user, and null is nobody", () => {
  const client = fakePresence({ 7: "online" });
  const Status = ({ id }: { id: UserId | null }) => <p>{usePresence(id).status}</p>;
  const { container, rerender } = renderWith(client, <Status id={7} />);
  rerender(<Status id="7" />);
  expect([container.textContent, client.readers(7)]).toEqual(["online", 1]);
  rerender(<Status id={null} />);
  expect([container.textContent, client.readers(7), client.readers("")]).toEqual(["unknown", 0, 0]);
});

test("a component that shows another user reads only that one", () => {
  const client = fakePresence({ 7: "online", bo: "busy" });
  const Status = ({ id }: { id: UserId }) => <p>{usePresence(id).status}</p>;
  const { container, rerender, unmount } = renderWith(client, <Status id={7} />);
  rerender(<Status id="bo" />);
  expect([container.textContent, client.readers(7), client.readers("bo")]).toEqual(["busy", 0, 1]);
  unmount();
  expect(client.readers("bo")).toBe(0);
});

test("usePresences takes an inline list and returns the same map until a user changes", () => {
  const client = fakePresence({ 7: "online", bo: "busy", eve: "online" });
  const { Probe, results } = probe(() => usePresences([7, "bo"]));
  const { rerender } = renderWith(client, <Probe />);
  rerender(<Probe />);
  act(() => client.set("eve", "away"));
  expect(new Set(results).size).toBe(1);
  expect([...(results[0]?.keys() ?? [])]).toEqual(["7", "bo"]);
  expect(client.readers("bo")).toBe(1);
  act(() => client.set("bo", "away"));
  expect(results.at(-1)?.get("bo")?.status).toBe("away");
});

test("usePresences accepts any iterable", () => {
  const client = fakePresence({ 7: "online" });
  const { Probe, results } = probe(() => usePresences(new Set<UserId>([7, "bo"]).values()).size);
  renderWith(client, <Probe />);
  expect(results).toEqual([2]);
});

test("a selected count renders again only when the count changes", () => {
  const client = fakePresence({ 7: "online", bo: "busy", eve: "offline" });
  const { Probe, results } = probe(() =>
    usePresences([7, "bo", "eve"], (all) => [...all.values()].filter((user) => user.online).length),
  );
  renderWith(client, <Probe />);
  act(() => client.setAll({ 7: "away", bo: "online" }));
  act(() => client.setAll({ 7: "offline", eve: "online" }));
  expect(results).toEqual([2]);
  act(() => client.set("eve", "offline"));
  expect(results).toEqual([2, 1]);
});

test("a selector is called once for each value, however often it is read", () => {
  const client = fakePresence({ 7: "online" });
  const select = vi.fn((all: ReadonlyMap<string, { status: string }>) => [...all.values()].map((user) => user.status));
  const { Probe, results } = probe(() => usePresences([7], select));
  const { rerender } = renderWith(client, <Probe />);
  rerender(<Probe />);
  expect(select).toHaveBeenCalledTimes(1);
  act(() => client.set(7, "away"));
  expect(select).toHaveBeenCalledTimes(2);
  expect(results.at(-1)).toEqual(["away"]);
});

test("an inline selector that returns new objects does not loop", () => {
  const client = fakePresence({ 7: "online" });
  const { Probe, results } = probe(() => useEveryone((all) => ({ names: [...all.keys()] })));
  renderWith(client, <Probe />);
  act(() => client.set("bo", "online"));
  expect(results.map(({ names }) => names)).toEqual([["7"], ["7", "bo"]]);
});

test("an inline selector uses the values of the latest render", () => {
  const client = fakePresence({ 7: "online", bo: "busy" });
  const Count = ({ wanted }: { wanted: string }) => {
    const count = useEveryone((all) => [...all.values()].filter((user) => user.status === wanted).length);
    return <p>{`${wanted} ${count}`}</p>;
  };
  const { container, rerender } = renderWith(client, <Count wanted="online" />);
  rerender(<Count wanted="busy" />);
  expect(container.textContent).toBe("busy 1");
  act(() => client.set(7, "busy"));
  expect(container.textContent).toBe("busy 2");
});

test("with `equal`, an equal result does not render again", () => {
  const client = fakePresence({ 7: "online", bo: "busy" });
  const { Probe, results } = probe(() =>
    useEveryone(
      (all) => [...all.keys()],
      (a, b) => a.join() === b.join(),
    ),
  );
  renderWith(client, <Probe />);
  act(() => client.setAll({ 7: "away", bo: "away" }));
  expect(results).toHaveLength(1);
  act(() => client.set("eve", "online"));
  expect(results.at(-1)).toEqual(["7", "bo", "eve"]);
});

test("everyone is read once by each component that reads it", () => {
  const client = fakePresence({ 7: "online", bo: "offline" });
  const { Probe, results } = probe(() => [...useEveryone().keys()].join());
  const { unmount } = renderWith(client, <Probe />, { strict: true });
  expect(results.at(-1)).toBe("7");
  expect(client.readers()).toBe(1);
  unmount();
  expect(client.readers()).toBe(0);
});

test("a hook without a provider says what is missing", () => {
  const { Probe } = probe(() => usePresence(7));
  vi.mocked(console.error).mockImplementation(() => {}); // React reports the error that is expected here
  const end = new AbortController();
  window.addEventListener("error", (event) => event.preventDefault(), { signal: end.signal }); // jsdom prints it, too
  expect(() => render(<Probe />)).toThrow("missing <PresenceProvider>");
  end.abort();
  vi.mocked(console.error).mockClear();
});
