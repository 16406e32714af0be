/** A random run of a client against the server in memory, and what must hold during and after it. */

import fc from "fast-check";
import { expect } from "vitest";

import type { Membership, Presence, PresenceClient, Signal, Store } from "../../src/index.js";
import { FakeHost, seeded, settle } from "./fake-host.js";
import { MemoryServer } from "./server.js";

export const USERS = ["ada", "bob", "carl", "7", "8", "eve", "fay", "gus"];
export const ROOMS = ["hall", "lobby"];
const STATUSES = ["online", "away", "busy", "offline"];
const MAX_WATCHED = 5;
const LINGER_S = 2;

const user = fc.constantFrom(...USERS);
const others = fc.constantFrom(...USERS.slice(1));
const room = fc.constantFrom(...ROOMS);
const scope = fc.oneof(
  user.map((id) => `user ${id}`),
  room.map((name) => `room ${name}`),
  room.map((name) => `count ${name}`),
  fc.constantFrom("everyone", "count everyone", "users"),
);

export const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("read" as const), scope }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("end" as const), index: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("end and read" as const), index: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("join" as const), room, data: fc.option(fc.nat(3)) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("leave" as const), room }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("choose" as const), status: fc.constantFrom("auto", "busy", "invisible") }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("activity" as const), active: fc.boolean() }) },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("change" as const), user: others, status: fc.constantFrom(...STATUSES) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("move" as const), user: others, room, stays: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("lose" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("signal" as const),
      signal: fc.constantFrom<Signal>("visible", "hidden", "online", "offline", "restored"),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(1, 50, 300, 2_000, 7_000, 40_000, 200_000),
    }),
  },
);

export type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

export class Run {
  readonly host: FakeHost;
  readonly server: MemoryServer;
  readonly client: PresenceClient;
  readonly #random: () => number;
  readonly #readings: { readonly scope: string; end: () => void }[] = [];
  readonly #members = new Map<string, { membership: Membership; data: unknown }>();
  readonly errors: string[] = [];

