import { PresenceError } from "../error.js";
import type { ProblemDocument } from "./api.js";
import { type Deadline, deadline, sleep } from "./deadline.js";
import { foreign, problemError, unreachable } from "./problem.js";

/** Seconds before the first repetition. They double up to the maximum. */
const FIRST_WAIT_S = 0.25;
const MAX_WAIT_S = 30;

/** A longer `Retry-After` is left to the caller: the request fails at once, unless it may be repeated forever. */
const MAX_RETRY_AFTER_S = 10;

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
export async function request<T>(server: ServerOptions, call: Call, options: RequestOptions = {}): Promise<T> {
  const { timeout = 10, retries = 2, signal } = { ...server, ...options };
  const url = endpoint(server.url, call.path);
  for (let attempt = 0; ; attempt++) {
    let error: PresenceError;
    let waitS = 0;
    const limit = deadline(timeout, signal);
    try {
      const response = await (server.fetch ?? fetch)(url, {
        method: call.method,
        headers: {
          ...(call.body && { "content-type": "application/json" }),
          ...(server.apiKey && { authorization: `Bearer ${server.apiKey}` }),
        },
        body: call.body,
        signal: limit.signal,
        cache: "no-store", // Next.js would otherwise render the presence at build time into a static page
      });
      const content = await read(response, limit);
      if (response.ok) return content as T;
      error = problemError(content as ProblemDocument, response);
      waitS = Number(response.headers.get("retry-after"));
    } catch (cause) {
      limit.end();
      signal?.throwIfAborted();
      // Next.js ends the prerendering of a page by throwing out of `fetch`. It recognises its errors by `digest`.
      if ((cause as { digest?: string }).digest) throw cause;
      error = cause instanceof PresenceError ? cause : unreachable(url, cause);
    }
    const isFinal = attempt >= retries || (waitS > MAX_RETRY_AFTER_S && retries < Infinity);
    if (!error.retryable || isFinal) throw error;
    // Jitter, so that many clients do not return at once after a restart.
    await sleep(waitS || Math.min(MAX_WAIT_S, FIRST_WAIT_S * 2 ** attempt) * (0.5 + Math.random() / 2), signal);
  }
}

/** Return the URL of an endpoint. Without this check, `fetch` would fail as if the server were down, and be repeated. */
function endpoint(url: string | undefined, path: string): string {
  if (!/^(http|ws)s?:\/\/[^/?#\s]/i.test(`${url}`)) {
    throw new PresenceError("BAD_URL", `url is "${url}"`, { hint: "It starts with https:// or http://" });
  }
  return `${url}`.replace(/^ws/i, "http").replace(/(\/api\/v1)?\/*$/, `/api/v1${path}`);
}

/** Read what presenced sends: JSON, which its problems are as well, or an event stream, which the caller reads. */
async function read(response: Response, limit: Deadline): Promise<unknown> {
  if (response.headers.get("content-type") === "text/event-stream") {
    limit.stop();
    return response.body;
  }
  const text = await response.text();
  limit.end();
  try {
    return JSON.parse(text);
  } catch {
    throw foreign(response);
  }
}
