import type { Registered } from "./index.js";
import type { Presence, Status } from "./presence.js";

/** The user's own true state, on all of the user's devices. */
export interface Self extends Omit<Presence, "status" | "version"> {
  readonly status: Status | "invisible";
  /** What the user chose; `auto` if the status is detected. */
  readonly chosen: Choice["status"];
}

/** A status to choose. Omitted fields are empty: a choice replaces the one before as a whole. */
export interface Choice {
  status: "auto" | "online" | "away" | "busy" | "invisible";
  /** At most 140 characters. */
  text?: string;
  emoji?: string;
  /** Any JSON of at most 2 KB. */
  data?: Registered<"data">;
  /** Seconds until the previous permanent choice returns. */
  expiresIn?: number;
}
