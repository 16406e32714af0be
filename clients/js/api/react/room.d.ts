import { PresenceError } from "../error.js";
import type { Registered } from "../index.js";
import type { Member, Membership, Room } from "../room.js";
export interface RoomOptions {
    /** Be a member while mounted. */
    join?: boolean;
    /** The member's data, compared by value. */
    data?: Registered<"member">;
}
export interface RoomState extends Room {
    /** Replace the member's data. Rejects unless this hook has joined. */
    readonly setData: Membership["setData"];
    /** Why the server refused this member, such as `ROOM_FULL`; null if it did not. */
    readonly error: PresenceError | null;
    /** The members except this user. */
    readonly others: ReadonlyMap<string, Member>;
}
/** Return a room with its members. With `join`, this user is a member while the component is mounted. */
export declare function useRoom(name: string, options?: RoomOptions): RoomState;
