// @vitest-environment jsdom
import { act, render, screen } from "@testing-library/react";
import { type ReactNode, StrictMode } from "react";
import { beforeEach, expect, test, vi } from "vitest";
import { createPresence } from "../../src/index.js";
import { OnlineDot, PresenceProvider, usePresenceClient, useSelf } from "../../src/react/index.js";
import type { FakePresence } from "../../src/testing/index.js";
import { fakePresence, probe } from "./support.js";

// These tests are about what the provider does with clients, not about clients.
vi.mock("../../src/index.js", () => ({ createPresence: vi.fn() }));

const created: FakePresence[] = [];

beforeEach(() => {
  created.length = 0;
  vi.mocked(createPresence).mockReset();
  vi.mocked(createPresence).mockImplementation(({ userId = "nobody" } = {}) => {
    const client = fakePresence({ 7: "online" }, { userId });
    created.push(client);
    return client;
  });
});

test("a provider creates its client once, with its options, and keeps it connected while mounted", () => {
  const options = { url: "ws://localhost:3001", device: "web", userId: "ada" };
  const tree = (children: ReactNode) => <PresenceProvider {...options}>{children}</PresenceProvider>;
  const { rerender, unmount } = render(tree(<OnlineDot userId={7} />));
  rerender(tree(<OnlineDot userId={8} />));
  expect(vi.mocked(createPresence).mock.calls).toEqual([[options]]);
  expect(created[0]?.connections).toBe(1);
  unmount();
  expect(created[0]?.connections).toBe(0);
});

test("under StrictMode, one client connects", () => {
  render(
    <StrictMode>
      <PresenceProvider userId="ada" />
    </StrictMode>,
  );
  expect(created.map((client) => client.connections).filter(Boolean)).toEqual([1]);
});

test("another user gets another client, and the first one is released", () => {
  const { Probe, results } = probe(() => useSelf()[0]?.userId);
  const tree = (userId: string | number) => (
    <PresenceProvider userId={userId}>
      <Probe />
    </PresenceProvider>
  );
  const { rerender } = render(tree("ada"));
  rerender(tree("bo"));
  expect(results.at(-1)).toBe("bo");
  expect(created.map((client) => client.connections)).toEqual([0, 1]);
  expect(created.map((client) => client.readers())).toEqual([0, 0]);
});

test("7 and '7' are the same user of a provider", () => {
  const { rerender } = render(<PresenceProvider userId={7} />);
  rerender(<PresenceProvider userId="7" />);
  expect(created).toHaveLength(1);
});

test("another token or url keeps the client: options are read once", () => {
  const { rerender } = render(<PresenceProvider userId="ada" url="ws://one" token={() => "first"} />);
  rerender(<PresenceProvider userId="ada" url="ws://two" token={() => "second"} />);
  expect(created).toHaveLength(1);
});

test("a given client is used as it is, and another one takes its place", () => {
  const [first, second] = [fakePresence({ 7: "online" }), fakePresence({ 7: "busy" })];
  const tree = (client: FakePresence) => (
    <PresenceProvider client={client}>
      <OnlineDot userId={7} />
    </PresenceProvider>
  );
  const { rerender } = render(tree(first));
  rerender(tree(second));
  expect(screen.getByRole("img", { name: "Busy" })).toBeDefined();
  expect([first.connections, first.readers(7)]).toEqual([0, 0]);
  expect([second.connections, second.readers(7)]).toEqual([1, 1]);
  expect(createPresence).not.toHaveBeenCalled();
});

test("an inline object of labels renders nothing again, and other labels do", () => {
  const client = fakePresence({ 7: "online" });
  const { Probe, results } = probe(() => usePresenceClient());
  const inner = (
    <>
      <Probe />
      <OnlineDot userId={7} />
    </>
  );
  const tree = (online: string) => (
    <PresenceProvider client={client} labels={{ online }}>
      {inner}
    </PresenceProvider>
  );
  const { rerender } = render(tree("anwesend"));
  rerender(tree("anwesend"));
  expect(results).toHaveLength(1);
  expect(screen.getByRole("img", { name: "anwesend" })).toBeDefined();
  rerender(tree("da"));
  expect(screen.getByRole("img", { name: "da" })).toBeDefined();
});

test("two copies of the module share one context", async () => {
  vi.resetModules();
  const other = await import("../../src/react/index.js");
  expect(other.PresenceProvider).not.toBe(PresenceProvider);
  const client = fakePresence({ 7: "away" });
  render(
    <PresenceProvider client={client}>
      <other.OnlineDot userId={7} />
    </PresenceProvider>,
  );
  act(() => client.set(7, "busy"));
  expect(screen.getByRole("img", { name: "Busy" })).toBeDefined();
});
