"use client";

import { useCallback } from "react";
import type { PresenceClient } from "../client.js";
import type { Everyone, Presence, UserId } from "../presence.js";
import { useStore } from "./store.js";

type Users = ReadonlyMap<string, Presence>;

/**
 * Return several users by `String(id)`, or what `select` makes of them. With `equal`, an equal result does not render
 * again. `ids` are compared by value, so they may be an inline list.
 */
export function usePresences<T = Users>(
  ids: Iterable<UserId>,
  select?: (all: Users) => T,
  equal?: (a: T, b: T) => boolean,
): T {
  const key = JSON.stringify(Array.from(ids, String));
  const choose = useCallback((client: PresenceClient) => client.users(JSON.parse(key) as string[]), [key]);
  return useStore(choose, select, equal);
}

/** Return everyone visible to this user, except users who are offline, or the result of `select`. */
export function useEveryone<T = Everyone>(select?: (all: Everyone) => T, equal?: (a: T, b: T) => boolean): T {
  return useStore(everyone, select, equal);
}

const everyone = (client: PresenceClient) => client.everyone;
