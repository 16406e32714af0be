/** Presence for Vue: composables below a component that calls `providePresence`. */
import type { ComputedRef, ShallowRef } from "vue";
import { type MaybeRefOrGetter } from "vue";
import type { PresenceClient, PresenceOptions } from "../client.js";
import type { Connection } from "../connection.js";
import { PresenceError } from "../error.js";
import { type Registered } from "../index.js";
import type { Presence, UserId } from "../presence.js";
import type { Member, Membership, Room } from "../room.js";
import type { Self } from "../self.js";
import type { Store } from "../store.js";
/** Share a client with all components below, and keep it connected while mounted. */
export declare function providePresence(options?: PresenceOptions | {
    client: PresenceClient;
}): PresenceClient;
export declare function usePresenceClient(): PresenceClient;
/** Return the value of any store of the client, such as `useStore(() => client.users(props.ids))`. */
export declare function useStore<T>(choose: () => Store<T>): Readonly<ShallowRef<T>>;
/** Return what is known of a user. Null: unknown. */
export declare function usePresence(id: MaybeRefOrGetter<UserId | null>): Readonly<ShallowRef<Presence>>;
export interface RoomOptions {
    /** Be a member while mounted. */
    join?: boolean;
    data?: Registered<"member">;
}
export interface RoomState {
    readonly room: Readonly<ShallowRef<Room>>;
    /** Why the server refused this member, such as `ROOM_FULL`; null if it did not. */
    readonly error: Readonly<ShallowRef<PresenceError | null>>;
    /** The members except this user. */
    readonly others: ComputedRef<ReadonlyMap<string, Member>>;
    /** Replace the member's data. Rejects unless this component has joined. */
    readonly setData: Membership["setData"];
}
/** Return a room with its members. With `join`, this user is a member while the component is mounted. */
export declare function useRoom(name: MaybeRefOrGetter<string>, options?: MaybeRefOrGetter<RoomOptions>): RoomState;
export interface SelfState extends Pick<PresenceClient, "setStatus" | "setActive"> {
    /** The user's own state; null until it is known. */
    readonly self: Readonly<ShallowRef<Self | null>>;
}
export declare function useSelf(): SelfState;
export declare function useConnection(): Readonly<ShallowRef<Connection>>;
