"use client";

import type { HTMLAttributes, ReactNode } from "react";
import type { UserId } from "../presence.js";
import type { Labels } from "./labels.js";
import { usePresence } from "./presence.js";
import { useLabels } from "./provider.js";

export interface OnlineDotProps extends HTMLAttributes<HTMLSpanElement> {
  userId: UserId | null;
  labels?: Partial<Labels>;
}

/** A dot for the status of a user. `presenced/react/dots.css` gives it a size and a colour. */
export function OnlineDot({ userId, labels, className = "", ...rest }: OnlineDotProps): ReactNode {
  const { status } = usePresence(userId);
  const name = useLabels(labels)[status];
  return <span role="img" aria-label={name} {...rest} className={`presenced-dot ${className}`} data-status={status} />;
}
