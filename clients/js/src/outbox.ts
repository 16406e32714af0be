/**
 * Requests on their way, and what waits to be sent.
 *
 * *Sources* say what to send: subscriptions, the own status, calls of modules. Most of what waits in them is state, not
 * a queue. A microtask asks the sources in their order, as fast as the server's limit of requests allows. So whatever
 * changes in one turn of the event loop is one request.
 */

import { RETRYABLE_ERRORS } from "./codes.js";
import { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import { RateLimit } from "./rate-limit.js";
import type { Limits } from "./wire.js";

export type Message = Readonly<Record<string, unknown>> & { readonly type: string };

/** What becomes of a request: one of the three is called, once. */
export interface Pending {
  accepted(answer: Message): void;
  refused(error: PresenceError): void;
  /** The connection ended before an answer. */
  lost(): void;
}

/** Send a request, unless the limit of requests is reached: then return false, and be asked again later. */
export type Post = (message: Message, pending: Pending) => boolean;

export interface Source {
  /** Send what waits. Return false if `post` did. */
  flush(post: Post): boolean;
}

/** Milliseconds until the next request after the server refused one for its rate. */
const REFUSED_PAUSE_MS = 1_000;

export class Outbox {
  readonly #host: Host;
  readonly #sources: readonly Source[];
  /** Called for an error that answers no request, and after each flush and answer. */
  readonly #rejected: (error: PresenceError) => void;
  readonly #progress: () => void;
  readonly #pending = new Map<number, Pending>();
  readonly #rate = new RateLimit();
  #send: ((message: Message) => void) | null = null;
  #lastId = 0;
  #isPlanned = false;
  #cancelRetry: (() => void) | undefined;

  constructor(host: Host, sources: readonly Source[], rejected: (error: PresenceError) => void, progress: () => void) {
    this.#host = host;
    this.#sources = sources;
    this.#rejected = rejected;
    this.#progress = progress;
  }

  /** Whether everything is sent and answered. */
  get isDone(): boolean {
    return !this.#isPlanned && !this.#cancelRetry && this.#pending.size === 0;
  }

  /** The server takes requests. */
  open(send: (message: Message) => void, limits: Limits): void {
    this.#rate.start(limits.requestsPerSecond, limits.requestBurst, this.#host.now());
    this.#send = send;
    this.plan();
  }

  close(): void {
    this.#send = null;
    this.#isPlanned = false;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    const pending = [...this.#pending.values()].reverse(); // later requests build on earlier ones
    this.#pending.clear();
    for (const { lost } of pending) lost();
  }

  /** Something may have to be sent. */
  plan = (): void => {
    if (this.#isPlanned || !this.#send) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      if (this.#isPlanned) this.#flush();
    });
  };

  /** Send a request that does not wait for others, such as PING. Return whether there is a connection. */
  sendNow(message: Message, pending: Partial<Pending> = {}): boolean {
    if (!this.#send) return false;
    this.#rate.take(this.#host.now());
    this.#post(message, { accepted() {}, refused() {}, lost() {}, ...pending });
    return true;
  }

  /** Handle a message with the id of a request, or an error without one. */
  answered(answer: Message): void {
    const id = answer.id as number;
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (answer.type === "ERROR") {
      const name = String(answer.name);
      const retryable = RETRYABLE_ERRORS.includes(name);
      const error = new PresenceError(name, String(answer.message), { numericCode: Number(answer.code), retryable });
      if (pending) pending.refused(error);
      else this.#rejected(error);
      if (name === "RATE_LIMITED") this.#retryIn(REFUSED_PAUSE_MS);
    } else pending?.accepted(answer);
    this.plan();
    this.#progress();
  }

  #flush(): void {
    this.#isPlanned = false;
    if (this.#cancelRetry || !this.#send) return;
    const post: Post = (message, pending) => {
      const wait = this.#rate.take(this.#host.now());
      if (wait) this.#retryIn(wait);
      else this.#post(message, pending);
      return !wait;
    };
    this.#sources.every((source) => source.flush(post));
    this.#progress();
  }

  #retryIn(delayMs: number): void {
    this.#cancelRetry?.();
    this.#cancelRetry = this.#host.schedule(delayMs, () => {
      this.#cancelRetry = undefined;
      this.#flush();
    });
  }

  #post(message: Message, pending: Pending): void {
    this.#lastId += 1;
    this.#pending.set(this.#lastId, pending);
    this.#send?.({ ...message, id: this.#lastId });
  }
}
