import type { Events, PresenceClient } from "../client.js";
import type { Connection } from "../connection.js";
import type { Registered } from "../index.js";
import type { Everyone, Presence, UserId } from "../presence.js";
import type { Membership, Room } from "../room.js";
import type { Choice, Self } from "../self.js";
import type { Store } from "../store.js";
import { Cell, derived, found } from "./cell.js";
import { FakeRooms } from "./rooms.js";
import { connectionOf, type FakeRoom, type FakeUser, presenceOf, roomOf, selfOf, userIdOf } from "./values.js";

export interface FakeOptions {
  /** User of this client; default "me". */
  userId?: UserId;
  /** The server's time in epoch milliseconds; default: the time of this machine. */
  now?: number;
}

type Scope = "everyone" | { room: string };
type Listeners = { [K in keyof Events]: Set<(event: Events[K]) => void> };

/** A client without a network, for tests and Storybook. It starts connected, and `set…` shows any other state. */
export class FakePresence implements PresenceClient {
  private readonly people = new Map<string, Cell<Presence>>();
  private readonly changes = new Cell(0);
  private readonly rooms: FakeRooms;
  private readonly counts = new Map<string, Cell<number | null | undefined>>();
  private readonly listeners: Listeners = { connection: new Set(), reconnected: new Set(), rejected: new Set() };
  private readonly me: UserId;
  private time: number | undefined;
  private held = 0;
  private readonly isReady = Promise.resolve();

  readonly connection: Cell<Connection>;
  readonly self: Cell<Self | null>;
  readonly everyone: Store<Everyone> = derived([this.changes], () => {
    const online = [...this.people].map(([key, cell]) => [key, cell.get()] as const);
    return Object.assign(new Map(online.filter(([, presence]) => presence.online)), { known: true });
  });
  readonly wire = { request: async () => ({}), limits: {}, modules: {}, on: () => () => {} };

  constructor(users: Readonly<Record<string, FakeUser>> = {}, options: FakeOptions = {}) {
    this.me = userIdOf(options.userId ?? "me");
    this.rooms = new FakeRooms(this.me);
    this.time = options.now;
    this.connection = new Cell(connectionOf("open", this.now()));
    this.self = new Cell<Self | null>(selfOf(this.me, { status: "auto" }, this.now()));
    this.setAll(users);
  }

  /** How many callers of `connect` have not released the connection. */
  get connections(): number {
    return this.held;
  }

  /** Return how many readers are subscribed to a user, or without an id, to everyone. */
  readers(id?: UserId): number {
    return id === undefined ? this.changes.readers : (this.people.get(String(id))?.readers ?? 0);
  }

  /** Change what is known of a user. */
  set(id: UserId, user: FakeUser): void {
    this.setAll({ [id]: user });
  }

  /** Change several users together, as one message of a server does. */
  setAll(users: Readonly<Record<string, FakeUser>>): void {
    const changed = Object.entries(users).map(([id, user]) => {
      const cell = this.person(id);
      cell.replace(presenceOf(id, user, cell.get().version + 1));
      return cell;
    });
    this.changes.replace(this.changes.get() + 1);
    for (const cell of changed) cell.notify();
    this.changes.notify();
  }

  setRoom(name: string, room: FakeRoom): void {
    this.rooms.room(name).set(roomOf(name, room));
  }

  /** Show a count that differs from the users and rooms of this client; null shows an unknown count. */
  setCount(scope: Scope, count: number | null): void {
    this.counted(scope).set(count);
  }

  setSelf(self: Partial<Self> | null): void {
    const auto = selfOf(this.me, { status: self?.chosen ?? "auto" }, this.now());
    const { text, emoji, until } = self?.claimed ? auto : { ...auto, ...self };
    this.self.set(self && { ...auto, choice: { text, emoji, until }, ...self });
  }

