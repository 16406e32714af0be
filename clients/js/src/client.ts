/** The public interface of the client. `create.ts` implements it. */

import type { Connection } from "./connection.js";
import type { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import type { Registered } from "./index.js";
import type { Everyone, InitialPresence, Presence, UserId } from "./presence.js";
import type { Membership, Room } from "./room.js";
import type { Choice, Self } from "./self.js";
import type { Store } from "./store.js";
import type { LogEntry, Report } from "./trace.js";

export interface PresenceOptions {
  /** `ws(s)://` or `http(s)://` and the server's host; the path is appended. Default: the page's own origin. */
  url?: string;
  /** Only where the server trusts it; otherwise the token says who the user is. */
  userId?: UserId;
  /** Kind of device that others see: "web", "phone", ... */
  device?: string;
  /** JWT or ticket, or a function that fetches one. Null means signed out: the client closes. */
  token?: string | (() => string | null | undefined | Promise<string | null | undefined>);
  /** Seconds after which a person is idle: without input (300), and while the page is hidden (60). */
  activity?: false | { idleAfter?: number; hiddenAfter?: number };
  /** Seconds for which a user stays subscribed after the last reader has left; default 30. */
  linger?: number;
  /** Seconds without a connection until every user is unknown; default: the server's `resumeWindow`. */
  forgetAfter?: number;
  /** Presence in the first HTML: the result of `snapshot` of `presenced/server`. */
  initial?: InitialPresence;
  /** One connection for all tabs: `sharedTabs(userId)` of `presenced/tabs`. */
  tabs?: TabSharing;
  log?: (entry: LogEntry) => void;
  host?: Partial<Host>;
}

export interface TabSharing {
  readonly name: string;
  /** For `createPresence`, not for applications: return the environment of a client that shares its connection. */
  attach(host: Host, client: () => SharedClient): Host;
}

/** Parts of the client that `presenced/tabs` reads. */
export interface SharedClient {
  readonly connection: Store<Connection>;
  /** Subscriptions of this client: bits of each scope, as in `scope.ts`. */
  readonly agreed: ReadonlyMap<string, number>;
  /** Data of the rooms that this client has joined, by scope. */
  readonly sentData: ReadonlyMap<string, unknown>;
  /** Whether a user is in a room that this client knows. */
  hasMember(userId: string): boolean;
}

export interface Events {
  connection: Connection;
  reconnected: { outcome: "resumed" | "resynced" | "new-session" };
  /** The server refused a request that nobody waits for, or ended a room that a newer token does not allow. */
  rejected: PresenceError;
}

/** The seam for modules such as chat: requests, and messages that the core does not know. */
export interface Wire {
  /** Send a request and return its answer: the ACK or the requested data. */
  request(message: { readonly type: string }, signal?: AbortSignal): Promise<Readonly<Record<string, unknown>>>;
  /** `limits` of CONNECTION_ESTABLISHED; empty before it. */
  readonly limits: Readonly<Record<string, number>>;
  /** `modules` of CONNECTION_ESTABLISHED; empty before it. */
  readonly modules: Readonly<Record<string, unknown>>;
  on(type: string, listener: (message: Readonly<Record<string, unknown>>) => void): () => void;
}

export interface PresenceClient {
  /** Connect until the returned function is called. Counted: the client closes one second after the last release. */
  connect(): () => void;
  /** Sign out: offline immediately. Forgets the session, all records, the token and what was saved. */
  close(): void;
  /** Connect now, instead of waiting or after a failure. */
  retry(): void;
  /** Resolve when everything wanted is known for the first time. */
  ready(): Promise<void>;
  /** Return the time on the server's clock in epoch milliseconds. */
  now(): number;
  readonly connection: Store<Connection>;
  /** The user's own state; null until it is known. */
  readonly self: Store<Self | null>;
  /** Everyone this user may see, except users who are offline. Reading it subscribes to everyone. */
  readonly everyone: Store<Everyone>;
  user(id: UserId): Store<Presence>;
  users(ids: Iterable<UserId>): Store<ReadonlyMap<string, Presence>>;
  room(name: string): Store<Room>;
  /** How many are online; null until it is known. */
  count(scope: "everyone" | { room: string }): Store<number | null>;
  /** Call `listener` for each change of these users, except the first state. Subscribes until the returned call. */
  watch(ids: Iterable<UserId>, listener: (current: Presence, previous: Presence) => void): () => void;
  join(room: string, data?: Registered<"member">): Membership;
  /** Say whether the person is at this device; "auto" detects it again. */
  setActive(active: boolean | "auto"): void;
  /** Choose a status. It replaces the whole choice. One that is chosen before `connect` is in the first URL. */
  setStatus(choice: Choice, signal?: AbortSignal): Promise<void>;
  on<K extends keyof Events>(event: K, listener: (event: Events[K]) => void): () => void;
  readonly wire: Wire;
  /** Return what helps in a bug report, without tokens. */
  explain(): Report;
}
