/** The leader goes: closed, crashed, frozen, hanging, signed out. The next one goes on with the same session. */

import { beforeEach, describe, expect, test } from "vitest";
import { Browser, type Tab } from "./browser.js";

let browser: Browser;
let tabs: [Tab, Tab, Tab];
let sessionId: string;

beforeEach(async () => {
  browser = new Browser();
  for (const user of ["bo", "cy", "dee"]) browser.server.set(user, "online");
  const opened: Tab[] = [];
  for (const user of ["bo", "cy", "dee"]) {
    const tab = browser.open();
    tab.read(user);
    await browser.advance(10);
    opened.push(tab);
  }
  tabs = opened as typeof tabs;
  sessionId = browser.server.session.id;
  for (const tab of tabs) tab.states.splice(0, Infinity, "open");
});

/** Everything works: one connection with the same session, and the remaining tabs see changes. */
async function expectShared(...remaining: [Tab, string][]): Promise<void> {
  expect(browser.server.session.id).toBe(sessionId);
  expect(browser.server.open).toHaveLength(1);
  for (const [tab, user] of remaining) {
    expect(tab.client.connection.get()).toMatchObject({ state: "open", stale: false });
    browser.server.set(user, "busy");
    await browser.advance(10);
    expect(tab.status(user)).toBe("busy");
  }
}

describe("the same session goes on", () => {
  test.each([
    ["closes", (tab: Tab) => tab.end()],
    ["crashes", (tab: Tab) => tab.crash()],
    ["freezes", (tab: Tab) => tab.signal("frozen")],
    ["calls close()", (tab: Tab) => tab.client.close()],
  ])("when the leader %s", async (_, leave) => {
    const [one, two, three] = tabs;
    leave(one);
    await browser.advance(10);
    expect(browser.server.socket.parameters).toMatchObject({ session: sessionId, position: "p3" });
    await expectShared([two, "cy"], [three, "dee"]);
    expect(two.states).toEqual(["open", "connecting", "open"]);
    expect(three.states).toEqual(["open"]); // noticed nothing
  });

  test("what only the old leader wanted ends a moment later", async () => {
    tabs[0].client.join("lobby");
    await browser.advance(10);
    tabs[0].crash();
    await browser.advance(2_900);
    expect([...browser.server.session.users].sort()).toEqual(["bo", "cy", "dee"]);
    await browser.advance(200);
    expect([...browser.server.session.users].sort()).toEqual(["cy", "dee"]);
    expect(browser.server.session.joined.size).toBe(0);
    await expectShared([tabs[1], "cy"], [tabs[2], "dee"]);
  });

  test("leader after leader", async () => {
    const [one, two, three] = tabs;
    one.crash();
    await browser.advance(10);
    two.crash();
    await browser.advance(10);
    await expectShared([three, "dee"]);
    await browser.advance(5_000);
    expect([...browser.server.session.users]).toEqual(["dee"]);
  });

  test("a change while nobody leads arrives", async () => {
    const [one, two, three] = tabs;
    one.crash();
    browser.server.set("cy", "away");
    browser.server.set("dee", "away");
    await browser.advance(10);
    expect([two.status("cy"), three.status("dee")]).toEqual(["away", "away"]);
    expect(three.states).toEqual(["open"]);
  });

  test("a tab that missed a message begins a session of its own with the next leader", async () => {
    const [one, , three] = tabs;
    browser.deaf = three;
    browser.server.set("dee", "away");
    await browser.advance(10);
    browser.deaf = undefined;
    expect(three.status("dee")).toBe("online");
    one.crash();
    await browser.advance(10);
    expect(three.status("dee")).toBe("away");
    await expectShared([three, "dee"]);
  });

  test("a request while nobody leads is answered by the next leader", async () => {
    const [one, , three] = tabs;
    one.crash();
    const status = three.client.setStatus({ status: "busy" });
    const membership = three.client.join("lobby", { seat: 1 });
    await browser.advance(10);
    await status;
    await membership.joined;
    expect(browser.server.session.joined.get("lobby")).toEqual({ seat: 1 });
  });

  test("data of a member that is a proxy goes on, too", async () => {
    const [one, , three] = tabs;
    await three.client.join("lobby", new Proxy({ seat: 1 }, {})).joined;
    one.crash();
    await browser.advance(10_000);
    expect([...browser.server.session.joined]).toEqual([["lobby", { seat: 1 }]]);
    await expectShared([three, "dee"]);
  });

  test("rooms of the followers are not left", async () => {
    const [one, two, three] = tabs;
    await Promise.all([two, three].map(({ client }) => client.join("lobby").joined));
    one.crash();
    await browser.advance(10_000);
    expect(browser.server.sockets.flatMap(({ sent }) => sent).filter(({ type }) => type === "LEAVE")).toEqual([]);
    expect([...browser.server.session.joined.keys()]).toEqual(["lobby"]);
    expect(three.client.room("lobby").get()).toMatchObject({ joined: true, known: true });
  });

  test("a frozen tab returns as a follower, and again knows everything", async () => {
    const [one, two, three] = tabs;
    one.signal("frozen");
    await browser.advance(10_000);
    one.signal("restored");
    await browser.advance(10);
    expect(one.client.connection.get()).toMatchObject({ state: "open", stale: false });
    await expectShared([one, "bo"], [two, "cy"], [three, "dee"]);
  });

  test("a frozen follower is no member and no subscriber, until it returns", async () => {
    const [, , three] = tabs;
    await three.client.join("lobby").joined;
    three.signal("frozen");
    await browser.advance(2_900);
    expect([...browser.server.session.joined.keys()]).toEqual(["lobby"]);
    await browser.advance(200);
    expect([...browser.server.session.users].sort()).toEqual(["bo", "cy"]);
    expect(browser.server.session.joined.size).toBe(0);
    three.signal("restored");
    await browser.advance(10);
    expect([...browser.server.session.joined.keys()]).toEqual(["lobby"]);
    await expectShared([three, "dee"]);
  });

  test("a reloaded tab does not take the session of the others", async () => {
    const [one, two, three] = tabs;
    one.end();
    const again = browser.open({}, one.storage);
    again.read("bo");
    await browser.advance(10);
    await expectShared([again, "bo"], [two, "cy"], [three, "dee"]);
  });

  test("the only tab resumes its session after a reload", async () => {
    const [one, two, three] = tabs;
    two.end();
    three.end();
    await browser.advance(5_000);
    await one.client.join("lobby").joined;
    one.end();
    const again = browser.open({}, one.storage);
    again.read("cy");
    await again.client.join("lobby").joined;
    await browser.advance(5_000);
    await expectShared([again, "cy"]);
    expect([...browser.server.session.users]).toEqual(["cy"]);
    expect([...browser.server.session.joined.keys()]).toEqual(["lobby"]);
  });

  test("a duplicated tab is a follower", async () => {
    const copy = browser.open({}, new Map(tabs[0].storage));
    copy.read("bo");
    await browser.advance(10);
    await expectShared([copy, "bo"], [tabs[0], "bo"], [tabs[1], "cy"]);
  });
});

