// @vitest-environment jsdom
import { act, render, screen } from "@testing-library/react";
import * as React from "react";
import { Profiler, StrictMode, Suspense } from "react";
import { hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { beforeEach, expect, test, vi } from "vitest";
import type { Host, SocketLike } from "../../src/index.js";
import {
  LastSeen,
  OnlineDot,
  PresenceProvider,
  useEveryone,
  useOnlineCount,
  usePresenceClient,
  useRoom,
} from "../../src/react/index.js";

const NOON = Date.UTC(2026, 0, 1, 12);

/** The server's end of a connection. */
class Socket implements SocketLike {
  static readonly opened: Socket[] = [];
  readyState = 0;
  closedWith: number | undefined;
  readonly sent: { type: string; [field: string]: unknown }[] = [];
  onopen: unknown = null;
  onmessage: unknown = null;
  onclose: unknown = null;
  onerror: unknown = null;

  constructor(readonly url: string) {
    Socket.opened.push(this);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(code?: number): void {
    this.readyState = 3;
    this.closedWith = code ?? 1005;
  }

  /** Accept the connection and send the first messages. */
  accept(): void {
    this.readyState = 1;
    (this.onopen as () => void)();
    this.say(
      {
        type: "CONNECTION_ESTABLISHED",
        userId: "me",
        sessionId: "session",
        resumed: false,
        epoch: "epoch",
        serverTime: NOON,
        heartbeatInterval: 30,
        resumeWindow: 120,
        settling: 0,
        limits: { maxMessageSize: 65536, maxWatchedUsers: 1000, requestsPerSecond: 10, requestBurst: 50 },
      },
      { type: "SELF", status: "online", chosen: "auto" },
      { type: "PRESENCE_CHANGES", position: "epoch-1", users: [] },
    );
  }

  say(...messages: object[]): void {
    for (const message of messages) (this.onmessage as (event: object) => void)({ data: JSON.stringify(message) });
  }
}

const host: Partial<Host> = { openSocket: (url) => new Socket(url) };
const url = "ws://localhost:3001";

beforeEach(() => {
  Socket.opened.length = 0;
  vi.useFakeTimers({ now: NOON });
});

function advance(milliseconds: number): Promise<void> {
  return act(async () => {
    await vi.advanceTimersByTimeAsync(milliseconds);
  });
}

test("1,000 dots under StrictMode open one socket, fetch one token, send one WATCH, and render once for one change", async () => {
  const ids = Array.from({ length: 1000 }, (_, index) => index);
  const token = vi.fn(() => "ticket");
  const committed = vi.fn();
  const { container, unmount } = render(
    <StrictMode>
      <PresenceProvider url={url} token={token} host={host}>
        {ids.map((id) => (
          <Profiler key={id} id={String(id)} onRender={committed}>
            <OnlineDot userId={id} />
          </Profiler>
        ))}
      </PresenceProvider>
    </StrictMode>,
  );
  await advance(10);
  const [socket, ...others] = Socket.opened;
  expect([others.length, token.mock.calls.length]).toEqual([0, 1]);
  await act(async () => socket?.accept());
  await advance(10);
  const watched = socket?.sent.filter(({ type }) => type === "WATCH") ?? [];
  expect(watched.map(({ users }) => (users as string[]).length)).toEqual([1000]);
  const users = ids.map((userId) => ({ userId, status: "online", since: NOON, version: userId + 1 }));
  await act(async () =>
    socket?.say(
      { type: "ACK", id: watched[0]?.id },
      { type: "PRESENCE_SNAPSHOT", watch: "users", page: 1, pages: 1, users },
      { type: "PRESENCE_CHANGES", position: "epoch-2", users: [] },
    ),
  );
  await advance(100);
  expect(container.querySelectorAll('[data-status="online"]')).toHaveLength(1000);
  committed.mockClear();
  const change = (version: number, status: string) => ({
    type: "PRESENCE_CHANGES",
    position: `epoch-${version}`,
    users: [{ userId: 500, status, since: NOON, version }],
  });
  await act(async () => socket?.say(change(2000, "away"), change(1999, "busy")));
  await advance(100);
  expect(committed.mock.calls.map(([id]) => id)).toEqual(["500"]);
  expect(container.querySelectorAll('[data-status="away"]')).toHaveLength(1);
  unmount();
  expect(socket?.closedWith).toBeUndefined();
  await advance(1000);
  expect(socket?.closedWith).toBe(1000);
});

function Page() {
  const names = useEveryone((all) => [...all.keys()].join());
  return (
    <p>
      {names} {useOnlineCount("everyone")} {useRoom("lobby").known}
    </p>
  );
}

test("a page hydrates without a mismatch after the client has connected", async () => {
  const initial = {
    at: NOON,
    users: [
      { userId: 7, status: "online", since: NOON, version: 3 },
      { userId: "bo", status: "offline", since: NOON, version: 4, lastSeen: NOON - 300_000 },
    ],
  };
  const tree = (
    <PresenceProvider url={url} userId="me" host={host} initial={initial}>
      <OnlineDot userId={7} />
      <LastSeen userId="bo" />
      <Page />
    </PresenceProvider>
  );
  const container = document.createElement("div");
  container.innerHTML = renderToString(tree);
  expect(Socket.opened).toHaveLength(0);
  expect(container.querySelector("[data-status]")?.getAttribute("data-status")).toBe("online");
  expect(container.textContent).toContain("5 minutes ago");
  const recovered = vi.fn();
  const root = await act(async () => hydrateRoot(container, tree, { onRecoverableError: recovered }));
  await advance(10);
  await act(async () => Socket.opened[0]?.accept());
  await advance(10);
  expect(recovered).not.toHaveBeenCalled();
  expect(container.querySelector("[data-status]")?.getAttribute("data-status")).toBe("online");
  await act(async () => root.unmount());
  await advance(1000);
});

test.skipIf(!React.use)("a component may suspend until everything wanted is known: use(client.ready())", async () => {
  function Dot() {
    React.use(usePresenceClient().ready());
    return <OnlineDot userId="bo" />;
  }
  const tree = (
    <PresenceProvider url={url} userId="me" host={host}>
      <OnlineDot userId="ada" />
      <Suspense fallback="loading">
        <Dot />
      </Suspense>
    </PresenceProvider>
  );
  const { container } = await act(async () => render(tree));
  expect(container.textContent).toBe("loading");
  const [socket] = Socket.opened;
  await act(async () => socket?.accept());
  await advance(0);
  const users = [{ userId: "ada", status: "busy", since: NOON, version: 1 }];
  await act(async () => {
    for (const { id } of socket?.sent ?? []) socket?.say({ type: "ACK", id });
    socket?.say({ type: "PRESENCE_SNAPSHOT", watch: "users", page: 1, pages: 1, users });
  });
  await advance(1_000); // React shows what has suspended a moment later
  expect(container.textContent).toBe("");
  expect(screen.getAllByRole("img").map((dot) => dot.dataset.status)).toEqual(["busy", "unknown"]);
});

test("another user of the provider gets a connection of its own, and the first one ends", async () => {
  const tree = (userId: string) => (
    <PresenceProvider url={url} userId={userId} host={host}>
      <OnlineDot userId={7} />
    </PresenceProvider>
  );
  const { rerender, unmount } = render(tree("ada"));
  await advance(10);
  await act(async () => Socket.opened[0]?.accept());
  rerender(tree("bo"));
  await advance(1000);
  expect(Socket.opened.map(({ url }) => /userId=(\w+)/.exec(url)?.[1])).toEqual(["ada", "bo"]);
  expect(Socket.opened.map(({ closedWith }) => closedWith)).toEqual([1000, undefined]);
  expect(screen.getByRole("img", { name: "Unknown" })).toBeDefined();
  unmount();
  await advance(1000);
});
