/** The limits of the server, which the client keeps: size of messages, watched users, rate of requests. */

import { describe, expect, test } from "vitest";
import { settle } from "./support/fake-host.js";
import { LIMITS } from "./support/fake-socket.js";
import { connecting, drop, establish, nextAttempt } from "./support/page.js";
import { knowing, read, requests, status } from "./support/reading.js";
import { changes, receive, record, snapshot } from "./support/records.js";

describe("a WATCH that is too large", () => {
  test("it is split at maxMessageSize", async () => {
    const { host, client } = await connecting();
    const ids = Array.from({ length: 500 }, (_, index) => `Benutzer-äöü-${index}`);
    read(client, ...ids);
    await establish(host, { limits: { ...LIMITS, maxMessageSize: 2_048 } });
    await host.advance(60_000);
    const watched = host.socket.sentOf("WATCH");
    expect(watched.length).toBeGreaterThan(3);
    for (const message of watched)
      expect(new TextEncoder().encode(JSON.stringify(message)).length).toBeLessThanOrEqual(2_048);
    expect(watched.flatMap(({ users }) => users as string[]).sort()).toEqual([...ids].sort());
  });

  test("messages of plain ids are nearly as long as the server allows, and never longer", async () => {
    const { host, client } = await connecting();
    const ids = Array.from({ length: 500 }, (_, index) => `${"x".repeat(100)}-${index}`);
    read(client, ...ids);
    await establish(host, { limits: { ...LIMITS, maxMessageSize: 2_048 } });
    await host.advance(60_000);
    const lengths = host.socket.sentOf("WATCH").map((message) => JSON.stringify(message).length);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(2_048);
    for (const length of lengths.slice(0, -1)) expect(length).toBeGreaterThan(1_600);
  });

  test("at maxWatchedUsers, users who have lingered longest are dropped first", async () => {
    const { host, client } = await connecting();
    const ends = read(client, "a", "b", "c");
    await establish(host, { limits: { ...LIMITS, maxWatchedUsers: 3 } });
    ends[1]?.();
    await host.advance(1_000);
    ends[0]?.();
    await host.advance(1_000);
    read(client, "d");
    await settle();
    expect(requests(host)).toEqual(["WATCH a,b,c", "UNWATCH b", "WATCH d"]);
  });

  test("as many users as the server allows are no error, and rooms and counts are not users", async () => {
    const { host, client } = await connecting();
    const errors: unknown[] = [];
    client.on("rejected", (error) => errors.push(error));
    read(client, "a", "b");
    client.room("hall").subscribe(() => {});
    client.count({ room: "yard" }).subscribe(() => {});
    await establish(host, { limits: { ...LIMITS, maxWatchedUsers: 2 } });
    expect(requests(host)).toEqual(["WATCH a,b hall", "WATCH yard count"]);
    expect(errors).toEqual([]);
  });

  test("users beyond a limit that has become lower are unknown once the client has caught up", async () => {
    const page = await knowing(["bob", "carl"]);
    const { host, client } = page;
    client.on("rejected", () => {});
    await receive(host, changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", limits: { ...LIMITS, maxWatchedUsers: 1 } });
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["online", "online"]);
    await receive(host, snapshot("users", [record("bob", "online", 1)]), changes());
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["online", "unknown"]);
    expect(client.connection.get().stale).toBe(false);
  });

  test("rooms that linger are not dropped for users", async () => {
    const { host, client } = await connecting();
    const end = client.room("hall").subscribe(() => {});
    const ends = read(client, "a", "b");
    await establish(host, { limits: { ...LIMITS, maxWatchedUsers: 2 } });
    end();
    await host.advance(1_000);
    ends[0]?.();
    read(client, "c");
    await settle();
    expect(requests(host)).toEqual(["WATCH a,b hall", "UNWATCH a", "WATCH c"]);
  });

  test("users beyond maxWatchedUsers take the place of users who linger at once", async () => {
    const { host, client } = await connecting();
    client.on("rejected", () => {});
    const ends = read(client, "a", "b", "c");
    await establish(host, { limits: { ...LIMITS, maxWatchedUsers: 2 } });
    ends[0]?.();
    await settle();
    expect(requests(host)).toEqual(["WATCH a,b", "UNWATCH a", "WATCH c"]);
  });

  test("any excess stays unknown, with one TOO_MANY_WATCHED that says what to do", async () => {
    const { host, client } = await connecting();
    const errors: { code: string; hint: string }[] = [];
    client.on("rejected", (error) => errors.push(error));
    const ends = read(client, "a", "b", "c", "d");
    await establish(host, { limits: { ...LIMITS, maxWatchedUsers: 2 } });
    read(client, "e");
    await settle();
    expect(requests(host)).toEqual(["WATCH a,b"]);
    expect(errors.map(({ code, hint }) => [code, hint])).toEqual([["TOO_MANY_WATCHED", "Watch everyone, or a room."]]);
    expect(status(client, "c")).toBe("unknown");
    ends[0]?.();
    await host.advance(30_000);
    expect(requests(host)).toEqual(["WATCH a,b", "UNWATCH a", "WATCH c"]);
  });

  test("a refused scope is found, and the others are watched", async () => {
    const { host, client } = await connecting();
    const errors: string[] = [];
    client.on("rejected", ({ code }) => errors.push(code));
    for (const name of ["a", "b", "secret", "d", "e"]) client.room(name).subscribe(() => {});
    host.socket.establish();
    host.socket.onSend = ({ type, id, rooms }) =>
      queueMicrotask(() => {
        const isRefused = type === "WATCH" && (rooms as string[]).includes("secret");
        const refusal = { type: "ERROR", code: 114, name: "NOT_ALLOWED", message: "no", id };
        host.socket.receive(isRefused ? refusal : ({ type: "ACK", id } as never));
      });
    await host.advance(10_000);
    expect(errors).toEqual(["NOT_ALLOWED"]);
    const accepted = host.socket.sentOf("WATCH").filter(({ rooms }) => !(rooms as string[]).includes("secret"));
    expect(accepted.flatMap(({ rooms }) => rooms as string[]).sort()).toEqual(["a", "b", "d", "e"]);
    expect(host.socket.sent.length).toBeLessThan(8);
  });

  test("two refused scopes among a hundred are found in few requests, and the next WATCH is whole again", async () => {
    const { host, client } = await connecting();
    const errors: string[] = [];
    client.on("rejected", ({ code }) => errors.push(code));
    const refused = ["room-17", "room-80"];
    for (let room = 0; room < 100; room += 1) client.room(`room-${room}`).subscribe(() => {});
    host.socket.establish();
    host.socket.onSend = ({ type, id, rooms }) =>
      queueMicrotask(() => {
        const isRefused = type === "WATCH" && (rooms as string[]).some((room) => refused.includes(room));
        const refusal = { type: "ERROR", code: 114, name: "NOT_ALLOWED", message: "no", id };
        host.socket.receive(isRefused ? refusal : ({ type: "ACK", id } as never));
      });
    await host.advance(10_000);
    expect(errors).toEqual(["NOT_ALLOWED", "NOT_ALLOWED"]);
    const sent = host.socket.sentOf("WATCH");
    expect(sent.length).toBeLessThan(30);
    const accepted = sent.flatMap(({ rooms }) => rooms as string[]);
    expect(new Set(accepted).size).toBe(100);
    for (let room = 100; room < 200; room += 1) client.room(`room-${room}`).subscribe(() => {});
    await host.advance(1_000);
    expect(host.socket.sentOf("WATCH").slice(sent.length)).toHaveLength(1);
  });
});

