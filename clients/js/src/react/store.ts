"use client";

import { useMemo, useSyncExternalStore } from "react";
import type { PresenceClient } from "../client.js";
import type { Store } from "../store.js";
import { useShared } from "./provider.js";

/** Chooses a store of a client. It must be the same function as long as it chooses the same store. */
export type Choose<T> = (client: PresenceClient) => Store<T>;

/**
 * Return the value of a store, or what `select` makes of it, and render again when that changes.
 *
 * `select` and `equal` may be inline. `select` is called once for each value, and may return new objects.
 */
export function useStore<T, S = T>(
  choose: Choose<T>,
  select?: (value: T) => S,
  equal: (a: S, b: S) => boolean = Object.is,
): S {
  const { client, rendered } = useShared();
  const store = useMemo(() => choose(client), [choose, client]);
  const subscribe = useMemo(() => (listener: () => void) => store.subscribe(listener), [store]);
  const get = useMemo(() => selecting(() => store, select, equal), [store, select, equal]);
  const getRendered = useMemo(
    () => selecting(() => choose(rendered()), select, equal),
    [choose, rendered, select, equal],
  );
  return useSyncExternalStore(subscribe, get, getRendered);
}

/** Return a function that reads a store. It returns the same object as long as the value is the same, or equal. */
function selecting<T, S>(
  open: () => Store<T>,
  select: ((value: T) => S) | undefined,
  equal: (a: S, b: S) => boolean,
): () => S {
  let store: Store<T> | undefined;
  let last: { value: T; selected: S } | undefined;
  return () => {
    store ??= open();
    const value = store.get();
    if (!last || last.value !== value) {
      const selected = select ? select(value) : (value as T & S);
      last = { value, selected: last && equal(last.selected, selected) ? last.selected : selected };
    }
    return last.selected;
  };
}
