/** One connection for all tabs: what the server sees, and what each tab gets. */

import { beforeEach, describe, expect, test } from "vitest";
import { Browser, type Tab } from "./browser.js";

let browser: Browser;

beforeEach(() => {
  browser = new Browser();
  for (const user of ["bo", "cy", "dee"]) browser.server.set(user, "online");
});

/** Open tabs one after another, each reading some users. */
async function open(...reads: string[][]): Promise<Tab[]> {
  const tabs: Tab[] = [];
  for (const ids of reads) {
    const tab = browser.open();
    tab.read(...ids);
    await browser.advance(10);
    tabs.push(tab);
  }
  return tabs;
}

const sent = (type: string) => browser.server.sockets.flatMap((socket) => socket.sent.filter((m) => m.type === type));

describe("one connection", () => {
  test("three tabs have one socket, and each knows its users", async () => {
    const tabs = await open(["bo"], ["cy"], ["bo", "dee"]);
    expect(browser.server.open).toHaveLength(1);
    expect(tabs.map(({ client }) => client.connection.get())).toMatchObject(
      Array(3).fill({ state: "open", stale: false }),
    );
    expect(tabs.map((tab) => tab.status("bo"))).toEqual(["online", "unknown", "online"]);
    expect(tabs.map((tab) => tab.status("cy"))).toEqual(["unknown", "online", "unknown"]);
  });

  test("tabs that open at the same moment have one socket, too", async () => {
    const tabs = [browser.open(), browser.open(), browser.open()];
    for (const tab of tabs) tab.read("bo");
    await browser.advance(10);
    expect(browser.server.sockets).toHaveLength(1);
    expect(tabs.map((tab) => tab.status("bo"))).toEqual(["online", "online", "online"]);
  });

  test("changes reach the tabs that read the user, and no others", async () => {
    const [one, two] = (await open(["bo"], ["cy"])) as [Tab, Tab];
    browser.server.set("bo", "busy");
    browser.server.set("cy", "away");
    await browser.advance(10);
    expect([one.status("bo"), one.status("cy")]).toEqual(["busy", "unknown"]);
    expect([two.status("bo"), two.status("cy")]).toEqual(["unknown", "away"]);
  });

  test("a tab that reads everyone does not fill the others", async () => {
    const [one] = (await open(["bo"])) as [Tab];
    const two = browser.open();
    two.client.everyone.subscribe(() => {});
    await browser.advance(200);
    expect([...two.client.everyone.get().keys()].sort()).toEqual(["bo", "cy", "dee"]);
    expect(one.client.explain()).toMatchObject({ knownUsers: 1 });
    const three = browser.open();
    three.client.everyone.subscribe(() => {});
    await browser.advance(200);
    expect(three.client.everyone.get().size).toBe(3);
  });

  test("the own state and a chosen status reach all tabs", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    await two.client.setStatus({ status: "busy" });
    await browser.advance(10);
    expect(one.client.self.get()?.status).toBe("busy");
    expect(two.client.self.get()?.status).toBe("busy");
  });

  test("counts reach the tabs that asked", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    two.client.count("everyone").subscribe(() => {});
    await browser.advance(10);
    expect(two.client.count("everyone").get()).toBe(3);
    expect(one.client.count("everyone").get()).toBeNull();
  });

  test("an answer reaches only the tab that asked", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    const answers: unknown[] = [];
    one.client.wire.on("PONG", (message) => answers.push(message));
    const pong = await two.client.wire.request({ type: "PING" });
    expect(pong).toMatchObject({ type: "PONG" });
    expect(answers).toEqual([]);
  });

  test("messages that the core does not know reach all tabs", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    const heard: unknown[] = [];
    for (const { client } of [one, two]) client.wire.on("CHAT", ({ text }) => heard.push(text));
    browser.server.socket.receive({ type: "CHAT", text: "hi" });
    await browser.advance(10);
    expect(heard).toEqual(["hi", "hi"]);
  });

  test("the clock of a follower is the server's, and settling counts down", async () => {
    const [one] = (await open([])) as [Tab];
    await browser.advance(5_000);
    const [two] = (await open([])) as [Tab];
    expect(two.client.now()).toBe(one.client.now());
  });

  test("members of before a restart stay in each tab while the server settles, also when another tab comes", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    for (const { client } of [one, two]) {
      client.room("hall").subscribe(() => {});
      await browser.advance(10);
    }
    const shown = () => [one, two].map(({ client }) => [...client.room("hall").get().members.keys()]);
    browser.server.restart(15);
    await browser.advance(5_000);
    expect(browser.server.open).toHaveLength(1);
    expect(shown()).toEqual([["bo"], ["bo"]]);
    const [three] = (await open([])) as [Tab];
    three.client.room("hall").subscribe(() => {});
    await browser.advance(10);
    expect(three.client.room("hall").get()).toMatchObject({ known: true, count: 0 });
    expect([shown(), one.client.connection.get().stale]).toEqual([[["bo"], ["bo"]], true]);
    await browser.advance(15_000);
    expect(shown()).toEqual([[], []]);
    for (const { client } of [one, two, three]) expect(client.connection.get().stale).toBe(false);
  });

  test("a refused request of a follower rejects there", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    const rejected: string[] = [];
    for (const { client } of [one, two]) client.on("rejected", ({ code }) => rejected.push(code));
    browser.server.refusals.set("JOIN", "ROOM_FULL").set("SET_STATUS", "BAD_REQUEST");
    await expect(two.client.join("lobby").joined).rejects.toMatchObject({ code: "ROOM_FULL" });
    await expect(two.client.setStatus({ status: "busy" })).rejects.toMatchObject({ code: "BAD_REQUEST" });
    await expect(one.client.setStatus({ status: "busy" })).rejects.toMatchObject({ code: "BAD_REQUEST" });
    expect(rejected).toEqual([]);
  });

  test("tabs of different users, and of different servers, do not share", async () => {
    await open(["bo"]);
    browser.open({ userId: "eve" });
    browser.open({ url: "wss://other.test" });
    await browser.advance(10);
    expect(browser.server.open).toHaveLength(3);
  });
});

