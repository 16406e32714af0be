/** Calls of the application that wait for an answer of the server. */

import { PresenceError } from "./error.js";
import type { Message, Post, Source } from "./outbox.js";

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
  return new PresenceError("TOO_MANY_CALLS", `more than ${MAX_CALLS} calls wait for an answer`, {
    hint: "Wait for earlier calls before making more.",
    retryable: true,
  });
}

/** Requests of modules, in their order. A request without an answer is sent again on the next connection. */
export class Calls implements Source {
  #waiting: { readonly message: Message; readonly call: Call<Message> }[] = [];

  add(message: Message, call: Call<Message>): void {
    if (this.#waiting.length >= MAX_CALLS) call.reject(tooManyCalls());
    else this.#waiting.push({ message, call });
  }

  withdraw(call: Call<Message>): void {
    this.#waiting = this.#waiting.filter((other) => other.call !== call);
  }

  abandon(error: PresenceError): void {
    for (const { call } of this.#waiting.splice(0)) call.reject(error);
  }

  flush(post: Post): boolean {
    for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
      const { message, call } = next;
      const again = next;
      const pending = { accepted: call.resolve, refused: call.reject, lost: () => void this.#waiting.unshift(again) };
      if (!post(message, pending)) return false;
      this.#waiting.shift();
    }
    return true;
  }
}
