"use client";

import { useSyncExternalStore } from "react";
import { useShared } from "./provider.js";

const MINUTE_MS = 60_000;
const TICK_MS = 10_000; // how late a new minute may show; a tick within a minute renders nothing

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval>;

/** Return the last full minute of the server's time, in epoch milliseconds. All components share one timer. */
export function useClock(): number {
  const { client, renderedAt } = useShared();
  const minute = () => Math.floor(client.now() / MINUTE_MS) * MINUTE_MS;
  return useSyncExternalStore(subscribe, minute, () => renderedAt);
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