describe("a leader that hangs", () => {
  test("loses its lock to a new tab, and follows when it wakes up", async () => {
    const [one, two, three] = tabs;
    one.hang();
    const four = browser.open();
    four.read("bo");
    await browser.advance(3_900);
    expect(four.client.connection.get().state).toBe("connecting");
    await browser.advance(200);
    expect(four.client.connection.get().state).toBe("open");
    await browser.advance(1_000);
    one.wake();
    await browser.advance(5_000);
    expect(browser.server.open).toHaveLength(1);
    for (const tab of [one, two, three, four]) expect(tab.client.connection.get().state).toBe("open");
    browser.server.set("bo", "away");
    browser.server.set("dee", "away");
    await browser.advance(10);
    expect([one.status("bo"), four.status("bo"), three.status("dee")]).toEqual(["away", "away", "away"]);
  });
});

test("a leader whose token function fails gives way to a tab that has a token", async () => {
  const other = new Browser();
  other.server.set("cy", "online");
  let fails = false;
  const token = async () => {
    if (fails) throw new Error("403");
    return "t";
  };
  const one = other.open({ token });
  await other.advance(10);
  const two = other.open({ token: () => "t" });
  two.read("cy");
  await other.advance(10);
  fails = true;
  other.server.socket.drop(1006);
  await other.advance(10_000);
  expect(one.client.connection.get().error?.code).toBe("TOKEN_FAILED");
  expect([two.client.connection.get().state, two.sockets.length, two.status("cy")]).toEqual(["open", 1, "online"]);
  fails = false;
  await other.advance(60_000);
  expect([one.client.connection.get().state, other.server.open.length]).toEqual(["open", 1]);
});

test("requests that pile up before a leader that hangs are refused", async () => {
  const [one, two] = tabs;
  one.hang();
  const calls = Array.from({ length: 600 }, () => two.client.wire.request({ type: "PING" }));
  const results = Promise.allSettled(calls);
  await browser.advance(10);
  one.wake();
  await browser.advance(10);
  const refused = (await results).flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  expect(refused).toHaveLength(100);
  expect(refused[0]).toMatchObject({ code: "RATE_LIMITED", numericCode: 120, retryable: true });
  await expectShared([one, "bo"], [two, "cy"]);
});

