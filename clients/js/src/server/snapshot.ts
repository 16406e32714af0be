import { PresenceError } from "../error.js";
import type { InitialPresence, UserId } from "../presence.js";
import type { RequestOptions, ServerOptions } from "./request.js";
import type { Endpoints } from "./rest.js";

/** Maximum number of users in one request. */
const MAX_USERS = 1000;

export interface SnapshotOptions extends RequestOptions {
  /** Viewer of the page, who receives only visible users. Without it, it contains everything. */
  viewer?: UserId;
}

/** Return the users for the first HTML, or none if the server does not answer soon. */
export async function snapshot(
  rest: Endpoints,
  server: ServerOptions,
  ids: Iterable<UserId>,
  { signal, timeout = 1, retries = 0, ...about }: SnapshotOptions = {},
): Promise<InitialPresence> {
  const wanted = [...ids];
  const requests = [];
  while (wanted.length) {
    requests.push(rest.queryUsers({ users: wanted.splice(0, MAX_USERS), ...about }, { signal, timeout, retries }));
  }
  const users: object[] = [];
  try {
    for (const found of await Promise.all(requests)) {
      // Few users may know causes, and without a viewer the server sends them.
      for (const { cause, ...user } of found.users) users.push(user);
    }
  } catch (error) {
    if (!(error instanceof PresenceError)) throw error; // the caller aborted it, or Next.js prerenders
    (server.onError ?? console.warn)(error);
  }
  return { at: Date.now(), users }; // not read earlier: Next.js refuses to prerender a time before the first request
}
