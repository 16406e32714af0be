/// <reference types="node" />

/** The client against the real server: every method, and every way in which a connection ends. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";

import type { Host, PresenceOptions } from "../src/index.js";
import { FakeHost } from "./support/fake-host.js";
import { crowd, JWT_KEY, jwt, PATIENCE_MS, RealClient, RealServer, until } from "./support/real-server.js";

vi.setConfig({ testTimeout: 2 * PATIENCE_MS });

const open = new RealServer({ request_rate: 20, user_connections: 3 });
const signed = new RealServer({ auth: "jwt", jwt_key: JWT_KEY, jwt_leeway: 0, visibility: "claims" });
const ticketed = new RealServer({ auth: "ticket", status_pause: 5 });
const servers = [open, signed, ticketed];
const clients: RealClient[] = [];

function client(server: RealServer, options: PresenceOptions = {}): RealClient {
  const added = new RealClient(server.url, options);
  clients.push(added);
  return added;
}

/** The server remembers users, so each test has its own. */
let testNumber = 0;
const id = (name: string) => `${name}-${testNumber}`;

const user = (name: string, options: PresenceOptions = {}) => client(open, { userId: id(name), ...options });

beforeEach(() => {
  testNumber += 1;
});

beforeAll(() => Promise.all(servers.map((server) => server.start())), PATIENCE_MS);
afterAll(() => Promise.all(servers.map((server) => server.remove())), PATIENCE_MS);
afterEach(() => {
  for (const { presence } of clients.splice(0)) presence.close();
});

