/**
 * Expiry of the known state: some time after the connection was lost, users, rooms and counts are unknown.
 *
 *     open --lost--> as known --`forgetAfter` seconds--> unknown
 *
 * While an attempt may resume the session, nothing is forgotten: the server would send only what was missed. The state is
 * then forgotten when that attempt fails.
 */

import type { Host } from "./host.js";
import type { Session } from "./session.js";

/** `forgetAfter`: seconds; undefined for the time in which the server keeps the session. */
export function createExpiry(host: Host, session: Session, forgetAfter: number | undefined) {
  let mayResume = false;
  /** Whether the state has expired during the current attempt. */
  let isOverdue = false;
  let cancel: (() => void) | undefined;

  const forget = (): void => {
    isOverdue = mayResume;
    if (!mayResume) session.forget();
  };

  return {
    /** An attempt begins, and may resume the session. */
    dialed() {
      mayResume = true;
    },
    opened() {
      cancel?.();
      mayResume = isOverdue = false;
    },
    /** The connection, or an attempt, ended. */
    lost(wasOpen: boolean) {
      mayResume = false;
      if (isOverdue) forget();
      if (!wasOpen) return;
      const after = forgetAfter ?? session.established()?.resumeWindow ?? 0;
      cancel = host.schedule(after * 1_000, forget);
    },
    stop: () => cancel?.(),
  };
}
