import type { Registered } from "./index.js";
import type { UserId } from "./presence.js";
export interface Member {
    readonly userId: UserId;
    /** Epoch milliseconds on the server's clock. */
    readonly joinedAt: number;
    readonly data: Registered<"member"> | undefined;
}
export interface Room {
    readonly name: string;
    /** False until the server has answered. */
    readonly known: boolean;
    /** Whether this client is a member. */
    readonly joined: boolean;
    /** `counts`: a large room, which reports only `count`, without members. */
    readonly mode: "full" | "coalesced" | "counts";
    readonly count: number;
    readonly members: ReadonlyMap<string, Member>;
}
/** This client's membership in a room. It lasts until `leave`, across reconnects. */
export interface Membership {
    /** Resolves when the server has accepted the member; rejects with a `PresenceError`, such as `ROOM_FULL`. */
    readonly joined: Promise<void>;
    /** Replace the member's data. */
    setData(data: Registered<"member">): Promise<void>;
    leave(): void;
}
