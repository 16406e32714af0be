/** Calls of the application: choices, and when a client is ready. */

import { describe, expect, test, vi } from "vitest";

import { settle } from "./support/fake-host.js";
import type { Message } from "./support/fake-socket.js";
import { connected, connecting, drop, establish, nextAttempt } from "./support/page.js";
import { knowing, read, requests } from "./support/reading.js";
import { changes, receive, record, snapshot } from "./support/records.js";

describe("setStatus", () => {
  test("of several that wait, only the last is sent, and its answer resolves all", async () => {
    const { host, client } = await connecting();
    const calls = ["busy", "away", "online"].map((status) => client.setStatus({ status: status as "busy" }));
    await settle();
    await establish(host);
    expect(requests(host)).toEqual(["SET_STATUS online"]);
    await expect(Promise.all(calls)).resolves.toBeDefined();
  });

  test("the whole choice is sent", async () => {
    const { host, client } = await connected();
    await client.setStatus({ status: "busy", text: "lunch", emoji: "☕", data: { room: 4 }, expiresIn: 600 });
    const choice = {
      type: "SET_STATUS",
      status: "busy",
      text: "lunch",
      emoji: "☕",
      data: { room: 4 },
      expiresIn: 600,
    };
    expect(host.socket.sent).toEqual([{ ...choice, id: expect.anything() }]);
  });

  test("a refused one rejects", async () => {
    const { host, client } = await connecting();
    const call = client.setStatus({ status: "busy", text: "two\nlines" });
    host.socket.establish();
    await settle();
    const id = host.socket.sent[0]?.id;
    host.socket.receive({
      type: "ERROR",
      code: 101,
      name: "BAD_REQUEST",
      message: "text must not contain U+000A",
      id,
    } as never);
    await expect(call).rejects.toMatchObject({
      code: "BAD_REQUEST",
      numericCode: 101,
      message: expect.stringContaining("U+000A"),
    });
  });

  test("one without an answer is sent again, unless SELF shows that it was accepted", async () => {
    for (const chosen of ["busy", "auto"]) {
      const page = await connecting();
      const { host, client } = page;
      host.socket.establish();
      const call = client.setStatus({ status: "busy" });
      await settle();
      await drop(host);
      await nextAttempt(page);
      host.socket.open();
      host.socket.establish({ resumed: true }).receive({ type: "SELF", status: "busy", chosen } as never);
      await settle();
      host.socket.acceptAll();
      await settle();
      await expect(call).resolves.toBeUndefined();
      expect(requests(host)).toEqual(chosen === "busy" ? [] : ["SET_STATUS busy"]);
    }
  });

  describe("one that the server has accepted, but not shown before it died", () => {
    const own = (chosen: string, fields = {}) => ({ type: "SELF", status: "online", chosen, ...fields }) as never;

    async function returned(fields: Readonly<Record<string, unknown>>, ...news: readonly never[]) {
      const page = await connected();
      const { host, client } = page;
      const startedAt = host.time;
      await client.setStatus({ status: "busy", text: "lunch", data: 4, expiresIn: 60 });
      await receive(host, ...news);
      await drop(host);
      await nextAttempt(page);
      const { status, text, until } = host.socket.parameters;
      await establish(host, fields);
      return { url: [status, text, Number(until) - startedAt], sent: host.socket.sent, waited: host.time - startedAt };
    }

    test("is in the next URL, and is sent to a server that has started anew", async () => {
      const { url, sent, waited } = await returned({ sessionId: "session-2", epoch: "epoch-2" }, own("auto"));
      expect(url).toEqual(["busy", undefined, 60_000]); // the text follows
      const choice = { status: "busy", text: "lunch", data: 4, expiresIn: 60 - waited / 1_000 };
      expect(sent).toMatchObject([{ type: "SET_STATUS", ...choice }]);
    });

    test("is not sent again to the same server", async () => {
      expect((await returned({ resumed: true })).sent).toEqual([]);
      expect((await returned({ sessionId: "session-2" })).sent).toEqual([]);
    });

    test("is not sent again if SELF has shown it, or a later choice of another device", async () => {
      const restarted = { sessionId: "session-2", epoch: "epoch-2" };
      const { url, sent } = await returned(restarted, own("busy", { text: "lunch", data: 4, until: 5 }));
      expect([url[0], sent]).toEqual([undefined, []]); // it has ended by then
      const later = await returned(restarted, own("away"));
      expect([later.url[0], later.sent]).toEqual(["away", []]);
    });

    test("is not sent for the next user, if the client was about to send it again", async () => {
      const page = await connected();
      const { host, client } = page;
      await client.setStatus({ status: "busy", text: "lunch" });
      await drop(host);
      await nextAttempt(page);
      host.socket.establish({ sessionId: "session-2", epoch: "epoch-2" });
      client.close();
      client.connect();
      await settle();
      expect(host.socket.parameters).not.toHaveProperty("status");
      await establish(host, { sessionId: "session-3", epoch: "epoch-2", userId: "eve" });
      expect(requests(host)).toEqual([]);
    });

    test("is forgotten when the user signs out", async () => {
      const page = await connected();
      const { host, client } = page;
      await client.setStatus({ status: "busy" });
      client.close();
      client.connect();
      await settle();
      expect(host.socket.parameters).not.toHaveProperty("status");
      await establish(host, { sessionId: "session-2", epoch: "epoch-2" });
      expect(requests(host)).toEqual([]);
    });
  });

  test("expiresIn counts from the call", async () => {
    const { host, client } = await connecting();
    const call = client.setStatus({ status: "busy", expiresIn: 60 });
    await host.advance(10_000);
    await establish(host);
    expect(host.socket.sentOf("SET_STATUS")).toMatchObject([{ expiresIn: 50 }]);
    await call;
  });

  test("an aborted one that waits is not sent", async () => {
    const { host, client } = await connecting();
    const abort = new AbortController();
    const call = client.setStatus({ status: "busy" }, abort.signal);
    abort.abort(new Error("changed my mind"));
    await establish(host);
    expect(requests(host)).toEqual([]);
    await expect(call).rejects.toThrow("changed my mind");
  });
});