  constructor(seed: number) {
    this.host = new FakeHost({ seed });
    this.#random = seeded(seed + 1);
    const latency = () => Math.floor(this.#random() ** 3 * 400);
    const limits = { maxWatchedUsers: MAX_WATCHED, requestsPerSecond: 2, requestBurst: 20, maxMessageSize: 240 };
    this.server = new MemoryServer(this.host, latency, limits);
    this.client = this.host.client({ linger: LINGER_S });
    this.client.on("rejected", ({ code }) => code !== "TOO_MANY_WATCHED" && this.errors.push(code));
    this.client.watch([], () => {});
    this.client.connect();
  }

  async do(next: Step): Promise<void> {
    const { client, server } = this;
    const soon = () => this.#random() * 4_000;
    if (next.do === "read") this.#read(next.scope);
    else if (next.do === "end") this.#readings.splice(next.index, 1)[0]?.end();
    else if (next.do === "end and read") await this.#endAndRead(next.index);
    else if (next.do === "join") this.#join(next.room, next.data ?? undefined);
    else if (next.do === "leave") {
      this.#members.get(next.room)?.membership.leave();
      this.#members.delete(next.room);
    } else if (next.do === "choose") void client.setStatus({ status: next.status as "busy" }).catch(() => {});
    else if (next.do === "activity") client.setActive(next.active);
    else if (next.do === "change") server.change(next.user, next.status);
    else if (next.do === "move") server.move(next.room, next.user, next.stays ? { seat: next.user } : undefined);
    else if (next.do === "lose") server.lose(soon);
    else if (next.do === "restart") server.restart(soon, () => this.#random() * 20_000);
    else if (next.do === "signal") await this.host.signal(next.signal);
    else await this.host.advance(next.ms);
    await settle();
  }

  /** Let everything that is on its way arrive. */
  async quiet(): Promise<void> {
    await this.host.signal("visible");
    await this.host.signal("online");
    await this.host.advance(150_000);
  }

  /** Once all is quiet, the stores agree with the server. */
  check(): void {
    const { client, server } = this;
    expect(server.violations).toEqual([]);
    expect(this.errors).toEqual([]);
    expect(client.connection.get()).toMatchObject({ state: "open", stale: false, error: null });
    const scopes = new Set(this.#readings.map((reading) => reading.scope));
    const wanted = new Set(
      [...scopes].flatMap((each) =>
        each === "users" ? ["bob", "carl", "7"] : each.startsWith("user ") ? [each.slice(5)] : [],
      ),
    );
    const ids = scopes.has("everyone") ? new Set(USERS) : wanted;
    const unknown = [...ids].filter((id) => !this.#agrees(id));
    if (!scopes.has("everyone")) expect(unknown.length).toBeLessThanOrEqual(Math.max(0, wanted.size - MAX_WATCHED));
    for (const id of unknown) expect([id, client.user(id).get().status]).toEqual([id, "unknown"]);
    const inRooms = ROOMS.flatMap((name) => [...client.room(name).get().members.keys()]);
    for (const id of USERS.filter((id) => !ids.has(id) && !inRooms.includes(id)))
      expect([id, client.user(id).get().status]).toEqual([id, "unknown"]);
    for (const name of ROOMS) this.#checkRoom(name, scopes);
    for (const each of ["everyone", ...ROOMS]) {
      if (!scopes.has(`count ${each}`)) continue;
      const count = client.count(each === "everyone" ? each : { room: each });
      expect([each, count.get()]).toEqual([each, server.online(each)]);
    }
    if (scopes.has("everyone")) {
      const online = [...server.users].filter(([, { status }]) => status !== "offline").map(([id]) => id);
      expect([...client.everyone.get().keys()].sort()).toEqual(online.sort());
    }
    expect(client.self.get()).toMatchObject(server.self);
  }

  #checkRoom(name: string, scopes: ReadonlySet<string>): void {
    const { client, server } = this;
    const room = client.room(name).get();
    const isMember = this.#members.has(name);
    expect([name, room.joined]).toEqual([name, isMember]);
    if (!scopes.has(`room ${name}`) && !isMember) return;
    const members = server.members(name);
    const expected = { known: true, mode: server.mode(name), count: members.size };
    expect(room, name).toMatchObject(expected);
    const isCounted = expected.mode === "counts";
    const data = Object.fromEntries([...room.members].map(([id, member]) => [id, member.data ?? null]));
    expect(data, name).toEqual(isCounted ? {} : Object.fromEntries(members));
    for (const id of isCounted ? [] : members.keys()) expect([id, this.#agrees(id)]).toEqual([id, true]);
    const own = this.#members.get(name);
    if (own && !isCounted) expect(members.get("ada")).toEqual(own.data ?? null);
  }

  #agrees(id: string): boolean {
    const { status, since } = this.client.user(id).get(); // a record that differs in its version alone changes nothing
    const record = this.server.record(id) as unknown as Presence;
    if (record.status === "offline") return status === "offline";
    return status === record.status && since === record.since;
  }

  #join(name: string, data: unknown): void {
    const known = this.#members.get(name);
    if (known) void known.membership.setData(data).catch(() => {});
    const membership = known?.membership ?? this.client.join(name, data);
    this.#members.set(name, { membership, data });
  }

  #read(scope: string): void {
    this.#readings.push({ scope, end: this.#observe(scope) });
  }

  /** As under StrictMode: the end of a reading and its beginning in one turn send nothing. */
  async #endAndRead(index: number): Promise<void> {
    const reading = this.#readings[index];
    if (!reading) return;
    const sent = () => this.host.sockets.reduce((sum, socket) => sum + socket.sent.length, 0);
    await settle();
    const before = sent();
    reading.end();
    const end = this.#observe(reading.scope);
    end();
    reading.end = this.#observe(reading.scope);
    await settle();
    expect(sent()).toBe(before);
  }

  /** Read a store. Its listener is called exactly when its value is another one. */
  #observe(scope: string): () => void {
    const store = this.#store(scope);
    let last: unknown;
    const stopMembers = scope.startsWith("room ") ? this.#observeMembers(scope.slice(5)) : () => {};
    let isEnded = false;
    const end = store.subscribe(() => {
      expect(isEnded, `${scope} was called after its end`).toBe(false);
      expect(store.get(), `${scope} was called without a change`).not.toBe(last);
      last = store.get();
    });
    last = store.get();
    const stopWatching = scope.startsWith("user ") ? this.#watch(scope.slice(5)) : () => {};
    return () => {
      expect(store.get(), `${scope} changed without a call`).toBe(last);
      isEnded = true;
      stopMembers();
      end();
      stopWatching();
    };
  }

  /** The number of members fits, and members who return to a server that has restarted never leave. */
  #observeMembers(name: string): () => void {
    const store = this.client.room(name);
    let before = store.get();
    return store.subscribe(() => {
      const room = store.get();
      if (!room.known || room.mode === "counts") before = room;
      if (room === before) return;
      if (room.members.size !== room.count) this.errors.push(`${room.members.size} members of ${room.count}`);
      for (const id of before.members.keys())
        if (!room.members.has(id) && this.server.returning.get(name)?.has(id)) this.errors.push(`${id} left ${name}`);
      before = room;
    });
  }

  #watch(id: string): () => void {
    return this.client.watch([id], (current, previous) => {
      const visible = ({ userId, status, text, devices }: Presence) =>
        JSON.stringify([String(userId), status, text, devices]);
      expect(visible(current), `watch of ${id} was called without a change`).not.toBe(visible(previous));
      expect([current.status, previous.status]).not.toContain("unknown");
    });
  }

  #store(scope: string): Store<unknown> {
    const { client } = this;
    const name = scope.slice(scope.indexOf(" ") + 1);
    if (scope === "everyone") return client.everyone;
    if (scope === "users") return client.users(["bob", "carl", 7]);
    if (scope === "count everyone") return client.count("everyone");
    if (scope.startsWith("count ")) return client.count({ room: name });
    return scope.startsWith("room ") ? client.room(name) : client.user(name);
  }
}
