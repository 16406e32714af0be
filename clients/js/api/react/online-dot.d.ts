import type { HTMLAttributes, ReactNode } from "react";
import type { UserId } from "../presence.js";
import type { Labels } from "./labels.js";
export interface OnlineDotProps extends HTMLAttributes<HTMLSpanElement> {
    userId: UserId | null;
    labels?: Partial<Labels>;
}
/** A dot for the status of a user. `presenced/react/dots.css` gives it a size and a colour. */
export declare function OnlineDot({ userId, labels, className, ...rest }: OnlineDotProps): ReactNode;
