"use client";

import { useSyncExternalStore } from "react";
import { useShared } from "./provider.js";

const MINUTE_MS = 60_000;
const TICK_MS = 10_000; // how late a new minute may show; a tick within a minute renders nothing

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval>;

/**
 * Return the full minutes from `time`, in epoch milliseconds, until now by the server's clock. Undefined if the time is
 * 0, or before the first render in a browser without `initial`. All components share one timer.
 */
export function useMinutesSince(time: number): number | undefined {
  const { client, renderedAt } = useShared();
  const since = (now: number) => (time && now ? Math.floor((now - time) / MINUTE_MS) : undefined);
  return useSyncExternalStore(
    subscribe,
    () => since(client.now()),
    () => since(renderedAt),
  );
}

function subscribe(listener: () => void): () => void {
  if (!listeners.size) timer = setInterval(tick, TICK_MS);
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (!listeners.size) clearInterval(timer);
  };
}

function tick(): void {
  for (const listener of listeners) listener();
}
