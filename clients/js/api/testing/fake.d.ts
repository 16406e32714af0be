import type { Events, PresenceClient } from "../client.js";
import type { Connection } from "../connection.js";
import type { Registered } from "../index.js";
import type { Everyone, Presence, UserId } from "../presence.js";
import type { Membership, Room } from "../room.js";
import type { Choice, Self } from "../self.js";
import type { Store } from "../store.js";
import { Cell } from "./cell.js";
import { type FakeRoom, type FakeUser } from "./values.js";
export interface FakeOptions {
    /** User of this client; default "me". */
    userId?: UserId;
    /** The server's time in epoch milliseconds; default: the time of this machine. */
    now?: number;
}
type Scope = "everyone" | {
    room: string;
};
/** A client without a network, for tests and Storybook. It starts connected, and `set…` shows any other state. */
export declare class FakePresence implements PresenceClient {
    private readonly people;
    private readonly changes;
    private readonly rooms;
    private readonly counts;
    private readonly listeners;
    private readonly me;
    private time;
    private held;
    private readonly isReady;
    readonly connection: Cell<Connection>;
    readonly self: Cell<Self | null>;
    readonly everyone: Store<Everyone>;
    readonly wire: {
        request: () => Promise<{}>;
        limits: {};
        modules: {};
        on: () => () => void;
    };
    constructor(users?: Readonly<Record<string, FakeUser>>, options?: FakeOptions);
    /** How many callers of `connect` have not released the connection. */
    get connections(): number;
    /** Return how many readers are subscribed to a user, or without an id, to everyone. */
    readers(id?: UserId): number;
    /** Change what is known of a user. */
    set(id: UserId, user: FakeUser): void;
    /** Change several users together, as one message of a server does. */
    setAll(users: Readonly<Record<string, FakeUser>>): void;
    setRoom(name: string, room: FakeRoom): void;
    /** Show a count that differs from the users and rooms of this client; null shows an unknown count. */
    setCount(scope: Scope, count: number | null): void;
    setSelf(self: Partial<Self> | null): void;
    setConnection(connection: Connection["state"] | Partial<Connection>): void;
    /** Stop the server's clock at this time, in epoch milliseconds. */
    setNow(now: number): void;
    /** Call the listeners of `on`. */
    emit<K extends keyof Events>(event: K, value: Events[K]): void;
    connect(): () => void;
    close(): void;
    retry(): void;
    /** Return the same resolved promise each time, so that `use(client.ready())` of React does not suspend again. */
    ready(): Promise<void>;
    now(): number;
    user(id: UserId): Store<Presence>;
    users(ids: Iterable<UserId>): Store<ReadonlyMap<string, Presence>>;
    room(name: string): Store<Room>;
    count(scope: Scope): Store<number | null>;
    watch(ids: Iterable<UserId>, listener: (current: Presence, previous: Presence) => void): () => void;
    join(room: string, data?: Registered<"member">): Membership;
    setActive(active: boolean | "auto"): void;
    setStatus(choice: Choice, signal?: AbortSignal): Promise<void>;
    on<K extends keyof Events>(event: K, listener: (event: Events[K]) => void): () => void;
    explain(): {
        fake: boolean;
        connection: Connection;
        self: Self | null;
    };
    private person;
    private counted;
}
/**
 * Create a client without a network:
 *
 *     const presence = fakePresence({ 7: "online", bo: { status: "busy", text: "in a meeting" } });
 *     presence.set(7, "away");
 */
export declare function fakePresence(users?: Readonly<Record<string, FakeUser>>, options?: FakeOptions): FakePresence;
export {};
