/**
 * Requests on their way, and requests that wait.
 *
 * *Sources* say what to send: subscriptions, the user's own status, calls of modules. Most of them hold state, not a
 * queue. A microtask asks the sources in their order, as fast as the server's limit of requests allows. All changes of
 * one turn of the event loop are therefore one request.
 */

import { RETRYABLE_ERRORS } from "./codes.js";
import { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import { createRateLimit } from "./rate-limit.js";
import type { Limits } from "./wire.js";

export type Message = Readonly<Record<string, unknown>> & { readonly type: string };

/** Outcome of a request: one of the two is called, once. */
export interface Pending {
  accepted(answer: Message): void;
  /** The server refused it, or, without an error, the connection ended before an answer. */
  failed(error?: PresenceError): void;
}

/** Send a request and return true. If the limit of requests is reached, return false: the source is asked again later. */
export type Post = (message: Message, pending: Pending) => boolean;

export interface Source {
  /** Send all requests that wait. Return false if `post` returned false. */
  flush(post: Post, limits: Limits): boolean;
}

/** Milliseconds until the next request after the server refused one for its rate. */
const REFUSED_PAUSE_MS = 1_000;

/** `rejected` is called for an error that answers no request, `progress` after each flush and answer. */
export function createOutbox(
  host: Host,
  sources: readonly Source[],
  rejected: (error: PresenceError) => void,
  progress: () => void,
) {
  const unanswered = new Map<number, Pending>();
  let send: ((message: Message) => void) | undefined;
  let limits: Limits;
  let waitFor: ReturnType<typeof createRateLimit>;
  let lastId = 0;
  let isPlanned = false;
  let cancelPause: (() => void) | undefined;

  const post = (message: Message, pending: Pending): void => {
    lastId += 1;
    unanswered.set(lastId, pending);
    send?.({ ...message, id: lastId });
  };

  const flush = (): void => {
    isPlanned = false;
    if (cancelPause || !send) return;
    const limited: Post = (message, pending) => {
      const wait = waitFor(host.now());
      if (wait) pause(wait);
      else post(message, pending);
      return !wait;
    };
    sources.every((source) => source.flush(limited, limits));
    progress();
  };

  const pause = (delayMs: number): void => {
    cancelPause?.();
    cancelPause = host.schedule(delayMs, () => {
      cancelPause = undefined;
      flush();
    });
  };

  /** Ask the sources soon, because one of them may have something to send. */
  const plan = (): void => {
    if (isPlanned) return;
    isPlanned = true;
    queueMicrotask(flush);
  };

  return {
    plan,
    /** Return whether everything is sent and answered. */
    isDone: () => !isPlanned && !cancelPause && !unanswered.size,
    /** Begin to send: the connection is open. */
    open(sendMessage: (message: Message) => void, newLimits: Limits) {
      limits = newLimits;
      waitFor = createRateLimit(limits.requestsPerSecond, limits.requestBurst, host.now());
      send = sendMessage;
      plan();
    },
    close() {
      cancelPause?.();
      send = cancelPause = undefined;
      const pending = [...unanswered.values()].reverse(); // later requests build on earlier ones
      unanswered.clear();
      for (const request of pending) request.failed();
    },
    /** Send a request that does not wait for others, such as PING. */
    sendNow(message: Message, accepted: Pending["accepted"]) {
      if (!send) return;
      waitFor(host.now());
      post(message, { accepted, failed() {} });
    },
    /** Handle a message with the id of a request, or an error without one. */
    answered(answer: Message) {
      const id = answer.id as number;
      const pending = unanswered.get(id);
      unanswered.delete(id);
      if (answer.type === "ERROR") {
        const name = String(answer.name);
        const details = { numericCode: Number(answer.code), retryable: RETRYABLE_ERRORS.includes(name) };
        (pending?.failed ?? rejected)(new PresenceError(name, String(answer.message), details));
        if (name === "RATE_LIMITED") pause(REFUSED_PAUSE_MS);
      } else pending?.accepted(answer);
      plan();
      progress();
    },
  };
}
