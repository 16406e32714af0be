"use client";

import { useSyncExternalStore } from "react";
import type { PresenceClient } from "../client.js";
import type { Store } from "../store.js";
import { useShared } from "./provider.js";

const MINUTE_MS = 60_000;

const clocks = new WeakMap<PresenceClient, Store<number>>();

/** Return the last full minute of the server's time, in epoch milliseconds. All components share one timer. */
export function useClock(): number {
  const { client, renderedAt } = useShared();
  const clock = clocks.get(client) ?? createClock(client);
  return useSyncExternalStore(clock.subscribe, clock.get, () => renderedAt);
}

function createClock(client: PresenceClient): Store<number> {
  const listeners = new Set<() => void>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const start = () => {
    timer = setTimeout(
      () => {
        start();
        for (const listener of listeners) listener();
      },
      MINUTE_MS - (client.now() % MINUTE_MS),
    );
  };
  const clock = {
    get: () => Math.floor(client.now() / MINUTE_MS) * MINUTE_MS,
    subscribe(listener: () => void) {
      if (!listeners.size) start();
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
        if (!listeners.size) clearTimeout(timer);
      };
    },
  };
  clocks.set(client, clock);
  return clock;
}
