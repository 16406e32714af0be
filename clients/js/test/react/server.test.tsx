// @vitest-environment jsdom
import { act } from "@testing-library/react";
import { StrictMode } from "react";
import { hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { beforeEach, expect, test, vi } from "vitest";
import type { UserId } from "../../src/index.js";
import { createPresence } from "../../src/index.js";
import {
  ConnectionBanner,
  Facepile,
  LastSeen,
  OnlineDot,
  PresenceProvider,
  useConnection,
  useEveryone,
  useOnlineCount,
  usePresences,
  useRoom,
  useSelf,
} from "../../src/react/index.js";
import type { FakePresence, FakeUser } from "../../src/testing/index.js";
import { fakePresence } from "./support.js";

// A client without a connection has what the server rendered. That the real client does is a test of the client.
vi.mock("../../src/index.js", () => ({ createPresence: vi.fn() }));

type Rendered = { userId: UserId } & Exclude<FakeUser, string>;

const AT = Date.UTC(2026, 0, 1, 12);
const users: Rendered[] = [
  { userId: 7, status: "online", display: { name: "Grace Hopper" } },
  { userId: "bo", status: "offline", lastSeen: AT - 5 * 60_000 },
];
let created: FakePresence[] = [];

function offlineClient(rendered: readonly object[]): FakePresence {
  const client = fakePresence(Object.fromEntries((rendered as Rendered[]).map((user) => [user.userId, user])));
  client.setSelf(null);
  client.setConnection("idle");
  return client;
}

beforeEach(() => {
  created = [];
  vi.mocked(createPresence).mockImplementation(({ initial } = {}) => {
    const client = offlineClient(initial?.users ?? []);
    created.push(client);
    return client;
  });
});

function Summary() {
  const room = useRoom("lobby", { join: true });
  const [self] = useSelf();
  const names = useEveryone((all) => [...all.keys()]);
  const online = usePresences([7, "bo"], (all) => [...all.values()].filter((user) => user.online).length);
  const state = useConnection((connection) => connection.state);
  const count = useOnlineCount({ room: "stadium" });
  return <p>{[room.known, self?.status, names, online, state, count].join(" ")}</p>;
}

function App() {
  return (
    <PresenceProvider url="ws://localhost:3001" userId="me" initial={{ at: AT, users }}>
      <OnlineDot userId={7} />
      <LastSeen userId="bo" />
      <Facepile userIds={[7, "bo", "eve"]} />
      <ConnectionBanner />
      <Summary />
    </PresenceProvider>
  );
}

test("the first HTML has the dots and times of the snapshot, and the server connects nothing", () => {
  const html = document.createElement("div");
  html.innerHTML = renderToString(<App />);
  expect(html.querySelector(".presenced-dot")?.getAttribute("data-status")).toBe("online");
  expect(html.querySelector(".presenced-last-seen")?.textContent).toBe("5 minutes ago");
  expect(html.querySelector('[role="group"]')?.getAttribute("aria-label")).toBe("1 online");
  expect(html.querySelector('[role="status"]')?.textContent).toBe("");
  expect(html.querySelector("p")?.textContent).toBe("false  7 1 idle ");
  expect(created.map((client) => [client.connections, client.readers(7)])).toEqual(created.map(() => [0, 0]));
});

test("hydration matches the HTML although the browser knows more already, and then shows what it knows", async () => {
  vi.useFakeTimers({ now: AT + 3 * 60_000, toFake: ["Date", "setTimeout", "clearTimeout"] });
  const container = document.createElement("div");
  container.innerHTML = renderToString(<App />);
  const first = container.querySelector(".presenced-dot");
  vi.mocked(createPresence).mockImplementation(({ initial, url } = {}) => {
    const client = offlineClient(initial?.users ?? []);
    if (url) {
      client.setConnection("open"); // the client of the page has received a change before hydration
      client.set(7, "busy");
    }
    return client;
  });
  const recovered = vi.fn();
  const root = await act(async () =>
    hydrateRoot(
      container,
      <StrictMode>
        <App />
      </StrictMode>,
      { onRecoverableError: recovered },
    ),
  );
  expect(recovered).not.toHaveBeenCalled();
  expect(container.querySelector(".presenced-dot")).toBe(first);
  expect(first?.getAttribute("data-status")).toBe("busy");
  expect(container.querySelector(".presenced-last-seen")?.textContent).toBe("8 minutes ago");
  expect(container.querySelector("p")?.textContent).toBe("true  7 1 open ");
  act(() => root.unmount());
});

test("a given client hydrates without a mismatch, and times follow after hydration", async () => {
  const client = fakePresence({ 7: "online", bo: { status: "offline", lastSeen: AT } }, { now: AT + 60_000 });
  const tree = (
    <PresenceProvider client={client}>
      <OnlineDot userId={7} />
      <LastSeen userId="bo" />
    </PresenceProvider>
  );
  const container = document.createElement("div");
  container.innerHTML = renderToString(tree);
  expect(container.textContent).toBe("Offline");
  client.setNow(AT + 120_000);
  const recovered = vi.fn();
  const root = await act(async () => hydrateRoot(container, tree, { onRecoverableError: recovered }));
  expect(recovered).not.toHaveBeenCalled();
  expect(container.textContent).toBe("2 minutes ago");
  act(() => root.unmount());
});