describe("methods", () => {
  test("user, users and watch follow a user who comes, chooses and goes", async () => {
    const ada = user("ada").read(id("bob"));
    const seen: string[] = [];
    ada.presence.watch([id("bob")], (now, before) => seen.push(`${before.status} ${now.status} ${now.text}`));
    await ada.presence.ready();
    expect(ada.status(id("bob"))).toBe("offline");
    const bob = user("bob", { device: "phone" });
    await until(() => ada.status(id("bob")) === "online");
    expect(ada.presence.user(id("bob")).get()).toMatchObject({ online: true, devices: ["phone"], certain: true });
    await bob.presence.setStatus({ status: "busy", text: "lunch", emoji: "☕", data: { room: 4 } });
    await until(() => ada.status(id("bob")) === "busy");
    const known = ada.presence
      .users([id("bob")])
      .get()
      .get(id("bob"));
    expect(known).toMatchObject({ text: "lunch", emoji: "☕", data: { room: 4 } });
    expect(known).toBe(ada.presence.user(id("bob")).get());
    bob.presence.close();
    await until(() => ada.status(id("bob")) === "offline");
    expect(seen).toEqual(["offline online ", "online busy lunch", "busy offline "]);
  });

  test("self, setStatus and setActive", async () => {
    const ada = await user("ada").ready();
    expect(ada.presence.self.get()).toMatchObject({ userId: id("ada"), status: "online", chosen: "auto" });
    await ada.presence.setStatus({ status: "invisible" });
    await until(() => ada.presence.self.get()?.status === "invisible");
    await ada.presence.setStatus({ status: "auto" });
    ada.presence.setActive(false);
    await until(() => ada.presence.self.get()?.status === "away");
    ada.presence.setActive("auto");
    await until(() => ada.presence.self.get()?.status === "online");
    const refused = ada.presence.setStatus({ status: "busy", text: "two\nlines" });
    await expect(refused).rejects.toMatchObject({ code: "BAD_REQUEST", numericCode: 101 });
    await ada.presence.setStatus({ status: "away", expiresIn: 0.2 });
    await until(() => ada.presence.self.get()?.status === "away");
    await until(() => ada.presence.self.get()?.status === "online");
  });

  test("a status that is chosen before the first connection is the first that others see", async () => {
    const ada = await user("ada").read(id("bo"), id("cy")).ready();
    const seen: string[] = [];
    ada.presence.watch([id("bo"), id("cy")], ({ userId, status }) => seen.push(`${userId} ${status}`));
    const bo = user("bo");
    await bo.presence.setStatus({ status: "invisible" });
    const cy = user("cy");
    await cy.presence.setStatus({ status: "busy", text: "lunch", expiresIn: 600 });
    await until(() => ada.presence.user(id("cy")).get().text === "lunch");
    expect(new Set(seen)).toEqual(new Set([`${id("cy")} busy`]));
    expect(bo.presence.self.get()).toMatchObject({ status: "invisible", chosen: "invisible" });
  });

  test("self has the own choice while a claim of a backend determines the status", async () => {
    const ada = await user("ada").ready();
    await ada.presence.setStatus({ status: "away", text: "lunch", emoji: "☕" });
    const choice = { text: "lunch", emoji: "☕", until: 0 };
    await until(() => ada.presence.self.get()?.chosen === "away");
    expect(ada.presence.self.get()).toMatchObject({ claimed: false, choice });
    const claim = { status: "busy", text: "in a meeting", priority: 10 };
    await open.request("PUT", `/users/${id("ada")}/claims/calendar`, claim);
    await until(() => ada.presence.self.get()?.claimed === true);
    expect(ada.presence.self.get()).toMatchObject({ status: "busy", text: "in a meeting", chosen: "away", choice });
  });

  test("everyone and count", async () => {
    const ada = user("ada");
    ada.presence.everyone.subscribe(() => {});
    ada.presence.count("everyone").subscribe(() => {});
    await ada.ready();
    user("bob");
    await until(() => ada.presence.everyone.get().has(id("bob")));
    await until(() => ada.presence.count("everyone").get() === ada.presence.everyone.get().size);
    expect(ada.presence.everyone.get().get(id("ada"))?.status).toBe("online");
  });

  test("join, setData, leave, room and the count of a room", async () => {
    const [ada, bob] = [user("ada"), user("bob")];
    const room = () => ada.presence.room(id("lobby")).get();
    ada.presence.room(id("lobby")).subscribe(() => {});
    ada.presence.count({ room: id("lobby") }).subscribe(() => {});
    await ada.ready();
    expect(room()).toMatchObject({ known: true, joined: false, count: 0, mode: "full" });
    const membership = bob.presence.join(id("lobby"), { seat: 1 });
    await membership.joined;
    expect(bob.presence.room(id("lobby")).get().joined).toBe(true);
    await until(() => room().members.get(id("bob")));
    expect(room().members.get(id("bob"))?.data).toEqual({ seat: 1 });
    expect(ada.status(id("bob"))).toBe("online");
    await membership.setData({ seat: 2 });
    await until(() => (room().members.get(id("bob"))?.data as { seat: number })?.seat === 2);
    await until(() => ada.presence.count({ room: id("lobby") }).get() === 1);
    membership.leave();
    await until(() => room().members.size === 0);
    await until(() => ada.presence.count({ room: id("lobby") }).get() === 0);
    expect(ada.status(id("bob"))).toBe("unknown");
  });

  test("UNWATCH after linger, and reading again", async () => {
    user("bob");
    const ada = user("ada", { linger: 0 });
    const end = ada.presence.user(id("bob")).subscribe(() => {});
    await ada.ready();
    end();
    await until(() => ada.status(id("bob")) === "unknown");
    ada.read(id("bob"));
    await until(() => ada.status(id("bob")) === "online");
  });

  test("wire, now, explain and connection", async () => {
    const ada = await user("ada").ready();
    const { wire } = ada.presence;
    const pong = await wire.request({ type: "PING" });
    expect(pong).toMatchObject({ type: "PONG" });
    expect(Math.abs(ada.presence.now() - Number(pong.serverTime))).toBeLessThan(1_000);
    expect(wire.limits).toMatchObject({ maxWatchedUsers: 1_000, requestsPerSecond: 20 });
    await expect(wire.request({ type: "NO_SUCH_REQUEST" })).rejects.toMatchObject({ code: "BAD_REQUEST" });
    expect(ada.presence.connection.get()).toMatchObject({ state: "open", stale: false, error: null, attempt: 0 });
    expect(ada.presence.explain()).toMatchObject({ desired: {}, agreed: {} });
  });

  test("7 and '7' are the same user", async () => {
    client(open, { userId: 7 });
    const ada = await user("ada").read(7, "7").ready();
    await until(() => ada.status(7) === "online");
    expect(ada.presence.user(7).get()).toBe(ada.presence.user("7").get());
  });
});

