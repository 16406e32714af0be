import type { ChangeRecord } from "./api.js";
import type { RequestOptions } from "./request.js";
import type { Endpoints } from "./rest.js";

/** Seconds for which a request waits for a change. Many proxies cut connections that are silent for a minute. */
const WAIT_S = 30;
const TIMEOUT_S = 40;

/** Maximum number of changes in one response. */
const PAGE = 1000;

/** A change of one user, and where to go on after it. */
export interface Change extends ChangeRecord {
  /** A cursor for `changes`, to go on from after a restart of your program. Up to 1,000 changes may come again. */
  readonly position: string;
}

/**
 * Follow the change feed by requests that wait. Unlike an event stream, they pass every proxy, and nothing is cut off
 * while the caller is busy.
 */
export async function* follow(
  rest: Endpoints,
  cursor: string | undefined,
  { signal }: Pick<RequestOptions, "signal"> = {},
): AsyncGenerator<Change, void, undefined> {
  // Without a cursor each request would begin at its own time.
  let after = cursor || (await rest.followChanges({}, { signal })).next;
  for (let patience = {}; ; patience = { retries: Infinity }) {
    const options = { signal, timeout: TIMEOUT_S, ...patience };
    const page = await rest.followChanges({ after, wait: WAIT_S, limit: PAGE }, options);
    const before = after;
    after = page.next;
    const last = page.changes.at(-1);
    for (const change of page.changes) yield { ...change, position: change === last ? after : before };
  }
}
