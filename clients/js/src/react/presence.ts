"use client";

import { useCallback } from "react";
import type { PresenceClient } from "../client.js";
import type { Presence, UserId } from "../presence.js";
import type { Store } from "../store.js";
import { useStore } from "./store.js";

/** Return what is known of a user. The component renders again only when this user changes. Null: unknown. */
export function usePresence(id: UserId | null): Presence {
  const key = id === null ? null : String(id); // 7 and "7" are the same user
  return useStore(
    useCallback((client: PresenceClient) => (key === null ? unread(client.user("")) : client.user(key)), [key]),
  );
}

/** Return a store of the same value that does not subscribe, here for a user who does not exist. */
function unread<T>(store: Store<T>): Store<T> {
  return { get: () => store.get(), subscribe: () => () => {} };
}
