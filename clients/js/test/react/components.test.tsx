// @vitest-environment jsdom
import { act, render, screen } from "@testing-library/react";
import { beforeEach, expect, test, vi } from "vitest";
import { PresenceError } from "../../src/index.js";
import { ConnectionBanner, Facepile, LastSeen, OnlineDot, PresenceProvider } from "../../src/react/index.js";
import { type FakePresence, fakePresence } from "../../src/testing/index.js";
import { renderWith } from "./support.js";

const NOON = Date.UTC(2026, 0, 1, 12);

beforeEach(() => {
  vi.useFakeTimers({ now: NOON, toFake: ["Date", "setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
});

function advance(seconds: number): void {
  act(() => vi.advanceTimersByTime(seconds * 1000));
}

test.each([
  ["online", "Online"],
  ["away", "Away"],
  ["busy", "Busy"],
  ["offline", "Offline"],
  ["unknown", "Unknown"],
] as const)("a dot for %s is named %s", (status, name) => {
  renderWith(fakePresence({ 7: status }), <OnlineDot userId={7} />);
  expect(screen.getByRole("img", { name }).dataset.status).toBe(status);
});

test("a dot takes a class, other attributes and labels, and sets no style", () => {
  const dot = <OnlineDot userId={7} className="large" title="Grace" labels={{ online: "anwesend" }} />;
  renderWith(fakePresence({ 7: "online" }), dot);
  const element = screen.getByRole("img", { name: "anwesend" });
  expect(element.tagName).toBe("SPAN");
  expect([...element.classList]).toEqual(["presenced-dot", "large"]);
  expect([element.title, element.getAttribute("style")]).toEqual(["Grace", null]);
});

function lastSeen(client: FakePresence) {
  return renderWith(client, <LastSeen userId={7} />).container;
}

test.each([
  [0, "just now"],
  [59, "just now"],
  [60, "1 minute ago"],
  [59 * 60, "59 minutes ago"],
  [3600, "1 hour ago"],
  [26 * 3600, "yesterday"],
  [3 * 86_400, "3 days ago"],
  [70 * 86_400, "2 months ago"],
  [800 * 86_400, "2 years ago"],
  [-30, "just now"],
])("%i seconds after the user was there, the text is %s", (seconds, text) => {
  const client = fakePresence({ 7: { status: "offline", lastSeen: NOON - seconds * 1000 } });
  expect(lastSeen(client).textContent).toBe(text);
});

test.each([
  [59, "just now"],
  [61, "1 minute ago"],
  [3_599, "59 minutes ago"],
])("it does not matter when the minute of the clock begins: %i seconds are %s", (seconds, text) => {
  const now = NOON + 25_000;
  const client = fakePresence({ 7: { status: "offline", lastSeen: now - seconds * 1000 } }, { now });
  expect(lastSeen(client).textContent).toBe(text);
});

test("LastSeen has the status if there is no time, and nothing while the user is unknown", () => {
  const client = fakePresence();
  const container = lastSeen(client);
  expect(container.textContent).toBe("");
  act(() => client.set(7, "online"));
  expect(container.textContent).toBe("Online");
  act(() => client.set(7, "offline"));
  expect(container.textContent).toBe("Offline");
});

test("LastSeen has the time from the backend while the client has none, unless the user is there", () => {
  const client = fakePresence();
  const { container } = renderWith(client, <LastSeen userId={7} fallback={NOON - 86_400_000} />);
  expect(container.textContent).toBe("yesterday"); // not known yet
  act(() => client.set(7, "busy"));
  expect(container.textContent).toBe("Busy");
  act(() => client.set(7, { status: "offline", lastSeen: NOON - 300_000 }));
  expect(container.textContent).toBe("5 minutes ago");
  act(() => client.set(7, { status: "offline", lastSeen: 0 })); // the server has forgotten the user
  expect(container.textContent).toBe("yesterday");
});

test("LastSeen speaks the language of the labels", () => {
  const client = fakePresence({ 7: { status: "away", lastSeen: NOON - 300_000 } });
  render(
    <PresenceProvider client={client} labels={{ language: "de" }}>
      <LastSeen userId={7} />
    </PresenceProvider>,
  );
  expect(screen.getByText("vor 5 Minuten")).toBeDefined();
});

test.each([
  [{ language: "en-GB" }, "just now"],
  [{ language: "de" }, "jetzt"],
  [{ language: "de", now: "gerade eben" }, "gerade eben"],
])("LastSeen with the labels %o says %s of a user who has just left", (labels, text) => {
  const client = fakePresence({ 7: { status: "offline", lastSeen: NOON } });
  const { container } = renderWith(client, <LastSeen userId={7} labels={labels} />);
  expect(container.textContent).toBe(text);
});

test("all LastSeen share one timer, render once a minute, and end it with the last one", () => {
  const client = fakePresence({ 7: { status: "offline", lastSeen: NOON - 60_000 } });
  const { container, unmount } = renderWith(
    client,
    <>
      <LastSeen userId={7} />
      <LastSeen userId="7" />
    </>,
  );
  expect(vi.getTimerCount()).toBe(1);
  advance(59);
  expect(container.textContent).toBe("1 minute ago1 minute ago");
  advance(1);
  expect(container.textContent).toBe("2 minutes ago2 minutes ago");
  advance(60);
  expect(container.textContent).toBe("3 minutes ago3 minutes ago");
  unmount();
  expect(vi.getTimerCount()).toBe(0);
});

test("LastSeen compares with the server's clock, not with that of the machine", () => {
  const client = fakePresence({ 7: { status: "offline", lastSeen: NOON } }, { now: NOON + 600_000 });
  expect(lastSeen(client).textContent).toBe("10 minutes ago");
});

test("a facepile shows the members of a room, at most `max`, and how many more there are", () => {
  const client = fakePresence({ 7: { status: "busy", display: { name: "Grace Brewster Hopper" } }, bo: "online" });
  client.setRoom("lobby", [7, "bo", "eve", "ida"]);
  renderWith(client, <Facepile room="lobby" max={2} className="small" />);
  const pile = screen.getByRole("group", { name: "4 online" });
  expect([...pile.classList]).toEqual(["presenced-facepile", "small"]);
  expect(pile.textContent).toBe("GBb+2");
  expect(screen.getByRole("img", { name: "Grace Brewster Hopper, Busy" }).dataset.status).toBe("busy");
  expect(screen.getByRole("img", { name: "bo, Online" })).toBeDefined();
  act(() => client.setRoom("lobby", [7, "bo"]));
  expect(pile.textContent).toBe("GBb");
});

test("a facepile of a large room shows the count", () => {
  const client = fakePresence();
  client.setRoom("stadium", { mode: "counts", count: 9000 });
  renderWith(client, <Facepile room="stadium" labels={{ count: "{count} people", more: "{count}" }} />);
  expect(screen.getByRole("group", { name: "9000 people" }).textContent).toBe("9000");
});

test("a facepile of users shows those who are online", () => {
  const client = fakePresence({ 7: "online", bo: "offline", eve: "away" });
  renderWith(client, <Facepile userIds={["eve", "bo", 7, "ida"]} />);
  const pile = screen.getByRole("group", { name: "2 online" });
  expect(pile.textContent).toBe("e7");
  act(() => client.setAll({ bo: "online", eve: "offline" }));
  expect(pile.textContent).toBe("b7");
});

test("a facepile shows faces of your own, and whole characters otherwise", () => {
  const client = fakePresence({ 7: { status: "online", display: { name: "🦊 Fox" } } });
  const { container, rerender } = renderWith(client, <Facepile userIds={[7]} />);
  expect(container.textContent).toBe("🦊F");
  rerender(<Facepile userIds={[7]}>{(user) => <b>{`user ${user.userId}`}</b>}</Facepile>);
  expect(container.querySelector("b")?.textContent).toBe("user 7");
});

test("the banner is a live region that speaks up after some seconds without a connection", () => {
  const client = fakePresence();
  renderWith(client, <ConnectionBanner after={5} className="top" />);
  const banner = screen.getByRole("status");
  expect([banner.textContent, banner.dataset.state]).toEqual(["", ""]);
  act(() => client.setConnection("waiting"));
  advance(3);
  act(() => client.setConnection("connecting")); // the attempts in between do not start the time again
  expect(banner.textContent).toBe("");
  advance(2);
  expect(banner.textContent).toBe("No connection. This may be out of date.");
  expect(banner.dataset.state).toBe("stale");
  act(() => client.setConnection("open"));
  expect(banner.textContent).toBe("");
  act(() => client.setConnection("waiting"));
  expect(banner.textContent).toBe("");
});

test("the banner does not claim a lost connection while an open one is out of date", () => {
  const client = fakePresence();
  renderWith(client, <ConnectionBanner after={5} />);
  const banner = screen.getByRole("status");
  act(() => client.setConnection("waiting"));
  advance(3);
  act(() => client.setConnection({ state: "open", stale: true })); // the server has just restarted
  advance(2);
  expect([banner.textContent, banner.dataset.state]).toEqual(["This may be out of date.", "settling"]);
});

test("the banner says at once that the client has given up, and nothing after close()", () => {
  const client = fakePresence();
  renderWith(client, <ConnectionBanner labels={{ failed: "keine Verbindung" }} />);
  act(() => client.setConnection("failed"));
  expect(screen.getByRole("status").textContent).toBe("keine Verbindung");
  act(() => client.close());
  advance(60);
  expect(screen.getByRole("status").textContent).toBe("");
});

test("the banner says at once that the token function has no token because nobody is signed in", () => {
  const client = fakePresence();
  renderWith(client, <ConnectionBanner />);
  const error = new PresenceError("SIGNED_OUT", "the token function returned no token");
  act(() => client.setConnection({ state: "closed", error }));
  const banner = screen.getByRole("status");
  expect([banner.textContent, banner.dataset.state]).toEqual(["You are signed out.", "signedOut"]);
  act(() => client.setConnection("connecting"));
  expect([banner.textContent, banner.dataset.state]).toEqual(["", ""]);
});

test("a banner may have a text of its own", () => {
  const client = fakePresence();
  client.setConnection("failed");
  renderWith(client, <ConnectionBanner>Offline!</ConnectionBanner>);
  expect(screen.getByRole("status").textContent).toBe("Offline!");
});
