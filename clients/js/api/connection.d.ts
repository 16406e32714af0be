import type { PresenceError } from "./error.js";
/** State of the client's connection. */
export interface Connection {
    /**
     * `idle`: not connected yet. `waiting`: before the next attempt. `closed`: by `close()` or a missing token.
     * `failed`: the server refused in a way that trying again cannot fix; `error` says what to do.
     */
    readonly state: "idle" | "connecting" | "open" | "waiting" | "closed" | "failed";
    /**
     * Whether what is shown may be old: not open, not caught up, or the server has just restarted, or has lost the store
     * that it shares with other servers.
     */
    readonly stale: boolean;
    readonly error: PresenceError | null;
    /** When this state began, in epoch milliseconds on this machine's clock. */
    readonly since: number;
    /** Number of failed attempts in a row. */
    readonly attempt: number;
    /** When the next attempt begins, in epoch milliseconds on this machine's clock; 0 if none is planned. */
    readonly retryAt: number;
    /** Milliseconds of the last measured round trip; 0 if not measured yet. */
    readonly latency: number;
}