describe("the sum of what the tabs want", () => {
  test("the server hears of UNWATCH when the last tab has left", async () => {
    const tabs = await open(["bo", "cy"], []);
    const stop = tabs[1]?.read("bo");
    await browser.advance(10);
    tabs[0]?.read("cy");
    stop?.();
    await browser.advance(10);
    expect([...browser.server.session.users].sort()).toEqual(["bo", "cy"]);
    const [, two] = tabs as [Tab, Tab];
    expect(two.status("bo")).toBe("unknown");
    expect(tabs[0]?.status("bo")).toBe("online");
  });

  test("a tab that closes ends what only it wanted, a moment later", async () => {
    const [, two] = (await open(["bo"], ["bo", "cy"])) as [Tab, Tab];
    two.client.join("lobby");
    await browser.advance(10);
    two.end();
    await browser.advance(2_900);
    expect([...browser.server.session.users].sort()).toEqual(["bo", "cy"]);
    expect(browser.server.session.joined.size).toBe(1);
    await browser.advance(200);
    expect([...browser.server.session.users]).toEqual(["bo"]);
    expect(browser.server.session.joined.size).toBe(0);
  });

  test("a reloaded follower leaves no room meanwhile", async () => {
    const [, two] = (await open([], [])) as [Tab, Tab];
    two.client.join("lobby");
    await browser.advance(10);
    two.end();
    const again = browser.open({}, two.storage);
    await again.client.join("lobby").joined;
    await browser.advance(10_000);
    expect(sent("LEAVE")).toEqual([]);
    expect([...browser.server.session.joined.keys()]).toEqual(["lobby"]);
  });

  test("close() of a follower ends what only it wanted at once", async () => {
    const [one, two] = (await open(["bo"], ["cy"])) as [Tab, Tab];
    two.client.join("lobby");
    await browser.advance(10);
    two.client.close();
    await browser.advance(10);
    expect([...browser.server.session.users]).toEqual(["bo"]);
    expect(browser.server.session.joined.size).toBe(0);
    expect(one.client.connection.get().state).toBe("open");
    expect(two.client.connection.get().state).toBe("closed");
  });

  test("each tab joins; the last one leaves; data is of the one that remains", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    const a = one.client.join("lobby", { tab: 1 });
    await a.joined;
    const b = two.client.join("lobby", { tab: 2 });
    await b.joined;
    await browser.advance(10);
    expect(two.client.room("lobby").get()).toMatchObject({ known: true, joined: true });
    expect(browser.server.session.joined.get("lobby")).toEqual({ tab: 2 });
    b.leave();
    await browser.advance(10);
    expect(sent("LEAVE")).toEqual([]);
    expect(browser.server.session.joined.get("lobby")).toEqual({ tab: 1 });
    expect(one.client.room("lobby").get().joined).toBe(true);
    expect(two.client.room("lobby").get().joined).toBe(false);
    a.leave();
    await browser.advance(10);
    expect(sent("LEAVE")).toHaveLength(1);
    expect(browser.server.session.joined.size).toBe(0);
  });

  test("a tab that watches the room keeps it when another leaves it", async () => {
    const [one, two] = (await open([], [])) as [Tab, Tab];
    one.client.room("lobby").subscribe(() => {});
    await browser.advance(10);
    const membership = two.client.join("lobby");
    await membership.joined;
    await browser.advance(10);
    expect(two.client.room("lobby").get().known).toBe(true);
    membership.leave();
    await browser.advance(10);
    expect([...browser.server.session.rooms]).toEqual(["lobby"]);
    expect(one.client.room("lobby").get().known).toBe(true);
  });

  test("the count of everyone survives another tab that reads everyone, too", async () => {
    const [one] = (await open([])) as [Tab];
    one.client.count("everyone").subscribe(() => {});
    one.client.everyone.subscribe(() => {});
    await browser.advance(10);
    browser.server.session.counted.clear();
    const two = browser.open();
    two.client.everyone.subscribe(() => {});
    await browser.advance(200);
    expect([...browser.server.session.counted]).toEqual(["everyone"]);
  });
});