describe("losses and restarts", () => {
  test("a lost connection is resumed, and nobody notices", async () => {
    const [ada, bob, carl] = [user("ada").read(id("bob")), user("bob"), user("carl")];
    await Promise.all([ada, bob, carl].map((each) => each.ready()));
    await until(() => ada.status(id("bob")) === "online");
    const seen: string[] = [];
    ada.presence.watch([id("bob")], ({ status }) => seen.push(status));
    await bob.presence.join(id("lobby")).joined;
    await until(() => bob.presence.room(id("lobby")).get().known); // a loss within a snapshot is no resumption
    ada.lose();
    bob.lose();
    await until(() => ada.history.includes("resumed") && bob.history.includes("resumed"));
    await bob.presence.setStatus({ status: "busy" });
    await until(() => ada.status(id("bob")) === "busy");
    expect(seen).toEqual(["busy"]);
    expect(bob.presence.room(id("lobby")).get().joined).toBe(true);
    await bob.presence.setStatus({ status: "auto" });
  });

  test("changes during the loss arrive with the resumption", async () => {
    const ada = user("ada").read(id("bob"));
    const bob = user("bob");
    await Promise.all([ada.ready(), bob.ready()]);
    await until(() => ada.status(id("bob")) === "online");
    ada.lose();
    await bob.presence.setStatus({ status: "away", text: "gone" });
    await until(() => ada.history.includes("resumed"));
    expect(ada.presence.user(id("bob")).get()).toMatchObject({ status: "away", text: "gone" });
    await bob.presence.setStatus({ status: "auto" });
  });

  test("a new session, once the old one is over: what is known stays, and is right", async () => {
    const [ada, bob] = [user("ada").read(id("bob"), id("nobody")), user("bob")];
    await Promise.all([ada.ready(), bob.ready()]);
    await until(() => ada.status(id("bob")) === "online");
    const seen: string[] = [];
    ada.presence.user(id("bob")).subscribe(() => seen.push(ada.status(id("bob"))));
    ada.socket.close(1000); // the server ends the session, and the client does not know it
    await until(() => ada.state !== "open");
    ada.presence.retry();
    await until(() => ada.history.includes("new-session"));
    await bob.presence.setStatus({ status: "busy" });
    await until(() => ada.status(id("bob")) === "busy");
    expect([seen, ada.status(id("nobody"))]).toEqual([["busy"], "offline"]);
    await bob.presence.setStatus({ status: "auto" });
  });

  test("kill -9 and a restart: all return, nobody flickers, and the choice is restored from the URL", async () => {
    const [ada, bob, carl] = [user("ada").read(id("bob"), id("carl")), user("bob"), user("carl")];
    ada.presence.everyone.subscribe(() => {});
    await Promise.all([ada, bob, carl].map((each) => each.ready()));
    const membership = bob.presence.join(id("lobby"), { seat: 1 });
    await membership.joined;
    await bob.presence.setStatus({ status: "busy", text: "deep work" });
    await until(() => ada.status(id("bob")) === "busy" && ada.status(id("carl")) === "online");
    const seen: string[] = [];
    ada.presence.watch([id("bob"), id("carl")], ({ userId, status }) => seen.push(`${userId} ${status}`));
    await open.stop("SIGKILL");
    await until(() => [ada, bob, carl].every(({ state }) => state !== "open"));
    expect([ada.status(id("bob")), ada.presence.connection.get().stale]).toEqual(["busy", true]);
    carl.presence.close();
    await open.start();
    for (const each of [bob, ada]) each.presence.retry();
    await Promise.all([ada.ready(), bob.ready()]);
    expect(ada.history).toContain("new-session");
    await until(() => ada.status(id("carl")) === "offline"); // once the server has settled
    expect(ada.presence.user(id("bob")).get()).toMatchObject({ status: "busy", text: "deep work" });
    expect(seen).toEqual([`${id("carl")} offline`]);
    const { members } = await open.request("GET", `/rooms/${id("lobby")}`);
    expect(members).toMatchObject([{ userId: id("bob"), data: { seat: 1 } }]);
  });

  test("kill -9 right after a choice was accepted: it is made again", async () => {
    const token = async () => String((await ticketed.request("POST", "/tickets", { userId: id("ada") })).ticket);
    const ada = await client(ticketed, { token }).ready();
    await ada.presence.setStatus({ status: "busy" });
    await until(() => ada.presence.self.get()?.status === "busy");
    await ada.presence.setStatus({ status: "away", text: "lunch", data: { room: 4 } }); // within status_pause
    await ticketed.stop("SIGKILL");
    expect(ada.presence.self.get()?.status).toBe("busy");
    await until(() => ada.state !== "open");
    await ticketed.start();
    ada.presence.retry();
    await until(() => ada.presence.self.get()?.data !== undefined);
    expect(ada.presence.self.get()).toMatchObject({ chosen: "away", text: "lunch", data: { room: 4 } });
  });

  test("a server that stops says when to return", async () => {
    const ada = await user("ada").ready();
    await open.stop();
    await until(() => ada.state === "waiting");
    const { retryAt, error } = ada.presence.connection.get();
    expect(error).toBeNull();
    expect(retryAt - Date.now()).toBeLessThan(30_000);
    await open.start();
    ada.presence.retry();
    await ada.ready();
  });
});

