// @vitest-environment jsdom
import { act } from "@testing-library/react";
import { useState } from "react";
import { expect, test } from "vitest";
import { PresenceError } from "../../src/index.js";
import { useConnection, useOnlineCount, usePresenceClient, useRoom, useSelf } from "../../src/react/index.js";
import { fakePresence, probe, renderWith } from "./support.js";

test("useOnlineCount follows everyone or a room, and is null until it is known", () => {
  const client = fakePresence({ 7: "online" });
  const { Probe, results } = probe(() => [useOnlineCount("everyone"), useOnlineCount({ room: "lobby" })].join());
  renderWith(client, <Probe />);
  act(() => client.set("bo", "away"));
  act(() => client.setRoom("lobby", [7]));
  expect(results).toEqual(["1,", "2,", "2,1"]);
});

test("useSelf returns the user's own state and functions that stay the same", async () => {
  const client = fakePresence({}, { userId: "ada" });
  const { Probe, results } = probe(() => useSelf());
  renderWith(client, <Probe />);
  const [self, { setStatus, setActive }] = results[0] as ReturnType<typeof useSelf>;
  expect(self).toMatchObject({ userId: "ada", status: "online", chosen: "auto" });
  await act(() => setStatus({ status: "busy", text: "deploying" }));
  expect(results.at(-1)?.[0]).toMatchObject({ status: "busy", text: "deploying" });
  expect(results.at(-1)?.[1].setStatus).toBe(setStatus);
  await act(() => setStatus({ status: "auto" }));
  act(() => setActive(false));
  expect(results.at(-1)?.[0]?.status).toBe("away");
  act(() => client.setSelf(null));
  expect(results.at(-1)?.[0]).toBeNull();
});

test("useConnection renders again only when what it selects changes", () => {
  const client = fakePresence();
  const selected = probe(() => useConnection(({ stale }) => stale));
  const whole = probe(() => useConnection().state);
  renderWith(
    client,
    <>
      <selected.Probe />
      <whole.Probe />
    </>,
  );
  act(() => client.setConnection({ latency: 12 }));
  act(() => client.setConnection("waiting"));
  act(() => client.setConnection("connecting"));
  expect(selected.results).toEqual([false, true]);
  expect(whole.results).toEqual(["open", "open", "waiting", "connecting"]);
});

test("useRoom shows a room without joining it", () => {
  const client = fakePresence({}, { userId: "me" });
  client.setRoom("lobby", [7, "bo"]);
  const { Probe, results } = probe(() => useRoom("lobby"));
  renderWith(client, <Probe />);
  expect(results[0]).toMatchObject({ name: "lobby", known: true, joined: false, count: 2 });
  expect([...(results[0]?.others.keys() ?? [])]).toEqual(["7", "bo"]);
});

test("useRoom with `join` is a member while mounted, also in StrictMode", () => {
  const client = fakePresence({}, { userId: "me", now: 1000 });
  client.setRoom("lobby", [7]);
  const { Probe, results } = probe(() => useRoom("lobby", { join: true, data: { seat: 1 } }));
  const { unmount } = renderWith(client, <Probe />, { strict: true });
  expect(results.at(-1)).toMatchObject({ joined: true, count: 2 });
  expect(results.at(-1)?.members.get("me")).toEqual({ userId: "me", joinedAt: 1000, data: { seat: 1 } });
  expect([...(results.at(-1)?.others.keys() ?? [])]).toEqual(["7"]);
  unmount();
  expect(client.room("lobby").get()).toMatchObject({ joined: false, count: 1 });
});

test("data of a member is compared by value, and other data replaces it", async () => {
  const client = fakePresence({}, { userId: "me" });
  const join = client.join.bind(client);
  const calls: unknown[] = [];
  client.join = (room, data) => {
    calls.push(["join", data]);
    const membership = join(room, data);
    return {
      ...membership,
      setData: (next) => {
        calls.push(["setData", next]);
        return membership.setData(next);
      },
    };
  };
  const Seat = ({ seat }: { seat: number }) => {
    return <p>{useRoom("lobby", { join: true, data: seat ? { seat } : undefined }).count}</p>;
  };
  const { rerender } = renderWith(client, <Seat seat={1} />);
  rerender(<Seat seat={1} />);
  rerender(<Seat seat={2} />);
  rerender(<Seat seat={0} />);
  expect(calls).toEqual([
    ["join", { seat: 1 }],
    ["setData", { seat: 2 }],
    ["setData", null],
  ]);
});

