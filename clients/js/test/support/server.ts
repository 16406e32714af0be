/**
 * A server of presenced.v1 in memory, with one user who connects ("ada") and others that the test moves.
 *
 * Messages take time in both directions, and keep their order. A lost connection loses all that is on its way. What a
 * real server would refuse is a violation, which the test reports.
 */

import type { FakeHost } from "./fake-host.js";
import { type FakeSocket, LIMITS, type Message } from "./fake-socket.js";
import { Link, type Session } from "./link.js";
import { handle } from "./server-requests.js";

export const SETTLING_S = 15;
const LATEST_MS = 1_000;
const PAGE = 3;
const COUNTS_FROM = 5;

type Fields = Readonly<Record<string, unknown>>;

export class MemoryServer {
  readonly limits: typeof LIMITS;
  /** Requests that a real server would have refused. */
  readonly violations: string[] = [];
  /** Everything sent in both directions. */
  readonly trace: string[] = [];
  readonly users = new Map<string, { status: string; since: number; version: number; text?: string }>();
  /** Members of each room, without ada, with their data. */
  readonly rooms = new Map<string, Map<string, unknown>>();
  chosen = "auto";
  epoch = 1;
  /** Members of before a restart who will join again while the server is settling, by room. */
  readonly returning = new Map<string, Set<string>>();
  #links = new Set<Link>();
  #sessions = new Map<string, Session>();
  #journal: string[] = [];
  #lastVersion = 0;
  #lastSession = 0;
  #startedAt = Number.NEGATIVE_INFINITY;

  constructor(
    readonly host: FakeHost,
    /** Return milliseconds for one message. */
    readonly latency: () => number,
    limits: Partial<typeof LIMITS> = {},
  ) {
    this.limits = { ...LIMITS, ...limits };
    host.onOpen = (socket) => this.#accept(socket);
  }

