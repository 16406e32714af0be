import type { HTMLAttributes, ReactNode } from "react";
import type { UserId } from "../presence.js";
import { type Labels } from "./labels.js";
export interface LastSeenProps extends HTMLAttributes<HTMLSpanElement> {
    userId: UserId | null;
    labels?: Partial<Labels>;
}
/** When a user was last there, such as "5 minutes ago", or else the status. Empty until the user is known. */
export declare function LastSeen({ userId, labels, className, ...rest }: LastSeenProps): ReactNode;