describe("codes", () => {
  const failed = async (added: RealClient) => {
    await until(() => added.state === "failed", "a failure");
    return added.presence.connection.get().error;
  };

  test("4400 BAD_USER_ID", async () => {
    expect(await failed(client(open))).toMatchObject({ code: "BAD_USER_ID", numericCode: 4400, retryable: false });
  });

  test("4401 UNAUTHORIZED, for a fixed token and without one", async () => {
    const error = { code: "UNAUTHORIZED", numericCode: 4401 };
    expect(await failed(client(signed, { token: "x.y.z" }))).toMatchObject(error);
    expect(await failed(client(signed, { token: "not/a=token" }))).toMatchObject(error);
  });

  test("4401 once: a fresh token", async () => {
    const tokens = [jwt("ada", -60), jwt("ada", 600)];
    const ada = await client(signed, { token: () => tokens.shift() }).ready();
    expect(ada.sockets.length).toBe(2);
  });

  test("4402 BAD_PARAMETER", async () => {
    expect(await failed(user("ada", { device: "x".repeat(100) }))).toMatchObject({ code: "BAD_PARAMETER" });
  });

  test("4403 FORBIDDEN", async () => {
    const eve = client(signed, { userId: "eve", token: jwt("ada", 600) });
    expect(await failed(eve)).toMatchObject({ code: "FORBIDDEN", numericCode: 4403 });
  });

  test("4409 REPLACED: the older client begins a session of its own", async () => {
    let signal: Parameters<Host["onSignal"]>[0] = () => {};
    let saved: string | null = null;
    const onSignal: Host["onSignal"] = (listener) => {
      signal = listener;
      return () => {};
    };
    const save: Host["save"] = (_, value) => {
      saved = value;
    };
    const ada = await user("ada", { host: { onSignal, save } }).ready();
    signal("leaving"); // the page saves its session, as before a reload
    const thief = user("ada", { host: { load: () => saved } });
    await until(() => ada.sockets.length > 1);
    await until(() => ada.state === "open" && thief.state === "open");
    expect([thief, ada].map(({ socket }) => socket.url.includes("session="))).toEqual([true, false]);
  });

  test("4410 DISCONNECTED", async () => {
    const ada = await user("kicked").ready();
    await open.request("POST", `/users/${id("kicked")}/disconnect`, {});
    expect(await failed(ada)).toMatchObject({ code: "DISCONNECTED", numericCode: 4410 });
    ada.presence.connect();
    await ada.ready();
  });

  test("4421 TOO_MANY_CONNECTIONS: slow attempts", async () => {
    await Promise.all([1, 2, 3].map(() => user("crowd").ready()));
    const fourth = user("crowd");
    await until(() => fourth.state === "waiting");
    expect(fourth.presence.connection.get().error).toMatchObject({ code: "TOO_MANY_CONNECTIONS", retryable: true });
  });

  test("4429 TOO_MANY_REQUESTS: slow attempts", async () => {
    const ada = await user("ada").ready();
    ada.presence.on("rejected", () => {});
    for (let count = 0; count < 200; count += 1) ada.socket.send('{"type":"ACTIVITY","state":"active"}');
    await until(() => ada.state === "waiting");
    expect(ada.presence.connection.get().error).toMatchObject({ code: "TOO_MANY_REQUESTS", numericCode: 4429 });
  });

  test("the client itself keeps the limit of requests, even if the application does not", async () => {
    const ada = user("ada", { linger: 0 });
    const rejected: string[] = [];
    ada.presence.on("rejected", ({ code }) => rejected.push(code));
    await ada.ready();
    for (let count = 0; count < 150; count += 1) {
      ada.presence.user(`user-${count % 20}`).subscribe(() => {})();
      ada.read(`other-${count}`);
      void ada.presence.setStatus({ status: count % 2 ? "busy" : "auto" });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await ada.presence.setStatus({ status: "auto" });
    await ada.ready();
    expect([rejected, ada.sockets.length]).toEqual([[], 1]);
  });
});

describe("tokens", () => {
  test("a ticket for each connection", async () => {
    let count = 0;
    const token = async () => {
      count += 1;
      return String((await ticketed.request("POST", "/tickets", { userId: "ada" })).ticket);
    };
    const ada = await client(ticketed, { token }).ready();
    expect(ada.presence.self.get()?.userId).toBe("ada");
    ada.lose();
    await until(() => ada.history.includes("resumed"));
    expect(count).toBe(2);
  });

  test("a JWT that expires is renewed on the open connection", async () => {
    const lifetimes = [2, 600];
    let count = 0;
    const token = () => jwt("ada", lifetimes[count++] ?? 600);
    const ada = await client(signed, { token }).ready();
    await until(() => count === 2);
    await new Promise((resolve) => setTimeout(resolve, 2_500)); // the first one is over
    expect([ada.state, ada.sockets.length, count]).toEqual(["open", 1, 2]);
  });

  test("a JWT that expires without a newer one ends the connection, and the function is asked again", async () => {
    let fails = false;
    let count = 0;
    const token = () => {
      if (fails) throw new Error("signing is down");
      count += 1;
      fails = count === 1;
      return jwt("ada", count === 1 ? 1.5 : 600);
    };
    const ada = await client(signed, { token }).ready();
    await until(() => ada.state !== "open");
    fails = false;
    await until(() => ada.state === "open");
    expect(count).toBe(2);
  });

  test("a token whose claim restricts who is visible", async () => {
    const other = (name: string) => client(signed, { token: jwt(id(name), 600) });
    await Promise.all([other("bob").ready(), other("carl").ready()]);
    const token = jwt("ada", 600, { presence: { watch: [id("bob")] } });
    const ada = client(signed, { token }).read(id("bob"), id("carl"));
    ada.presence.everyone.subscribe(() => {});
    const rejected: string[] = [];
    ada.presence.on("rejected", ({ code }) => rejected.push(code));
    ada.presence.room("staff").subscribe(() => {});
    await ada.ready();
    expect([ada.status(id("bob")), ada.status(id("carl"))]).toEqual(["online", "offline"]);
    expect([...ada.presence.everyone.get().keys()].filter((id) => id !== "ada")).toEqual([id("bob")]);
    await until(() => rejected.length);
    expect(rejected).toEqual(["NOT_ALLOWED"]);
  });

  test("a room shows members who are not among everyone that the token allows", async () => {
    const presence = { watch: [id("bob")], rooms: [id("lobby")] };
    const carl = client(signed, { token: jwt(id("carl"), 600, { presence }) });
    await carl.presence.join(id("lobby")).joined;
    const ada = client(signed, { token: jwt("ada", 600, { presence }) }).read(id("carl"));
    ada.presence.room(id("lobby")).subscribe(() => {});
    await ada.ready();
    await until(() => ada.status(id("carl")) === "online");
    ada.presence.everyone.subscribe(() => {});
    await ada.ready();
    await carl.presence.setStatus({ status: "busy" });
    await until(() => ada.status(id("carl")) === "busy");
    carl.presence.close();
    await until(() => ada.status(id("carl")) === "offline");
  });

  test("a newer token that does not allow a room ends the membership", async () => {
    const grants = [{ rooms: [id("lobby"), id("hall")] }, { rooms: [id("hall")] }];
    const token = () => jwt(id("ada"), grants.length > 1 ? 2 : 600, { presence: grants.shift() });
    const ada = client(signed, { token });
    const errors: string[] = [];
    ada.presence.on("rejected", ({ code, message }) => errors.push(`${code} ${message.includes(id("lobby"))}`));
    await Promise.all([id("lobby"), id("hall")].map((name) => ada.presence.join(name).joined));
    const joined = () => [id("lobby"), id("hall")].map((name) => ada.presence.room(name).get().joined);
    expect(joined()).toEqual([true, true]);
    await until(() => errors.length);
    await ada.ready();
    expect([joined(), errors, ada.sockets.length]).toEqual([[false, true], ["NOT_ALLOWED true"], 1]);
  });

  test("display data of a token appears", async () => {
    const presence = { watch: "*", display: { name: "Bob" } };
    const bob = client(signed, { token: jwt(id("bob"), 600, { presence }) });
    await bob.ready();
    const ada = client(signed, { token: jwt("ada", 600, { presence: { watch: [id("bob")] } }) }).read(id("bob"));
    await ada.ready();
    expect(ada.presence.user(id("bob")).get().display).toEqual({ name: "Bob" });
  });
});

describe("a reload of the page", () => {
  test("the next page resumes the session, and others notice nothing", async () => {
    const { host } = new FakeHost();
    const page = { load: host.load, save: host.save };
    const signals: ((name: "leaving") => void)[] = [];
    const onSignal = (listener: (name: "leaving") => void) => {
      signals.push(listener);
      return () => {};
    };
    const bob = await user("bob").read(id("ada")).ready();
    const ada = user("ada", { host: { ...page, onSignal } }).read(id("bob"));
    await ada.ready();
    await ada.presence.join(id("lobby"), { seat: 3 }).joined;
    await until(() => bob.status(id("ada")) === "online");
    const seen: string[] = [];
    bob.presence.watch([id("ada")], ({ status }) => seen.push(status));
    for (const listener of signals) listener("leaving");
    ada.lose();
    const next = user("ada", { host: page }).read(id("bob"));
    next.presence.join(id("lobby"), { seat: 3 });
    await next.ready();
    expect(next.socket.url).toContain("session=");
    expect(next.status(id("bob"))).toBe("online");
    expect(next.presence.room(id("lobby")).get()).toMatchObject({ known: true, joined: true });
    expect(seen).toEqual([]);
  });
});

describe("many users", () => {
  test("2,000 through everyone, and 1,000 by id", async () => {
    const ids = Array.from({ length: 2_000 }, (_, index) => `crowd-${index}`);
    const sockets = await crowd(open, ids);
    const ada = user("ada");
    ada.presence.everyone.subscribe(() => {});
    const bob = user("bob").read(...ids.slice(0, 1_000));
    await Promise.all([ada.ready(), bob.ready()]);
    expect(ids.filter((id) => ada.presence.everyone.get().get(id)?.status !== "online")).toEqual([]);
    expect(ids.slice(0, 1_000).filter((id) => bob.status(id) !== "online")).toEqual([]);
    expect(bob.status(ids[1_500] ?? "")).toBe("unknown");
    for (const socket of sockets) socket.terminate();
  });
});
