/** A server for one user with several connections: sessions, subscriptions and rooms, as presenced.v1 has them. */

import type { SocketLike } from "../../src/index.js";

export type Message = Readonly<Record<string, unknown>> & { readonly type: string };

const LIMITS = {
  maxMessageSize: 65_536,
  maxWatchedUsers: 1_000,
  maxRooms: 100,
  maxDataSize: 2_048,
  maxTextLength: 140,
  requestsPerSecond: 1_000,
  requestBurst: 1_000,
};

export interface ServerSession {
  readonly id: string;
  readonly users: Set<string>;
  readonly rooms: Set<string>;
  readonly joined: Map<string, unknown>;
  readonly counted: Set<string>;
  everyone: boolean;
  activity: string;
  socket: ServerSocket | undefined;
  isOver: boolean;
}

export class ServerSocket implements SocketLike {
  readyState = 0;
  onopen: unknown = null;
  onmessage: unknown = null;
  onclose: unknown = null;
  onerror: unknown = null;
  session: ServerSession | undefined;
  readonly sent: Message[] = [];
  closeCode: number | undefined;
  /** Whether requests are lost, as over a dead network. */
  isDeaf = false;
  #arriving = Promise.resolve();

  constructor(
    readonly server: Server,
    readonly url: string,
    readonly protocols: readonly string[],
  ) {
    queueMicrotask(() => server.isUp && this.readyState === 0 && this.#open());
  }

  get parameters(): Record<string, string> {
    return Object.fromEntries(new URLSearchParams(this.url.split("?")[1]));
  }

  send(text: string): void {
    if (this.readyState !== 1) throw new Error(`a message for a socket in state ${this.readyState}`);
    const message = JSON.parse(text) as Message;
    this.sent.push(message);
    queueMicrotask(() => this.readyState === 1 && !this.isDeaf && this.server.handle(this, message));
  }

  close(code?: number): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.closeCode = code;
    this.server.ended(this, code);
  }

  /** Each message arrives in a task of its own: what the client does in a microtask comes between two of them. */
  receive(message: Message): void {
    this.#arriving = this.#arriving.then(async () => {
      for (let turn = 0; turn < 3; turn += 1) await null;
      if (this.readyState === 1) (this.onmessage as (event: unknown) => void)({ data: JSON.stringify(message) });
    });
  }

  /** The connection ends. */
  drop(code = 1006, reason = ""): void {
    this.readyState = 3;
    this.server.ended(this, code);
    (this.onclose as (event: unknown) => void)({ code, reason });
  }

  #open(): void {
    this.readyState = 1;
    (this.onopen as (event: unknown) => void)({});
    this.server.established(this);
  }
}

export class Server {
  isUp = true;
  userId = "ada";
  limits = LIMITS;
  /** Members of each room. */
  members = ["bo"];
  settling = 0;
  /** Since when the store is lost; 0 if it is not. */
  staleSince = 0;
  readonly sockets: ServerSocket[] = [];
  readonly sessions = new Map<string, ServerSession>();
  /** Statuses and versions of other users. */
  readonly users = new Map<string, readonly [status: string, version: number]>();
  /** Requests that are refused: names of errors, by their type. */
  readonly refusals = new Map<string, string>();
  self: Message = { type: "SELF", status: "online", chosen: "auto" };
  #position = 0;
  #sessionsBegun = 0;

  constructor(readonly now: () => number) {}

  get open(): ServerSocket[] {
    return this.sockets.filter(({ readyState }) => readyState === 1);
  }

  /** The only open connection. */
  get socket(): ServerSocket {
    const [socket, ...others] = this.open;
    if (!socket || others.length) throw new Error(`${this.open.length} open connections`);
    return socket;
  }

  get session(): ServerSession {
    if (!this.socket.session) throw new Error("no session");
    return this.socket.session;
  }

  connect(url: string, protocols: readonly string[]): ServerSocket {
    const socket = new ServerSocket(this, url, protocols);
    this.sockets.push(socket);
    return socket;
  }