describe("the connection", () => {
  test("its loss shows in all tabs, and all resume", async () => {
    const [one, two, three] = tabs;
    browser.server.isUp = false;
    browser.server.socket.drop(1006);
    await browser.advance(10);
    for (const { client } of tabs) expect(client.connection.get()).toMatchObject({ stale: true });
    await browser.advance(20_000);
    browser.server.isUp = true;
    await browser.advance(40_000);
    await expectShared([one, "bo"], [two, "cy"], [three, "dee"]);
    expect(browser.server.sockets.length).toBeGreaterThan(2);
  });

  test("a visible follower makes a hidden leader try again", async () => {
    const [one, two] = tabs;
    one.signal("hidden");
    browser.server.socket.drop(1006);
    await browser.advance(10);
    expect(one.client.connection.get().state).toBe("waiting");
    await browser.advance(2_000);
    await expectShared([one, "bo"], [two, "cy"]);
  });

  test("a dead one is found by a visible follower", async () => {
    const [one, two] = tabs;
    one.signal("hidden");
    await browser.advance(3_000);
    browser.server.socket.isDeaf = true;
    two.signal("visible");
    await browser.advance(3_100);
    await browser.advance(2_000);
    expect(browser.server.sockets).toHaveLength(2);
    await expectShared([one, "bo"], [two, "cy"]);
  });

  test.each([4410, 4403])("a final code %d ends all tabs", async (code) => {
    browser.server.isUp = false;
    browser.server.socket.drop(code);
    await browser.advance(60_000);
    expect(tabs.map(({ client }) => client.connection.get().state)).toEqual(["failed", "failed", "failed"]);
    browser.server.isUp = true;
    tabs[2].client.retry();
    await browser.advance(10);
    expect(tabs[2].client.connection.get().state).toBe("open");
  });

  test("another session begins when the server has forgotten this one", async () => {
    browser.server.sessions.clear();
    browser.server.socket.drop(1006);
    await browser.advance(2_000);
    expect(browser.server.open).toHaveLength(1);
    expect([...browser.server.session.users].sort()).toEqual(["bo", "cy", "dee"]);
    browser.server.set("dee", "away");
    await browser.advance(10);
    expect(tabs[2].status("dee")).toBe("away");
  });

  test("GOING_AWAY makes all tabs wait as long as the server asks", async () => {
    browser.server.socket.receive({ type: "GOING_AWAY", retryAfter: 5 });
    await browser.advance(1);
    browser.server.socket.drop(1001);
    await browser.advance(4_900);
    expect(browser.server.sockets).toHaveLength(1);
    await browser.advance(200);
    await expectShared([tabs[0], "bo"], [tabs[1], "cy"]);
  });
});

describe("signing out", () => {
  test("the last tab that calls close() ends the session", async () => {
    for (const { client } of tabs) {
      client.close();
      await browser.advance(10);
    }
    expect(browser.server.sessions.get(sessionId)?.isOver).toBe(true);
  });

  test("after the leader, tabs whose token function returns null close, too", async () => {
    let token: string | null = "t";
    const other = new Browser();
    const signedIn = [1, 2, 3].map(() => other.open({ token: () => token }));
    await other.advance(10);
    token = null;
    signedIn[0]?.client.close();
    await other.advance(10);
    expect(signedIn.map(({ client }) => client.connection.get().state)).toEqual(["closed", "closed", "closed"]);
    expect(other.server.open).toEqual([]);
  });
});

describe("a server that has lost its store", () => {
  const stale = () => tabs.map(({ client }) => client.connection.get().stale);

  test("is stale in all tabs, also in one that opens later", async () => {
    browser.server.doubt(5);
    await browser.advance(10);
    expect(stale()).toEqual([true, true, true]);
    const late = browser.open();
    late.read("bo");
    await browser.advance(10);
    expect(late.client.connection.get()).toMatchObject({ state: "open", stale: true });
    browser.server.doubt(0);
    await browser.advance(10);
    expect([...stale(), late.client.connection.get().stale]).toEqual([false, false, false, false]);
    const last = browser.open();
    last.read("bo");
    await browser.advance(10);
    expect(last.client.connection.get()).toMatchObject({ state: "open", stale: false });
  });

  test.each([
    [0, 5, true],
    [5, 0, false],
  ])("while nobody leads: from %s to %s", async (before, after, expected) => {
    browser.server.doubt(before);
    await browser.advance(10);
    tabs[0].crash();
    browser.server.staleSince = after;
    await browser.advance(10);
    expect(tabs[2].states).toEqual(["open"]); // it got no first message
    expect(stale().slice(1)).toEqual([expected, expected]);
  });
});
