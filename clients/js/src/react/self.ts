"use client";

import { useMemo } from "react";
import type { PresenceClient } from "../client.js";
import type { Self } from "../self.js";
import { usePresenceClient } from "./provider.js";
import { useStore } from "./store.js";

/** Return the user's own state, null until it is known, and functions that change it. */
export function useSelf(): [Self | null, Pick<PresenceClient, "setStatus" | "setActive">] {
  const client = usePresenceClient();
  const actions = useMemo(
    (): Pick<PresenceClient, "setStatus" | "setActive"> => ({
      setStatus: (choice, signal) => client.setStatus(choice, signal),
      setActive: (active) => client.setActive(active),
    }),
    [client],
  );
  return [useStore(self), actions];
}

export const self = (client: PresenceClient) => client.self;