  set(userId: string, status: string): void {
    this.#position += 1;
    this.users.set(userId, [status, this.#position]);
    for (const { session } of this.open) {
      if (session && (session.everyone || session.users.has(userId))) this.#changes(session, [userId]);
    }
  }

  established(socket: ServerSocket): void {
    const { session: asked = "", position, activity } = socket.parameters;
    const known = this.sessions.get(asked);
    const isSame = known !== undefined && !known.isOver;
    const session = isSame ? known : this.#newSession();
    if (session.socket && session.socket !== socket) session.socket.drop(4409);
    session.socket = socket;
    socket.session = session;
    if (activity) session.activity = activity;
    const resumed = isSame && Boolean(position);
    socket.receive({
      type: "CONNECTION_ESTABLISHED",
      userId: this.userId,
      timestamp: "",
      connectionId: "",
      sessionId: session.id,
      resumed,
      epoch: "1",
      serverTime: this.now(),
      heartbeatInterval: 30,
      resumeWindow: 120,
      settling: this.settling,
      limits: this.limits,
      ...(this.staleSince ? { staleSince: this.staleSince } : {}),
    });
    socket.receive(this.self);
    if (!resumed) this.#snapshot(session, session.everyone, session.users);
    const isMissed = ([user, [, version]]: [string, readonly [string, number]]) =>
      (session.everyone || session.users.has(user)) && version > Number(position?.slice(1));
    const missed = resumed ? [...this.users].filter(isMissed).map(([user]) => user) : [];
    this.#changes(session, missed);
  }

  /** Lose the store at this time, or find it with 0. */
  doubt(since: number): void {
    this.staleSince = since;
    const message = since ? { certainty: "stale", since } : { certainty: "live" };
    for (const socket of this.open) socket.receive({ type: "CERTAINTY", ...message });
  }

  /** Start anew without users and members, and lose all connections. */
  restart(settling: number): void {
    this.settling = settling;
    this.members = [];
    this.users.clear();
    this.sessions.clear();
    for (const socket of this.open) socket.drop();
  }

  ended({ session }: ServerSocket, code: number | undefined): void {
    if (!session) return;
    session.socket = undefined;
    session.isOver ||= code === 1000;
  }

  handle(socket: ServerSocket, message: Message): void {
    const { session } = socket;
    if (!session) return;
    const { type, id } = message;
    const refusal = this.refusals.get(type);
    if (refusal) {
      socket.receive({ type: "ERROR", code: 110, name: refusal, message: refusal, id });
      return;
    }
    if (type === "PING") {
      socket.receive({ type: "PONG", id, serverTime: this.now() });
      return;
    }
    socket.receive({ type: "ACK", id });
    const users = ((message.users ?? []) as unknown[]).map(String);
    const rooms = (message.rooms ?? (message.room ? [message.room] : [])) as string[];
    if (type === "WATCH" && message.mode === "count") {
      if (message.everyone) session.counted.add("everyone");
      for (const room of rooms) session.counted.add(room);
      if (message.everyone) socket.receive({ type: "PRESENCE_COUNT", watch: "everyone", online: this.users.size });
      for (const room of rooms) socket.receive({ type: "PRESENCE_COUNT", watch: "room", room, online: 1 });
    } else if (type === "WATCH") {
      const isNew = Boolean(message.everyone) && !session.everyone;
      const fresh = users.filter((user) => !session.users.has(user));
      session.everyone ||= isNew;
      for (const user of users) session.users.add(user);
      for (const room of rooms) this.#room(session, room);
      if (isNew || fresh.length || rooms.length) {
        this.#snapshot(session, isNew, fresh);
        this.#changes(session, []);
      }
    } else if (type === "UNWATCH") {
      if (message.everyone) session.everyone = false;
      for (const user of users) session.users.delete(user);
      for (const room of rooms) if (!session.joined.has(room)) session.rooms.delete(room);
    } else if (type === "JOIN") {
      session.joined.set(String(message.room), message.data);
      if (!session.rooms.has(String(message.room))) {
        this.#room(session, String(message.room));
        this.#changes(session, []);
      }
    } else if (type === "SET_MEMBER") session.joined.set(String(message.room), message.data);
    else if (type === "LEAVE") {
      session.joined.delete(String(message.room));
      session.rooms.delete(String(message.room));
    } else if (type === "ACTIVITY") session.activity = String(message.state);
    else if (type === "SET_STATUS") {
      this.self = { type: "SELF", status: String(message.status), chosen: String(message.status) };
      socket.receive(this.self);
    }
  }

  #newSession(): ServerSession {
    this.#sessionsBegun += 1;
    const id = `session${this.#sessionsBegun}`;
    const session: ServerSession = {
      id,
      users: new Set(),
      rooms: new Set(),
      joined: new Map(),
      counted: new Set(),
      everyone: false,
      activity: "",
      socket: undefined,
      isOver: false,
    };
    this.sessions.set(id, session);
    return session;
  }

  #record(userId: string): object {
    const [status, version] = this.users.get(userId) ?? ["offline", this.#position];
    return { userId, status, version, since: version && 1 };
  }

  #snapshot(session: ServerSession, everyone: boolean, users: Iterable<string>): void {
    const online = [...this.users].filter(([, [status]]) => status !== "offline").map(([user]) => user);
    const send = (watch: string, named: readonly string[]) =>
      session.socket?.receive({
        type: "PRESENCE_SNAPSHOT",
        watch,
        page: 1,
        pages: 1,
        users: named.map((user) => this.#record(user)),
      });
    if (everyone) send("everyone", online);
    const named = [...users];
    if (named.length) send("users", named);
  }

  #changes(session: ServerSession, users: readonly string[]): void {
    const records = users.map((user) => this.#record(user));
    session.socket?.receive({ type: "PRESENCE_CHANGES", position: `p${this.#position}`, users: records });
  }

  #room(session: ServerSession, room: string): void {
    session.rooms.add(room);
    const members = this.members.map((userId) => ({ userId, joinedAt: 1, presence: this.#record(userId) }));
    session.socket?.receive({
      type: "ROOM_SNAPSHOT",
      room,
      mode: "full",
      count: members.length,
      page: 1,
      pages: 1,
      members,
    });
  }
}
