/**
 * Finds connections that are dead although the browser reports them as open, as after a sleep.
 *
 * A browser answers the server's pings by itself, and does not show them. The client therefore sends a PING of its own
 * when nothing has arrived for a heartbeat interval, while the page is visible.
 */

import type { Host } from "./host.js";

/** Milliseconds without any message after a PING, until the connection counts as lost: after a signal of the page. */
const PROBE_MS = 3_000;

/** The same for a PING after a heartbeat interval. */
const HEARTBEAT_MS = 10_000;

/** A message this recent proves that the connection works. */
const RECENT_MS = 2_000;

export function createHeartbeat(host: Host, isVisible: () => boolean, ping: () => void, lost: () => void) {
  let intervalMs = 0;
  let heardAt = 0;
  /** When the last PING counts as lost; 0 if a message has arrived since. */
  let deadline = 0;
  let cancel: (() => void) | undefined;

  const wait = (delayMs: number): void => {
    cancel?.();
    cancel = host.schedule(delayMs, () => {
      const left = (deadline || heardAt + intervalMs) - host.now();
      if (left > 0 && left <= intervalMs)
        wait(left); // otherwise the clock went back
      else if (deadline) lost();
      else if (isVisible()) probe(HEARTBEAT_MS);
      else wait(intervalMs); // nobody sees the page
    });
  };

  /** Send a PING, unless one is on its way: further signals of the page do not prolong its time. */
  const probe = (patienceMs: number): void => {
    const end = host.now() + patienceMs;
    if (!deadline) ping();
    deadline = deadline ? Math.min(deadline, end) : end;
    wait(deadline - host.now());
  };

  return {
    /** Begin. `heard` has been called for the first message. */
    start(interval: number) {
      intervalMs = interval;
      wait(interval);
    },
    stop: () => cancel?.(),
    /** A message arrived. */
    heard() {
      heardAt = host.now();
      deadline = 0;
    },
    /** The page or the network is back: find out soon whether the connection still works. */
    probe() {
      if (Math.abs(host.now() - heardAt) >= RECENT_MS) probe(PROBE_MS);
    },
  };
}
