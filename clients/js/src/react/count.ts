"use client";

import { useCallback } from "react";
import type { PresenceClient } from "../client.js";
import { useStore } from "./store.js";

/** Return how many are online, without their names; null until it is known. */
export function useOnlineCount(scope: "everyone" | { room: string }): number | null {
  const room = scope === "everyone" ? null : scope.room;
  return useStore(useCallback((client: PresenceClient) => client.count(room === null ? "everyone" : { room }), [room]));
}