test("a call that has ended no longer listens to its signal", async () => {
  const { client } = await connected();
  const { signal } = new AbortController();
  const [add, remove] = [vi.spyOn(signal, "addEventListener"), vi.spyOn(signal, "removeEventListener")];
  for (const status of ["busy", "away"] as const) await client.setStatus({ status }, signal);
  client.close();
  await client.setStatus({ status: "busy" }, signal).catch(() => {});
  await settle();
  expect(remove.mock.calls).toEqual(add.mock.calls.map(([type, listener]) => [type, listener]));
  expect(remove).toHaveBeenCalledTimes(3);
});

describe("ready and reconnected", () => {
  test("ready() resolves when everything wanted is known", async () => {
    const { host, client } = await connecting();
    read(client, "bob");
    let isReady = false;
    void client.ready().then(() => {
      isReady = true;
    });
    await establish(host);
    expect([isReady, client.connection.get().stale]).toEqual([false, true]);
    await receive(host, snapshot("users", [record("bob", "online", 1)]), changes());
    expect([isReady, client.connection.get().stale]).toEqual([true, false]);
  });

  test("close() rejects a ready() that waits", async () => {
    const { client } = await connecting();
    const ready = client.ready();
    client.close();
    expect(await Promise.race([ready.catch(({ code }) => code), settle().then(() => "waits")])).toBe("CLOSED");
  });

  test("ready() works again after close() and connect()", async () => {
    const { host, client } = await connecting();
    client.close();
    await expect(client.ready()).rejects.toMatchObject({ code: "CLOSED" });
    client.connect();
    const ready = client.ready();
    await settle();
    await establish(host);
    await expect(ready).resolves.toBeUndefined();
  });

  test.each([
    ["resumed", { resumed: true }],
    ["resynced", { resumed: false }],
    ["new-session", { resumed: false, sessionId: "session-2" }],
  ])("reconnected: %s, once the client has caught up", async (outcome, fields) => {
    const page = await knowing(["bob"]);
    const { host, client } = page;
    await receive(host, changes());
    const seen: string[] = [];
    client.on("reconnected", (event) => seen.push(event.outcome));
    await drop(host);
    await nextAttempt(page);
    const answer = snapshot("users", [record("bob", "online", 1)]);
    await establish(host, fields, outcome === "resynced" ? [answer] : []);
    if (outcome === "new-session") {
      expect(seen).toEqual([]); // the server has accepted the subscription, and not answered it yet
      await receive(host, answer, changes());
    }
    expect(seen).toEqual([outcome]);
  });

  test("the first connection of a client is no reconnect, and the next one is", async () => {
    const page = await connecting();
    const outcomes: string[] = [];
    page.client.on("reconnected", ({ outcome }) => outcomes.push(outcome));
    await establish(page.host);
    await receive(page.host, changes());
    expect(outcomes).toEqual([]);
    await drop(page.host);
    await nextAttempt(page);
    await establish(page.host, { resumed: true });
    expect(outcomes).toEqual(["resumed"]);
  });
});

test("an error that nobody waits for is printed, unless the application listens", async () => {
  const warn = vi.spyOn(console, "warn").mockImplementation(() => {});
  const { host, client } = await connected();
  const refusal: Message = { type: "ERROR", code: 100, name: "BAD_MESSAGE", message: "not understood" };
  await receive(host, refusal);
  expect(warn.mock.calls).toEqual([["presenced: not understood (BAD_MESSAGE)"]]);
  const errors: string[] = [];
  client.on("rejected", ({ code }) => errors.push(code));
  await receive(host, refusal);
  expect([errors, warn.mock.calls.length]).toEqual([["BAD_MESSAGE"], 1]);
  warn.mockRestore();
});
