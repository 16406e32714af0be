import type { InitialPresence, UserId } from "../presence.js";
import type { RequestOptions, ServerOptions } from "./request.js";
import type { Endpoints } from "./rest.js";
export interface SnapshotOptions extends RequestOptions {
    /** Viewer of the page, who receives only visible users. Without it, it contains everything. */
    viewer?: UserId;
}
/** Return the users for the first HTML, or none if the server does not answer soon. */
export declare function snapshot(rest: Endpoints, server: ServerOptions, ids: Iterable<UserId>, { signal, timeout, retries, ...about }?: SnapshotOptions): Promise<InitialPresence>;