describe("request rate", () => {
  test("desired state is accumulated, so that the limits of the server hold", async () => {
    const { host, client } = await connecting();
    await establish(host, { limits: { ...LIMITS, requestsPerSecond: 2, requestBurst: 5 } });
    const times: number[] = [];
    host.socket.onSend = ({ id }) => {
      times.push(host.time);
      queueMicrotask(() => host.socket.receive({ type: "ACK", id } as never));
    };
    for (let turn = 0; turn < 100; turn += 1) {
      read(client, `user-${turn}`);
      void client.setStatus({ status: turn % 2 ? "busy" : "away" });
      await host.advance(50);
    }
    await host.advance(10_000);
    let tokens = 5;
    let last = times[0] ?? 0;
    for (const at of times) {
      tokens = Math.min(5, tokens + (2 * (at - last)) / 1_000) - 1;
      last = at;
      expect(tokens).toBeGreaterThanOrEqual(0);
    }
    expect(times.length).toBeGreaterThan(4 + 1.7 * 5); // it waits no longer than necessary
    expect(client.connection.get().stale).toBe(host.socket.sent.length === 0);
    const watched = host.socket.sentOf("WATCH").flatMap(({ users }) => users as string[]);
    expect(new Set(watched).size).toBe(100);
  });

  test("RATE_LIMITED is not shown: the request is sent again after a pause", async () => {
    const { host, client } = await connecting();
    const errors: unknown[] = [];
    client.on("rejected", (error) => errors.push(error));
    read(client, "bob");
    const membership = client.join("hall");
    host.socket.establish();
    await settle();
    for (const { id } of [...host.socket.sent]) {
      host.socket.receive({ type: "ERROR", code: 120, name: "RATE_LIMITED", message: "slower", id } as never);
    }
    host.socket.acceptAll();
    await host.advance(2_000);
    await membership.joined;
    expect(errors).toEqual([]);
    expect(requests(host).slice(2).sort()).toEqual(["JOIN hall", "WATCH bob"]);
  });

  test("setStatus rejects with RATE_LIMITED, which says that it may be called again", async () => {
    const { host, client } = await connecting();
    const call = client.setStatus({ status: "busy" });
    host.socket.establish();
    await settle();
    const id = host.socket.sent[0]?.id;
    host.socket.receive({ type: "ERROR", code: 120, name: "RATE_LIMITED", message: "slower", id } as never);
    await expect(call).rejects.toMatchObject({ code: "RATE_LIMITED", retryable: true });
  });
});
