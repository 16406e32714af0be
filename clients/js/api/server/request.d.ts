import { PresenceError } from "../error.js";
export interface ServerOptions {
    /** URL of the presence server: `http(s)://` or `ws(s)://`. `/api/v1` is appended if it is not there. */
    url: string;
    /** Printed by `presenced api-key`. Not needed on the server's own machine while authentication is off. */
    apiKey?: string | undefined;
    /** Seconds for each attempt of a request; default 10. */
    timeout?: number;
    /** How often a request is repeated that may succeed later; default 2. */
    retries?: number;
    /** Called with each failure that `snapshot` answers with no users; default `console.warn`. */
    onError?: (error: PresenceError) => void;
    /** Used instead of the global `fetch`. */
    fetch?: typeof fetch;
}
export interface RequestOptions {
    /** Aborts the request and its repetitions. The method then rejects with the signal's reason. */
    signal?: AbortSignal | undefined;
    /** Seconds for each attempt, instead of the server's option. */
    timeout?: number;
    /** Instead of the server's option. */
    retries?: number;
}
export interface Call {
    readonly method: string;
    /** Path below `/api/v1`, with its query. */
    readonly path: string;
    /** JSON; null for none. */
    readonly body: string | null;
}
/**
 * Send a request, and return the JSON of the response, or the body of an event stream. Problems that may pass, lost
 * connections and timeouts are retried: after `Retry-After`, otherwise after 250 ms, then 500 ms and so on, with jitter.
 *
 * Commands are safe to repeat: a second time they have no further effect.
 */
export declare function request<T>(server: ServerOptions, call: Call, options?: RequestOptions): Promise<T>;
