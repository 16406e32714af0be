import type { ChangeRecord } from "./api.js";
import type { RequestOptions } from "./request.js";
import type { Endpoints } from "./rest.js";
/** A change of one user, and where to go on after it. */
export interface Change extends ChangeRecord {
    /** A cursor for `changes`, to go on from after a restart of your program. Up to 1,000 changes may come again. */
    readonly position: string;
}
/**
 * Follow the change feed by requests that wait. Unlike an event stream, they pass every proxy, and nothing is cut off
 * while the caller is busy.
 */
export declare function follow(rest: Endpoints, cursor: string | undefined, { signal }?: Pick<RequestOptions, "signal">): AsyncGenerator<Change, void, undefined>;