describe("activity", () => {
  test("the person is active while active at any tab", async () => {
    const options = { activity: { idleAfter: 10 } };
    const one = browser.open(options);
    const two = browser.open(options);
    await browser.advance(5_000);
    two.input();
    await browser.advance(6_000);
    expect(browser.server.session.activity).toBe("active");
    expect(sent("ACTIVITY")).toEqual([]);
    await browser.advance(5_000);
    expect(browser.server.session.activity).toBe("idle");
    one.input();
    await browser.advance(10);
    expect(browser.server.session.activity).toBe("active");
    expect(sent("ACTIVITY")).toHaveLength(2);
  });

  test("an idle leader of an active person does not say idle when it takes over", async () => {
    const options = { activity: { idleAfter: 10 } };
    const one = browser.open(options);
    await browser.advance(10);
    browser.open(options);
    await browser.advance(10);
    const three = browser.open(options);
    await browser.advance(9_000);
    one.input();
    three.input();
    await browser.advance(5_000);
    one.crash();
    await browser.advance(10);
    expect(browser.server.socket.parameters.activity).toBe("active");
    expect(browser.server.session.activity).toBe("active");
    expect(sent("ACTIVITY")).toEqual([]);
    await browser.advance(20_000);
    expect(browser.server.session.activity).toBe("idle");
  });
});

