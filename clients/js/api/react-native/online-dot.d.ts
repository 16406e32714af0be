import type { ReactNode } from "react";
import { type ViewProps } from "react-native";
import type { Presence, UserId } from "../presence.js";
import type { Labels } from "../react/labels.js";
export interface OnlineDotProps extends ViewProps {
    userId: UserId | null;
    /** Diameter in density-independent pixels; default 10. */
    size?: number;
    /** Colours in place of the default ones. */
    colors?: Partial<Record<Presence["status"], string>>;
    labels?: Partial<Labels>;
}
/** A dot for the status of a user: full while the user is online, else a ring. */
export declare function OnlineDot({ userId, size, colors, labels, style, ...rest }: OnlineDotProps): ReactNode;