  setConnection(connection: Connection["state"] | Partial<Connection>): void {
    const details = typeof connection === "string" ? { state: connection } : connection;
    const current = { ...connectionOf(details.state ?? this.connection.get().state, this.now()), ...details };
    this.connection.set(current);
    this.emit("connection", current);
  }

  /** Stop the server's clock at this time, in epoch milliseconds. */
  setNow(now: number): void {
    this.time = now;
  }

  /** Call the listeners of `on`. */
  emit<K extends keyof Events>(event: K, value: Events[K]): void {
    for (const listener of [...this.listeners[event]]) listener(value);
  }

  connect(): () => void {
    let released = false;
    this.held += 1;
    return () => {
      if (!released) this.held -= 1;
      released = true;
    };
  }

  close(): void {
    this.setConnection("closed");
    this.self.set(null);
    this.setAll(Object.fromEntries([...this.people.keys()].map((key) => [key, "unknown" as const])));
    this.rooms.forget();
  }

  retry(): void {
    this.setConnection("open");
  }

  /** Return the same resolved promise each time, so that `use(client.ready())` of React does not suspend again. */
  ready(): Promise<void> {
    return this.isReady;
  }

  now(): number {
    return this.time ?? Date.now();
  }

  user(id: UserId): Store<Presence> {
    return this.person(id);
  }

  users(ids: Iterable<UserId>): Store<ReadonlyMap<string, Presence>> {
    const cells = [...new Set(Array.from(ids, String))].map((key) => [key, this.person(key)] as const);
    return derived(
      cells.map(([, cell]) => cell),
      () => new Map(cells.map(([key, cell]) => [key, cell.get()])),
    );
  }

  room(name: string): Store<Room> {
    return this.rooms.room(name);
  }

  count(scope: Scope): Store<number | null> {
    const own = this.counted(scope);
    const source: Store<unknown> = scope === "everyone" ? this.changes : this.rooms.room(scope.room);
    return derived([own, source], () => {
      const fixed = own.get();
      if (fixed !== undefined) return fixed;
      if (scope === "everyone") return this.everyone.get().size;
      const room = this.rooms.room(scope.room).get();
      return room.known ? room.count : null;
    });
  }

  watch(ids: Iterable<UserId>, listener: (current: Presence, previous: Presence) => void): () => void {
    const ends = Array.from(ids, (id) => {
      const cell = this.person(id);
      let previous = cell.get();
      return cell.subscribe(() => {
        const before = previous;
        previous = cell.get();
        if (before.status !== "unknown") listener(previous, before);
      });
    });
    return () => {
      for (const end of ends) end();
    };
  }

  join(room: string, data?: Registered<"member">): Membership {
    return this.rooms.join(room, this.now(), data);
  }

  setActive(active: boolean | "auto"): void {
    const self = this.self.get();
    if (self?.chosen === "auto") this.self.set({ ...self, status: active === false ? "away" : "online" });
  }

  async setStatus(choice: Choice, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    this.self.set(selfOf(this.me, choice, this.now()));
  }

  on<K extends keyof Events>(event: K, listener: (event: Events[K]) => void): () => void {
    const entry = (value: Events[K]) => listener(value);
    this.listeners[event].add(entry);
    return () => {
      this.listeners[event].delete(entry);
    };
  }

  explain() {
    return { fake: true, connection: this.connection.get(), self: this.self.get() };
  }

  private person(id: UserId): Cell<Presence> {
    return found(this.people, String(id), () => presenceOf(id, "unknown", 0));
  }

  private counted(scope: Scope): Cell<number | null | undefined> {
    const key = scope === "everyone" ? "everyone" : `room ${scope.room}`;
    return found<number | null | undefined>(this.counts, key, () => undefined);
  }
}

/**
 * Create a client without a network:
 *
 *     const presence = fakePresence({ 7: "online", bo: { status: "busy", text: "in a meeting" } });
 *     presence.set(7, "away");
 */
export function fakePresence(users: Readonly<Record<string, FakeUser>> = {}, options: FakeOptions = {}): FakePresence {
  return new FakePresence(users, options);
}
