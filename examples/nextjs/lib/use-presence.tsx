"use client";

import { createContext, type ReactNode, useContext, useEffect, useState, useSyncExternalStore } from "react";
import { createPresence, type Presence, type PresenceOptions, type PresenceState } from "./presence";

const PresenceContext = createContext<Presence | null>(null);

/** Keeps one connection open while it is mounted. Options are read once: give it a `key` to begin again. */
export function PresenceProvider({ options, children }: { options: () => PresenceOptions; children: ReactNode }) {
  const [presence] = useState(() => createPresence(options()));
  useEffect(() => presence.subscribe(() => {}), [presence]);
  return <PresenceContext.Provider value={presence}>{children}</PresenceContext.Provider>;
}

export function usePresence(): Presence {
  const presence = useContext(PresenceContext);
  if (!presence) throw new Error("usePresence needs a PresenceProvider above it");
  return presence;
}

/** Renders again when the selected value changes. Select a value or an object of the state, and create nothing. */
export function usePresenceState<T>(select: (state: PresenceState) => T): T {
  const presence = usePresence();
  const read = () => select(presence.getState());
  return useSyncExternalStore(presence.subscribe, read, read);
}
