"use client";

import type { HTMLAttributes, ReactNode } from "react";
import type { UserId } from "../presence.js";
import { useMinutesSince } from "./clock.js";
import { ago, type Labels } from "./labels.js";
import { usePresence } from "./presence.js";
import { useLabels } from "./provider.js";

export interface LastSeenProps extends HTMLAttributes<HTMLSpanElement> {
  userId: UserId | null;
  /** When your backend last saw the user, in epoch milliseconds. Used while the client has no time, unless the user is there. */
  fallback?: number | undefined;
  labels?: Partial<Labels>;
}

/** When a user was last there, such as "5 minutes ago", or else the status. Empty until one of the two is known. */
export function LastSeen({ userId, fallback = 0, labels, className = "", ...rest }: LastSeenProps): ReactNode {
  const { status, lastSeen } = usePresence(userId);
  const texts = useLabels(labels);
  const isThere = status === "online" || status === "busy";
  const time = lastSeen || (isThere ? 0 : fallback);
  const minutes = useMinutesSince(time);
  const known = status === "unknown" ? "" : texts[status];
  return (
    <span {...rest} className={`presenced-last-seen ${className}`} data-status={status}>
      {minutes === undefined ? known : ago(minutes, texts)}
    </span>
  );
}
