import type { Registered } from "./index.js";
import { type Presence, type Status, type UserId } from "./presence.js";
import type { SelfMessage } from "./wire.js";
/** The user's own true state, on all of the user's devices. */
export interface Self extends Omit<Presence, "status" | "version"> {
    readonly status: Status | "invisible";
    /** Status that the user chose; `auto` if the status is detected. */
    readonly chosen: Choice["status"];
    /** Whether a backend's claim, such as that of a calendar, determines the status instead of the user. */
    readonly claimed: boolean;
    /** Details of the user's own choice, even while a claim overrides it. */
    readonly choice: {
        readonly text: string;
        readonly emoji: string;
        readonly until: number;
    };
}
/** A status to choose. Omitted fields are empty: a choice replaces the one before as a whole. */
export interface Choice {
    status: "auto" | "online" | "away" | "busy" | "invisible";
    /** At most 140 characters. */
    text?: string;
    emoji?: string;
    /** Any JSON of at most 2 KB. */
    data?: Registered<"data">;
    /** Seconds until the previous permanent choice returns. */
    expiresIn?: number;
}
/** Return whether two messages show the same choice. */
export declare function isSameChoice(a: SelfMessage, b: SelfMessage): boolean;
/** Return parameters of the next URL, which restore the choice on a server that knows nothing about the user. */
export declare function choiceInUrl(self: SelfMessage | undefined, now: number): Record<string, string | number>;
/** Return the user's own state that a message describes. */
export declare function toSelf(userId: UserId, message: SelfMessage): Self;
/** Return whether a choice is in force, so that it need not be sent again. */
export declare function isInForce(choice: Choice, self: SelfMessage): boolean;
