"use client";

import type { HTMLAttributes, ReactNode } from "react";
import type { UserId } from "../presence.js";
import { useClock } from "./clock.js";
import { ago, type Labels } from "./labels.js";
import { usePresence } from "./presence.js";
import { useLabels } from "./provider.js";

export interface LastSeenProps extends HTMLAttributes<HTMLSpanElement> {
  userId: UserId | null;
  labels?: Partial<Labels>;
}

/** When a user was last there, such as "5 minutes ago", or else the status. Empty until the user is known. */
export function LastSeen({ userId, labels, className = "", ...rest }: LastSeenProps): ReactNode {
  const { status, lastSeen } = usePresence(userId);
  const now = useClock();
  const texts = useLabels(labels);
  const text = lastSeen && now ? ago(lastSeen, now, texts.language) : texts[status];
  return (
    <span {...rest} className={`presenced-last-seen ${className}`} data-status={status}>
      {status === "unknown" ? "" : text}
    </span>
  );
}