describe("where tabs cannot share", () => {
  test("each tab has its own connection without locks", async () => {
    browser.canShare = false;
    const tabs = await open(["bo"], ["bo"]);
    expect(browser.server.open).toHaveLength(2);
    expect(tabs.map((tab) => tab.status("bo"))).toEqual(["online", "online"]);
  });

  test("each tab has its own connection if the user id is wrong", async () => {
    browser.server.userId = "someone else";
    const tabs = await open(["bo"], ["bo"]);
    expect(browser.server.open).toHaveLength(2);
    expect(tabs.map((tab) => tab.status("bo"))).toEqual(["online", "online"]);
  });

  test("each tab has its own connection if the browser refuses locks", async () => {
    browser.locks.request = () => Promise.reject(Object.assign(new Error("no"), { name: "SecurityError" }));
    const tabs = await open(["bo"], ["bo"]);
    expect(browser.server.open).toHaveLength(2);
    expect(tabs.map((tab) => tab.status("bo"))).toEqual(["online", "online"]);
  });

  test("the 52nd tab has its own connection", async () => {
    const tabs = await open(...Array(52).fill(["bo"]));
    expect(browser.server.open).toHaveLength(2);
    expect(tabs.map((tab) => tab.status("bo"))).toEqual(Array(52).fill("online"));
    tabs[3]?.signal("leaving");
    const { session } = browser.server.open[0]?.parameters ?? {};
    const copy = browser.open({}, new Map(tabs[3]?.storage));
    await browser.advance(10);
    expect(copy.sockets.map(({ parameters }) => parameters.session)).toEqual([undefined]); // it is in use
    expect(browser.server.open.map(({ parameters }) => parameters.session)).toEqual([session, undefined, undefined]);
  });
});

test("requests of all tabs keep the server's limit, and too many are refused", async () => {
  browser.server.limits = { ...browser.server.limits, requestsPerSecond: 10, requestBurst: 50 };
  const tabs = await open(...Array(30).fill([]));
  await browser.advance(10_000);
  const { sent: requests } = browser.server.socket;
  const before = requests.length;
  const calls = tabs.flatMap(({ client }) => Array.from({ length: 45 }, () => client.wire.request({ type: "CHAT" })));
  const results = Promise.allSettled(calls);
  await browser.advance(10);
  expect(requests.length - before).toBeLessThanOrEqual(50);
  await browser.advance(1_000);
  expect(requests.length - before).toBeLessThanOrEqual(60);
  await browser.advance(200_000);
  const refused = (await results).filter(({ status }) => status === "rejected");
  expect(refused).toHaveLength(30 * 45 - 45 - 500);
  expect(new Set(tabs.flatMap(({ states }) => states))).toEqual(new Set(["connecting", "open"]));
  for (const { reason } of refused as PromiseRejectedResult[]) {
    expect(reason).toMatchObject({ code: "RATE_LIMITED", numericCode: 120, retryable: true });
  }
});

test("tokens never travel over the channel", async () => {
  const token = "secret/with=slashes"; // does not fit into a subprotocol, so it is sent with AUTH
  for (const _ of [1, 2]) {
    browser.open({ token }).read("bo");
    browser.open({ token: () => "plain-secret" }).read("cy");
    await browser.advance(10);
  }
  browser.tabs[0]?.crash();
  await browser.advance(10);
  expect(browser.said.length).toBeGreaterThan(5);
  expect(JSON.stringify(browser.said)).not.toContain("secret");
});

test("a tab that has closed leaves no lock, channel or timer behind", async () => {
  const [one, two] = (await open(["bo"], ["cy"])) as [Tab, Tab];
  two.client.close();
  one.client.close();
  await browser.advance(5_000);
  expect([one, two].map(({ channels }) => channels.size)).toEqual([0, 0]);
  expect(browser.server.open).toEqual([]);
  const three = browser.open();
  await browser.advance(10);
  expect(three.client.connection.get().state).toBe("open");
});
