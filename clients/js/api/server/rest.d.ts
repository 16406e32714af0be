import type { InitialPresence, UserId } from "../presence.js";
import { type Operations } from "./api.js";
import { type Change } from "./follow.js";
import { type RequestOptions, type ServerOptions } from "./request.js";
import { type SnapshotOptions } from "./snapshot.js";
import type { Grants } from "./token.js";
type Part<O, K extends string> = O extends {
    [P in K]?: infer T;
} ? NonNullable<T> : unknown;
/** Everything that an endpoint takes, from its path, query and body, as one object. */
export type Input<K extends keyof Operations> = Part<Operations[K], "path"> & Part<Operations[K], "query"> & Part<Operations[K], "body">;
type Method<K extends keyof Operations> = {} extends Input<K> ? (input?: Input<K>, options?: RequestOptions) => Promise<Operations[K]["response"]> : (input: Input<K>, options?: RequestOptions) => Promise<Operations[K]["response"]>;
/** One method for each endpoint of the HTTP API, named by its `operationId`. */
export type Endpoints = {
    readonly [K in keyof Operations]: Method<K>;
};
export interface TicketOptions extends Grants {
    /** Maximum number of seconds for the connection; unlimited if omitted. */
    lasts?: number;
}
export interface PresenceServer extends Endpoints {
    /**
     * Follow every change of every user after a cursor: `position` of a change or of the first page of `listOnline`.
     * Without one, the feed starts now. Reconnects until `signal` aborts or the loop ends.
     *
     * If changes were lost, because the server was restarted or the cursor is too old, it throws a `PresenceError` with
     * the code `CURSOR_TOO_OLD`: read `listOnline` again.
     */
    changes(cursor?: string, options?: Pick<RequestOptions, "signal">): AsyncGenerator<Change, void, undefined>;
    /** Return a ticket, with which a client of this user connects once, within 30 seconds. */
    ticket(userId: UserId, options?: TicketOptions, request?: RequestOptions): Promise<string>;
    /**
     * Return users for the first HTML, as `initial` of the client. It never breaks a page: if the server does not answer
     * within a second, or refuses, there are no users in it, and `onError` gets the reason. Users who are not in it are
     * `unknown` until the client is connected.
     */
    snapshot(ids: Iterable<UserId>, options?: SnapshotOptions): Promise<InitialPresence>;
}
/** Return the HTTP API of a presence server, for your backend. It sends nothing yet, so it may be a constant. */
export declare function presenceServer(server: ServerOptions): PresenceServer;
export {};
