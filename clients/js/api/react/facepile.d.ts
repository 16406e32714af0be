import type { HTMLAttributes, ReactNode } from "react";
import type { Presence, UserId } from "../presence.js";
import { type Labels } from "./labels.js";
interface PileProps extends Omit<HTMLAttributes<HTMLSpanElement>, "children"> {
    /** How many people to show; default 5. */
    max?: number;
    labels?: Partial<Labels>;
    /** Returns the face of a user, such as a picture; default: initials. */
    children?: (presence: Presence) => ReactNode;
}
export type FacepileProps = PileProps & ({
    room: string;
    userIds?: never;
} | {
    userIds: Iterable<UserId>;
    room?: never;
});
/** The people of a room, or those of `userIds` who are online, and how many more there are. */
export declare function Facepile({ room, userIds, ...rest }: FacepileProps): ReactNode;
export {};