  get session(): Session | undefined {
    return [...this.#links].find(({ isAlive }) => isAlive)?.session;
  }

  get self(): { status: string; chosen: string } {
    const detected = this.session?.isIdle ? "away" : "online";
    return { status: this.chosen === "auto" ? detected : this.chosen, chosen: this.chosen };
  }

  record(id: string): Fields {
    const known = this.users.get(id);
    const userId = /^\d+$/.test(id) ? Number(id) : id;
    return { userId, ...(known ?? { status: "offline", since: 0, version: this.#lastVersion }) };
  }

  members(room: string): Map<string, unknown> {
    const members = new Map(this.rooms.get(room));
    const joined = [...this.#sessions.values()].find((session) => session.joined.has(room));
    if (joined) members.set("ada", joined.joined.get(room) ?? null);
    return members;
  }

  mode(room: string): string {
    return this.members(room).size >= COUNTS_FROM ? "counts" : "full";
  }

  online(scope: string): number {
    const ids = scope === "everyone" ? [...this.users.keys()] : [...this.members(scope).keys()];
    return ids.filter((id) => this.users.get(id)?.status !== "offline").length;
  }

  /** A user's state changes. Users who go offline leave their rooms. */
  change(id: string, status: string, text?: string): void {
    if (status === "offline") for (const members of this.returning.values()) members.delete(id);
    if (status === "offline") for (const room of this.rooms.keys()) this.move(room, id, undefined);
    this.#lastVersion += 1;
    const state = { status, since: this.host.time, version: this.#lastVersion, ...(text ? { text } : {}) };
    this.users.set(id, state);
    this.#journal.push(id);
    this.#toAll((link, session) => {
      if (this.#covers(session, id)) this.changes(link, [id]);
      this.counts(link, session.counts);
    });
  }

  /** A user who is online joins a room with data, or leaves it (`undefined`). */
  move(room: string, id: string, data: unknown): void {
    this.returning.get(room)?.delete(id);
    this.inRoom(room, id, () => {
      const members = this.rooms.get(room) ?? new Map<string, unknown>();
      this.rooms.set(room, members);
      if (data === undefined) return members.delete(id);
      if ((this.users.get(id)?.status ?? "offline") === "offline") return false;
      members.set(id, data);
      return true;
    });
  }

  /** Lose all connections. The client notices each loss later. */
  lose(noticedAfter: () => number): void {
    for (const link of this.#links) if (link.isAlive) link.lose(noticedAfter());
    this.#links.clear();
  }

  /**
   * Start anew, without a database. Users who were online return while the server is settling, or do not. Members who
   * return join their rooms again.
   */
  restart(noticedAfter: () => number, returnsAfter: () => number): void {
    this.lose(noticedAfter);
    const before = [...this.users].filter(([id, { status }]) => id !== "ada" && status !== "offline");
    this.epoch += 1;
    this.#startedAt = this.host.time;
    this.#sessions.clear();
    this.#journal = [];
    this.#lastVersion = 0;
    this.users.clear();
    const rooms = [...this.rooms];
    this.rooms.clear();
    this.chosen = "auto";
    for (const [id, { status }] of before) {
      const after = returnsAfter();
      // A message on its way when the server has settled may be late.
      if (after > SETTLING_S * 1_000 - LATEST_MS) continue;
      this.host.host.schedule(after / 2, () => this.users.has(id) || this.change(id, status));
      for (const [room, members] of rooms) {
        if (!members.has(id)) continue;
        const awaited = this.returning.get(room) ?? new Set();
        this.returning.set(room, awaited.add(id));
        this.host.host.schedule(after, () => awaited.has(id) && this.move(room, id, members.get(id)));
      }
    }
  }

  #accept(socket: FakeSocket): void {
    const link = new Link(socket, this.host, this.latency, this.limits, this.trace);
    this.host.host.schedule(this.latency(), () => {
      if (socket.readyState !== 0) return;
      socket.open();
      link.listen((message) => handle(this, link, message));
      this.#open(link);
    });
  }

  #open(link: Link): void {
    const { session: id = "", position = "", status, activity } = link.socket.parameters;
    for (const other of this.#links) if (other.session?.id === id) other.isAlive = false; // replaced
    this.#links.clear();
    this.#links.add(link);
    const known = this.#sessions.get(id);
    this.#lastSession += 1;
    const empty = {
      everyone: false,
      users: new Set<string>(),
      rooms: new Set<string>(),
      joined: new Map(),
      counts: new Set<string>(),
    };
    const session = known ?? {
      id: `s${this.epoch}-${this.#lastSession}`,
      ...empty,
      isIdle: false,
      writes: 0,
      resumableFrom: 0,
    };
    if (!known) this.#sessions.clear();
    this.#sessions.set(session.id, session);
    session.isIdle = activity ? activity === "idle" : session.isIdle;
    link.session = session;
    const [epoch, n, write] = position.split("-").map(Number);
    const resumed = known !== undefined && epoch === this.epoch && (write ?? 0) >= known.resumableFrom;
    if (status && this.chosen === "auto" && !this.users.has("ada")) this.chosen = status;
    const left = (this.#startedAt + SETTLING_S * 1_000 - this.host.time) / 1_000;
    link.send({
      type: "CONNECTION_ESTABLISHED",
      userId: "ada",
      sessionId: session.id,
      resumed,
      epoch: `${this.epoch}`,
      serverTime: this.host.time,
      heartbeatInterval: 30,
      resumeWindow: 120,
      settling: Math.max(0, left),
      limits: this.limits,
    });
    this.own(link);
    const news = resumed ? this.#journal.slice(n) : [];
    if (!resumed) this.snapshots(link, session.everyone, session.users, []);
    this.snapshots(link, false, [], session.rooms);
    this.counts(link, session.counts);
    this.changes(
      link,
      [...new Set(news)].filter((user) => this.#covers(session, user)),
    );
  }

  /** The user's own state may have changed. */
  own(link: Link): void {
    link.send({ type: "SELF", ...this.self });
    const status = this.chosen === "invisible" ? "offline" : this.self.status;
    if (this.users.get("ada")?.status !== status) this.change("ada", status);
  }

  #covers({ everyone, users, rooms }: Session, id: string): boolean {
    const isMember = (room: string) => this.mode(room) !== "counts" && this.members(room).has(id);
    return everyone || users.has(id) || [...rooms].some(isMember);
  }

  /** Change the members of a room, and report it to the sessions that watch the room. */
  inRoom(room: string, id: string, move: () => unknown): void {
    const before = this.mode(room);
    if (!move()) return;
    const mode = this.mode(room);
    const isMember = this.members(room).has(id);
    const named =
      mode === "counts" || before === "counts" ? {} : isMember ? { members: [this.#member(room, id)] } : { left: [id] };
    this.#toAll((link, session) => {
      const news = { type: "ROOM_CHANGES", room, count: this.members(room).size, mode, ...named };
      if (session.rooms.has(room)) {
        link.send(news);
        this.changes(link, []);
      }
      this.counts(link, session.counts);
    });
  }

  #member(room: string, id: string): Fields {
    const data = this.members(room).get(id) ?? undefined;
    return {
      userId: this.record(id).userId,
      joinedAt: 1,
      presence: this.record(id),
      ...(data === undefined ? {} : { data }),
    };
  }

  snapshots(link: Link, everyone: boolean, users: Iterable<string>, rooms: Iterable<string>): void {
    for (const room of rooms) {
      const ids = this.mode(room) === "counts" ? [] : [...this.members(room).keys()];
      const head = { type: "ROOM_SNAPSHOT", room, mode: this.mode(room), count: this.members(room).size };
      this.#pages(
        link,
        head,
        "members",
        ids.map((id) => this.#member(room, id)),
      );
    }
    if (!everyone && [...users].length)
      this.#pages(
        link,
        { type: "PRESENCE_SNAPSHOT", watch: "users" },
        "users",
        [...users].map((id) => this.record(id)),
      );
    const online = [...this.users].filter(([, { status }]) => status !== "offline").map(([id]) => this.record(id));
    if (everyone) this.#pages(link, { type: "PRESENCE_SNAPSHOT", watch: "everyone" }, "users", online);
  }

  #pages(link: Link, head: Message, key: string, records: readonly Fields[]): void {
    if (link.session) link.session.resumableFrom = link.session.writes + 1;
    const pages = Math.max(1, Math.ceil(records.length / PAGE));
    for (let page = 1; page <= pages; page += 1) {
      link.send({ ...head, page, pages, [key]: records.slice((page - 1) * PAGE, page * PAGE) });
    }
  }

  changes(link: Link, ids: readonly string[]): void {
    if (!link.session) return;
    link.session.writes += 1;
    const position = `${this.epoch}-${this.#journal.length}-${link.session.writes}`;
    link.send({ type: "PRESENCE_CHANGES", position, users: ids.map((id) => this.record(id)) });
  }

  counts(link: Link, scopes: Iterable<string>): void {
    for (const scope of scopes) {
      const room = scope === "everyone" ? { watch: "everyone" } : { watch: "room", room: scope };
      link.send({ type: "PRESENCE_COUNT", ...room, online: this.online(scope) });
    }
  }

  #toAll(call: (link: Link, session: Session) => void): void {
    for (const link of this.#links) if (link.isAlive && link.session) call(link, link.session);
  }
}
