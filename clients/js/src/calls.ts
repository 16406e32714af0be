/** Calls of the application that wait for an answer of the server. */

import { PresenceError } from "./error.js";
import type { Message, Post } from "./outbox.js";

/** Maximum number of calls that wait. Further ones are rejected with `TOO_MANY_CALLS`. */
const MAX_CALLS = 1_000;

/** A call that waits. It is resolved or rejected once. A sender checks first whether it still waits. */
export interface Call<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
  isWaiting(): boolean;
}

/** Resolve calls, or reject them with an error. */
export function complete(calls: Iterable<Call<void>>, error?: PresenceError): void {
  for (const call of calls) error ? call.reject(error) : call.resolve();
}

/**
 * Create a call and pass it to `add`, which sends what it waits for. A call of a closed client is rejected at once, and
 * every call when `signal` aborts.
 */
export type AddCall = <T>(add: (call: Call<T>) => void, signal?: AbortSignal) => Call<T>;

export type Waiting = ReturnType<typeof createWaiting>;

/** Create the set of all calls that wait. */
export function createWaiting() {
  const waiting = new Set<{ reject(error: unknown): void }>();
  return {
    /** Return a call. A rejection that nobody handles stays silent. */
    add<T>(): Call<T> {
      const call = { isWaiting: () => waiting.has(call) } as { -readonly [K in keyof Call<T>]: Call<T>[K] };
      call.promise = new Promise<T>((resolve, reject) => {
        call.resolve = (value) => {
          waiting.delete(call);
          resolve(value);
        };
        call.reject = (error) => {
          waiting.delete(call);
          reject(error);
        };
      });
      call.promise.catch(() => {});
      waiting.add(call);
      if (waiting.size > MAX_CALLS) {
        const details = { hint: "Wait for earlier calls before making more.", retryable: true };
        call.reject(new PresenceError("TOO_MANY_CALLS", `more than ${MAX_CALLS} calls wait`, details));
      }
      return call;
    },
    /** Reject all of them. */
    abandon(error: PresenceError | null) {
      for (const { reject } of waiting) reject(error);
    },
  };
}

/** Requests of modules, in their order. A request without an answer is sent again on the next connection. */
export function createModuleRequests() {
  let waiting: (readonly [message: Message, call: Call<Message>])[] = [];
  return {
    add: (message: Message, call: Call<Message>) => waiting.push([message, call]),
    flush(post: Post): boolean {
      waiting = waiting.filter(([, call]) => call.isWaiting());
      return [...waiting].every((next) => {
        const [message, { resolve, reject }] = next;
        const isSent = post(message, {
          accepted: resolve,
          failed: (error) => (error ? reject(error) : waiting.unshift(next)),
        });
        if (isSent) waiting.shift();
        return isSent;
      });
    },
  };
}