test("setData replaces the member's data, and rejects without a membership", async () => {
  const client = fakePresence({}, { userId: "me" });
  const { Probe, results } = probe(() => useRoom("lobby", { join: true }));
  const outside = probe(() => useRoom("lobby"));
  renderWith(
    client,
    <>
      <Probe />
      <outside.Probe />
    </>,
  );
  await act(() => results[0]?.setData({ typing: true }));
  expect(results.at(-1)?.members.get("me")?.data).toEqual({ typing: true });
  await expect(outside.results[0]?.setData({})).rejects.toMatchObject({ code: "NOT_A_MEMBER" });
});

test("useRoom follows another room and a changed `join`", () => {
  const client = fakePresence({}, { userId: "me" });
  const Place = (props: { name: string; join: boolean }) => <p>{useRoom(props.name, { join: props.join }).name}</p>;
  const { rerender } = renderWith(client, <Place name="lobby" join />);
  rerender(<Place name="garden" join />);
  expect(["lobby", "garden"].map((name) => client.room(name).get().joined)).toEqual([false, true]);
  rerender(<Place name="garden" join={false} />);
  expect(client.room("garden").get().joined).toBe(false);
});

test("a refused membership shows why, until another room is joined", async () => {
  const client = fakePresence({}, { userId: "me" });
  const join = client.join.bind(client);
  const refused = Promise.reject(new PresenceError("ROOM_FULL", "the room is full"));
  client.join = (room) => (room === "lobby" ? { joined: refused, setData: () => refused, leave() {} } : join(room));
  const Place = ({ name }: { name: string }) => <p>{useRoom(name, { join: true }).error?.code ?? "none"}</p>;
  const { container, rerender } = renderWith(client, <Place name="lobby" />, { strict: true });
  expect(container.textContent).toBe("none");
  await act(() => refused.catch(() => {}));
  expect(container.textContent).toBe("ROOM_FULL");
  rerender(<Place name="garden" />);
  expect(container.textContent).toBe("none");
});

test("an error of a membership ends when the room is joined later, or newer data is accepted", async () => {
  const client = fakePresence({}, { userId: "me" });
  const refused = (code: string) => Promise.reject(new PresenceError(code, "refused"));
  let accepts = false;
  client.join = () => ({
    joined: refused("ROOM_FULL"),
    setData: () => (accepts ? Promise.resolve() : refused("BAD_REQUEST")),
    leave() {},
  });
  const Place = ({ seat }: { seat: number }) => (
    <p>{useRoom("lobby", { join: true, data: { seat } }).error?.code ?? "none"}</p>
  );
  const { container, rerender } = renderWith(client, <Place seat={1} />);
  await act(async () => {});
  expect(container.textContent).toBe("ROOM_FULL");
  await act(async () => client.setRoom("lobby", { members: ["me"], joined: true }));
  expect(container.textContent).toBe("none");
  rerender(<Place seat={2} />);
  await act(async () => {});
  expect(container.textContent).toBe("BAD_REQUEST");
  accepts = true;
  rerender(<Place seat={3} />);
  await act(async () => {});
  expect(container.textContent).toBe("none");
});

test("an equal room stays the same object when the component renders for another reason", () => {
  const client = fakePresence();
  client.setRoom("lobby", [7]);
  const rooms: unknown[] = [];
  let again = () => {};
  function Lobby() {
    "use no memo"; // records what the hook returns in each render
    const [count, setCount] = useState(0);
    again = () => setCount(count + 1);
    rooms.push(useRoom("lobby", { data: { inline: true } }));
    return null;
  }
  renderWith(client, <Lobby />);
  act(() => again());
  expect(rooms).toHaveLength(2);
  expect(rooms[0]).toBe(rooms[1]);
});

test("usePresenceClient returns the client of the provider", () => {
  const client = fakePresence();
  const { Probe, results } = probe(() => usePresenceClient());
  renderWith(client, <Probe />);
  expect(results).toEqual([client]);
});
