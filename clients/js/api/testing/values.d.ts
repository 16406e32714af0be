import type { Connection } from "../connection.js";
import type { Presence, UserId } from "../presence.js";
import type { Member, Room } from "../room.js";
import type { Choice, Self } from "../self.js";
/** A status, or a status with details. Omitted details are empty. */
export type FakeUser = Presence["status"] | (Partial<Omit<Presence, "userId" | "online">> & Pick<Presence, "status">);
/** The ids of members, or details of the room. */
export type FakeRoom = readonly UserId[] | (Partial<Omit<Room, "name" | "members">> & {
    members?: readonly (UserId | (Partial<Member> & {
        userId: UserId;
    }))[];
});
/** Return the id as servers send it: an integer is a number. */
export declare function userIdOf(id: UserId): UserId;
export declare function presenceOf(id: UserId, user: FakeUser, version: number): Presence;
export declare function selfOf(id: UserId, choice: Choice, now: number): Self;
export declare function roomOf(name: string, room: FakeRoom): Room;
export declare function connectionOf(state: Connection["state"], since: number): Connection;
