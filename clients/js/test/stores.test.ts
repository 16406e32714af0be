/// <reference types="node" />

/** Values of the stores, and the calls of their listeners. */

import process from "node:process";

import { describe, expect, test } from "vitest";

import { settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, drop, establish, nextAttempt } from "./support/page.js";
import { knowing, read, requests, status } from "./support/reading.js";
import { changes, receive, record, snapshot } from "./support/records.js";

describe("watch", () => {
  test("it never fires for the first answer, nor for one that repeats what is known", async () => {
    const { host, client } = await connected();
    const seen: string[] = [];
    client.watch(["bob", "carl"], (user, before) => seen.push(`${user.userId} ${before.status} ${user.status}`));
    await settle();
    expect(requests(host)).toEqual(["WATCH bob,carl"]);
    await receive(host, snapshot("users", [record("bob", "online", 1), record("carl", "offline", 1)]));
    await receive(host, changes(record("bob", "online", 2), record("carl", "offline", 1)));
    expect(seen).toEqual([]);
    await receive(host, changes(record("bob", "away", 3), record("carl", "online", 2)));
    expect(seen).toEqual(["bob online away", "carl offline online"]);
  });

  test("a reconnect that brings the same states does not fire", async () => {
    const page = await connected();
    const { host, client } = page;
    let calls = 0;
    client.watch(["bob"], () => (calls += 1));
    await settle();
    await receive(host, snapshot("users", [record("bob", "online", 50)]), changes());
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2" });
    await receive(host, snapshot("users", [record("bob", "online", 3)]), changes());
    expect(calls).toBe(0);
    await receive(host, changes(record("bob", "busy", 4)));
    expect(calls).toBe(1);
  });

  test("it ends with the returned function, also within a callback", async () => {
    const { host, client } = await knowing(["bob"]);
    let calls = 0;
    const end = client.watch(["bob"], () => {
      calls += 1;
      end();
    });
    await receive(host, changes(record("bob", "away", 2)), changes(record("bob", "busy", 3)));
    expect(calls).toBe(1);
  });

  test("an error in a listener stops neither the others nor the connection", async () => {
    const { host, client } = await knowing(["bob"]);
    const uncaught: unknown[] = [];
    const catchError = (error: unknown) => uncaught.push(error);
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", catchError);
    let calls = 0;
    client.watch(["bob"], () => {
      throw new Error("a listener's error");
    });
    client.watch(["bob"], () => (calls += 1));
    await receive(host, changes(record("bob", "away", 2)));
    process.removeListener("uncaughtException", catchError);
    for (const listener of listeners) process.on("uncaughtException", listener);
    expect([calls, uncaught.map((error) => (error as Error).message)]).toEqual([1, ["a listener's error"]]);
    expect(client.connection.get().state).toBe("open");
  });
});

