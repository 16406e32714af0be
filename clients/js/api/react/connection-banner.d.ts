import { type HTMLAttributes, type ReactNode } from "react";
import type { Labels } from "./labels.js";
export interface ConnectionBannerProps extends HTMLAttributes<HTMLSpanElement> {
    /** Seconds without a connection until the banner says so; default 5. */
    after?: number;
    labels?: Partial<Labels>;
}
/**
 * Says that what is shown may be old. It has no text while all is well, after `close()`, and in the first seconds.
 *
 * The element itself is always there, because screen readers announce only what changes within a live region.
 */
export declare function ConnectionBanner({ after, labels, children, ...props }: ConnectionBannerProps): ReactNode;
