import type { Registered } from "./index.js";
import type { Status, UserId } from "./wire.js";

export type { Status, UserId };

/** Known state of a user. Times are epoch milliseconds on the server's clock; 0 and "" mean "none". */
export interface Presence {
  readonly userId: UserId;
  /** `unknown` until the server has answered. */
  readonly status: Status | "unknown";
  /** Whether the status is neither `offline` nor `unknown`. */
  readonly online: boolean;
  /** When the status began. */
  readonly since: number;
  /** When the user was last known to be there, if away or offline. */
  readonly lastSeen: number;
  /** When the chosen status ends. */
  readonly until: number;
  readonly text: string;
  readonly emoji: string;
  /** Why the status changed, if the server tells this client. */
  readonly cause: string;
  readonly data: Registered<"data"> | undefined;
  /** Display data from the user's token, such as a name. */
  readonly display: Registered<"display"> | undefined;
  /** Kinds of connected devices. */
  readonly devices: readonly string[];
  readonly version: number;
  /**
   * False if the user may have changed unnoticed, because the server has lost the store that it shares with other
   * servers. The rest is then the last known state.
   */
  readonly certain: boolean;
}

/** Everyone visible to this user who is not offline, by id as text. */
export interface Everyone extends ReadonlyMap<string, Presence> {
  /** False until the server has answered. */
  readonly known: boolean;
}

/** The users that a server rendered into the first HTML: the result of `snapshot` of `presenced/server`. */
export interface InitialPresence {
  /** When the server read it, in epoch milliseconds. */
  readonly at: number;
  readonly users: readonly object[];
}

/** Fields of a user's record that the client reads; omitted ones are empty. */
export type RecordOf = Partial<Omit<Presence, "online" | "certain">> & {
  readonly userId: UserId;
  readonly certainty?: string;
};

/** Return the presence that a record describes. */
export function toPresence({
  userId,
  status = "unknown",
  since = 0,
  lastSeen = 0,
  until = 0,
  text = "",
  emoji = "",
  cause = "",
  data,
  display,
  devices = [],
  version = 0,
  certainty,
}: RecordOf): Presence {
  return {
    userId,
    status,
    online: status !== "offline" && status !== "unknown",
    since,
    lastSeen,
    until,
    text,
    emoji,
    cause,
    data,
    display,
    devices,
    version,
    certain: certainty !== "stale",
  };
}