describe("publishing", () => {
  test("all changes of one message appear together", async () => {
    const { host, client } = await knowing(["bob", "carl"]);
    const seen: string[] = [];
    client.user("bob").subscribe(() => seen.push(`${status(client, "bob")} ${status(client, "carl")}`));
    client.user("carl").subscribe(() => seen.push(`${status(client, "bob")} ${status(client, "carl")}`));
    client.watch(["bob"], () => seen.push(`${status(client, "bob")} ${status(client, "carl")}`));
    await receive(host, changes(record("bob", "away", 2), record("carl", "busy", 2)));
    expect(new Set(seen)).toEqual(new Set(["away busy"]));
  });

  test("a listener of several users is called once for one message", async () => {
    const { host, client } = await knowing(["bob", "carl"]);
    let calls = 0;
    client.users(["bob", "carl"]).subscribe(() => (calls += 1));
    await receive(host, changes(record("bob", "away", 2), record("carl", "busy", 2)));
    expect(calls).toBe(1);
  });

  test("pages of a snapshot appear with its last page", async () => {
    const { host, client } = await connected();
    client.everyone.subscribe(() => {});
    read(client, "bob", "carl");
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)], 1, 2));
    expect(status(client, "bob")).toBe("unknown");
    await receive(host, snapshot("everyone", [record("carl", "online", 2)], 2, 2));
    expect([status(client, "bob"), status(client, "carl")]).toEqual(["online", "online"]);
  });

  test("pages that a lost connection cut off are forgotten", async () => {
    const page = await connected();
    const { host, client } = page;
    client.everyone.subscribe(() => {});
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)], 1, 2));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { resumed: false });
    await receive(host, snapshot("everyone", [record("carl", "online", 2)], 2, 2));
    expect(status(client, "bob")).not.toBe("online");
  });

  test("everyone is built at most ten times a second, and is the same object meanwhile", async () => {
    const { host, client } = await connected();
    let calls = 0;
    client.everyone.subscribe(() => (calls += 1));
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]));
    const before = client.everyone.get();
    for (let version = 2; version < 202; version += 1) {
      await receive(host, changes(record("bob", version % 2 ? "online" : "away", version)));
      await host.advance(10);
    }
    await host.advance(1_000);
    expect(calls).toBeGreaterThan(15);
    expect(calls).toBeLessThanOrEqual(22);
    expect(client.everyone.get()).not.toBe(before);
    expect(client.everyone.get().get("bob")).toBe(client.user("bob").get());
    expect(client.everyone.get()).toBe(client.everyone.get());
  });

  test("a listener that is called sees the map that get() returns until the next call", async () => {
    const { host, client } = await connected();
    const maps: unknown[] = [];
    client.everyone.subscribe(() => maps.push(client.everyone.get()));
    await settle();
    await receive(host, snapshot("everyone", [record("bob", "online", 1)]));
    await receive(host, changes(record("bob", "away", 2)));
    expect(client.everyone.get()).toBe(maps.at(-1));
    await host.advance(100);
    expect(maps.length).toBe(2);
    expect(client.everyone.get()).toBe(maps.at(-1));
  });
});

describe("a record arrives", () => {
  test("it counts if its version is above the known one", async () => {
    const { host, client } = await knowing(["bob"]);
    let calls = 0;
    client.user("bob").subscribe(() => (calls += 1));
    await receive(
      host,
      changes(record("bob", "busy", 5)),
      changes(record("bob", "away", 5)),
      changes(record("bob", "away", 4)),
    );
    expect([status(client, "bob"), calls]).toEqual(["busy", 1]);
  });

  test("a new session resets the known versions, and nobody flickers", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, changes(record("bob", "busy", 1_000)));
    const seen: string[] = [];
    client.user("bob").subscribe(() => seen.push(status(client, "bob")));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { sessionId: "session-2", epoch: "epoch-2" });
    expect(requests(host)).toEqual(["WATCH bob"]);
    await receive(host, snapshot("users", [record("bob", "away", 2)]), changes());
    expect(seen).toEqual(["away"]);
  });

  test("a full resync of the same session does, too, and repeats no request", async () => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, changes(record("bob", "busy", 1_000)));
    await drop(host);
    await nextAttempt(page);
    await establish(host, { epoch: "epoch-2" }, [snapshot("users", [record("bob", "away", 2)])]);
    expect([requests(host), status(client, "bob")]).toEqual([[], "away"]);
  });

  test("unknown messages and fields are ignored", async () => {
    const { host, client } = await knowing(["bob"]);
    host.socket.receiveText("no JSON").receiveText("null").receiveText("[]").receiveText('"text"').receiveText("1");
    await receive(
      host,
      { type: "SOMETHING_NEW", users: [] } as Message,
      { type: "SOMETHING_NEW", room: "hall", members: [], mode: "counts" } as Message,
      changes(record("bob", "away", 2, { later: 1 })),
    );
    expect([client.connection.get().state, status(client, "bob")]).toEqual(["open", "away"]);
  });
});
