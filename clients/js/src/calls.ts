/** Calls of the application that wait for an answer of the server. */

import { PresenceError } from "./error.js";
import type { Message, Post } from "./outbox.js";

/** Maximum number of calls that wait. Further ones are rejected with `TOO_MANY_CALLS`. */
export const MAX_CALLS = 1_000;

export interface Call<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** Return a promise together with its functions. A rejection that nobody handles stays silent. */
export function deferred<T>(): Call<T> & { readonly promise: Promise<T> } {
  let call: Call<T> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    call = { resolve, reject };
  });
  promise.catch(() => {});
  return { promise, ...(call as unknown as Call<T>) };
}

export function tooManyCalls(): PresenceError {
  const details = { hint: "Wait for earlier calls before making more.", retryable: true };
  return new PresenceError("TOO_MANY_CALLS", `more than ${MAX_CALLS} calls wait`, details);
}

/** Requests of modules, in their order. A request without an answer is sent again on the next connection. */
export function createCalls() {
  let waiting: { readonly message: Message; readonly call: Call<Message> }[] = [];
  return {
    add(message: Message, call: Call<Message>) {
      if (waiting.length >= MAX_CALLS) call.reject(tooManyCalls());
      else waiting.push({ message, call });
    },
    withdraw(call: Call<Message>) {
      waiting = waiting.filter((other) => other.call !== call);
    },
    abandon(error: PresenceError) {
      for (const { call } of waiting.splice(0)) call.reject(error);
    },
    flush: (post: Post): boolean =>
      [...waiting].every((next) => {
        const { message, call } = next;
        const lost = () => void waiting.unshift(next);
        return post(message, { accepted: call.resolve, refused: call.reject, lost }) && waiting.shift();
      }),
  };
}
