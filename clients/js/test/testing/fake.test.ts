import { expect, test, vi } from "vitest";
import { fakePresence } from "../../src/testing/index.js";

test("users have the given statuses and details, and everyone else is unknown", () => {
  const presence = fakePresence({ 7: "online", bo: { status: "busy", text: "in a meeting" }, eve: "offline" });
  expect(presence.user(7).get()).toMatchObject({ userId: 7, status: "online", online: true, text: "" });
  expect(presence.user("bo").get()).toMatchObject({ userId: "bo", status: "busy", online: true, text: "in a meeting" });
  expect(presence.user("ada").get()).toMatchObject({ status: "unknown", online: false });
  expect([...presence.everyone.get().keys()]).toEqual(["7", "bo"]);
});

test("7 and '7' are the same user", () => {
  const presence = fakePresence({ 7: "online" });
  expect(presence.user("7").get()).toBe(presence.user(7).get());
  expect([...presence.users([7, "7"]).get().keys()]).toEqual(["7"]);
});

test("every store returns the same object until something changes", () => {
  const presence = fakePresence({ 7: "online", bo: "busy" });
  const users = presence.users([7, "ada"]);
  const stores = [
    presence.user(7),
    users,
    presence.everyone,
    presence.room("lobby"),
    presence.self,
    presence.connection,
  ];
  const before = stores.map((store) => store.get());
  expect(stores.map((store) => store.get())).toEqual(before);
  for (const [index, store] of stores.entries()) expect(store.get()).toBe(before[index]);
  presence.set("bo", "away");
  expect(users.get()).toBe(before[1]);
  presence.set(7, "away");
  expect(users.get()).not.toBe(before[1]);
  expect(users.get().get("7")).toBe(presence.user(7).get());
});

test("readers are notified and counted", () => {
  const presence = fakePresence({ 7: "online" });
  const listener = vi.fn();
  const ends = [presence.user(7).subscribe(listener), presence.user(7).subscribe(listener)];
  ends.push(presence.users([7, "bo"]).subscribe(listener));
  expect([presence.readers(7), presence.readers("bo"), presence.readers()]).toEqual([3, 1, 0]);
  presence.set(7, "away");
  expect(listener).toHaveBeenCalledTimes(3);
  for (const end of ends) end();
  expect([presence.readers(7), presence.readers("bo")]).toEqual([0, 0]);
});

test("several users change together", () => {
  const presence = fakePresence({ 7: "online", bo: "online" });
  const seen: string[] = [];
  presence.user(7).subscribe(() => seen.push(presence.user("bo").get().status));
  presence.setAll({ 7: "away", bo: "offline" });
  expect(seen).toEqual(["offline"]);
});

test("watch fires for changes, not for what is known first", () => {
  const presence = fakePresence({ 7: "online" });
  const seen: string[] = [];
  const end = presence.watch([7, "bo"], (current, previous) => seen.push(`${previous.status} ${current.status}`));
  presence.set("bo", "online");
  presence.set(7, "away");
  presence.set("bo", "busy");
  end();
  presence.set(7, "offline");
  expect(seen).toEqual(["online away", "online busy"]);
});

test("a choice changes the user's own state", async () => {
  const presence = fakePresence({}, { userId: "ada", now: 1000 });
  await presence.setStatus({ status: "invisible", text: "away for a moment", expiresIn: 60 });
  expect(presence.self.get()).toMatchObject({ userId: "ada", status: "invisible", chosen: "invisible", until: 61_000 });
  await expect(presence.setStatus({ status: "busy" }, AbortSignal.abort())).rejects.toThrow();
  presence.setSelf(null);
  expect(presence.self.get()).toBeNull();
});

test("an idle person is away, unless a status is chosen", async () => {
  const presence = fakePresence();
  presence.setActive(false);
  expect(presence.self.get()?.status).toBe("away");
  await presence.setStatus({ status: "busy" });
  presence.setActive(false);
  expect(presence.self.get()?.status).toBe("busy");
});

test("a member is in the room until the last membership has left", async () => {
  const presence = fakePresence({}, { userId: "me" });
  presence.setRoom("lobby", [7, "bo"]);
  const [first, second] = [presence.join("lobby", { seat: 1 }), presence.join("lobby", { seat: 2 })];
  await first.joined;
  expect(presence.room("lobby").get()).toMatchObject({ known: true, joined: true, count: 3 });
  await first.setData({ seat: 3 });
  expect(presence.room("lobby").get().members.get("me")?.data).toEqual({ seat: 3 });
  first.leave();
  first.leave();
  await expect(first.setData({ seat: 4 })).rejects.toMatchObject({ code: "NOT_A_MEMBER" });
  expect(presence.room("lobby").get().joined).toBe(true);
  second.leave();
  expect(presence.room("lobby").get()).toMatchObject({ joined: false, count: 2 });
});

test("a large room has a count and no members", async () => {
  const presence = fakePresence();
  presence.setRoom("stadium", { mode: "counts", count: 9000 });
  const membership = presence.join("stadium", { seat: 1 });
  await membership.setData({ seat: 2 });
  expect(presence.room("stadium").get()).toMatchObject({ joined: true, count: 9001, members: new Map() });
});

test("counts follow users and rooms until one is set", () => {
  const presence = fakePresence({ 7: "online", bo: "offline" });
  const [everyone, lobby] = [presence.count("everyone"), presence.count({ room: "lobby" })];
  expect([everyone.get(), lobby.get()]).toEqual([1, null]);
  presence.set("bo", "away");
  presence.setRoom("lobby", ["bo"]);
  expect([everyone.get(), lobby.get()]).toEqual([2, 1]);
  presence.setCount("everyone", 4711);
  presence.setCount({ room: "lobby" }, null);
  expect([everyone.get(), lobby.get()]).toEqual([4711, null]);
});

test("the connection shows any state", () => {
  const presence = fakePresence();
  const listener = vi.fn();
  const end = presence.on("connection", listener);
  presence.setConnection("waiting");
  expect(presence.connection.get()).toMatchObject({ state: "waiting", stale: true });
  presence.setConnection({ latency: 12 });
  expect(listener).toHaveBeenLastCalledWith(expect.objectContaining({ state: "waiting", latency: 12 }));
  presence.retry();
  expect(presence.connection.get()).toMatchObject({ state: "open", stale: false });
  end();
  presence.setConnection("failed");
  expect(listener).toHaveBeenCalledTimes(3);
});

test("ready is the same resolved promise each time, as React's `use` needs it", async () => {
  const client = fakePresence();
  expect(client.ready()).toBe(client.ready());
  await client.ready();
});

test("connections are counted, and a release counts once", () => {
  const presence = fakePresence();
  const [release] = [presence.connect(), presence.connect()];
  expect(presence.connections).toBe(2);
  release?.();
  release?.();
  expect(presence.connections).toBe(1);
});

test("closing forgets everything", async () => {
  const presence = fakePresence({ 7: "online" });
  presence.setRoom("lobby", [7]);
  presence.close();
  expect(presence.connection.get().state).toBe("closed");
  expect([presence.user(7).get().status, presence.room("lobby").get().known, presence.self.get()]).toEqual([
    "unknown",
    false,
    null,
  ]);
  await presence.ready();
});
