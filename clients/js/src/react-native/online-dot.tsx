"use client";

import type { ReactNode } from "react";
import { View, type ViewProps } from "react-native";
import type { Presence, UserId } from "../presence.js";
import type { Labels } from "../react/labels.js";
import { usePresence } from "../react/presence.js";
import { useLabels } from "../react/provider.js";

export interface OnlineDotProps extends ViewProps {
  userId: UserId | null;
  /** Diameter in density-independent pixels; default 10. */
  size?: number;
  /** Colours in place of the default ones. */
  colors?: Partial<Record<Presence["status"], string>>;
  labels?: Partial<Labels>;
}

const COLORS: Record<Presence["status"], string> = {
  online: "#1f9d55",
  away: "#b7791f",
  busy: "#d64545",
  offline: "#616e7c",
  unknown: "#cbd2d9",
};

/** A dot for the status of a user: full while the user is online, else a ring. */
export function OnlineDot({ userId, size = 10, colors, labels, style, ...rest }: OnlineDotProps): ReactNode {
  const { status, online } = usePresence(userId);
  const color = colors?.[status] ?? COLORS[status];
  const shape = { width: size, height: size, borderRadius: size / 2, borderWidth: size / 5, borderColor: color };
  return (
    <View
      accessible
      accessibilityRole="image"
      accessibilityLabel={useLabels(labels)[status]}
      {...rest}
      style={[shape, online && { backgroundColor: color }, style]}
    />
  );
}
