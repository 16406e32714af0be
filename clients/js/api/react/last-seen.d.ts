import type { HTMLAttributes, ReactNode } from "react";
import type { UserId } from "../presence.js";
import { type Labels } from "./labels.js";
export interface LastSeenProps extends HTMLAttributes<HTMLSpanElement> {
    userId: UserId | null;
    /** When your backend last saw the user, in epoch milliseconds. Used while the client has no time, unless the user is there. */
    fallback?: number | undefined;
    labels?: Partial<Labels>;
}
/** When a user was last there, such as "5 minutes ago", or else the status. Empty until one of the two is known. */
export declare function LastSeen({ userId, fallback, labels, className, ...rest }: LastSeenProps): ReactNode;
