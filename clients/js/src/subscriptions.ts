/** What is subscribed to and joined: sends `Requests`, and answers the calls that wait for a room. */

import { type Call, MAX_CALLS, tooManyCalls } from "./calls.js";
import { type DesiredState, JOIN, ROOM } from "./desired-state.js";
import { PresenceError } from "./error.js";
import type { Message, Post, Source } from "./outbox.js";
import { type Request, Requests } from "./requests.js";
import { same } from "./store.js";
import type { Limits } from "./wire.js";

interface Hooks {
  /** A subscription ended: forget what only it covered. */
  ended(): void;
  /** The server joined this client to a room, or the client left it. */
  joined(room: string, isMember: boolean): void;
  rejected(error: PresenceError): void;
}

export class Subscriptions implements Source {
  readonly requests: Requests;
  limits: Partial<Limits> = {};
  readonly #desired: DesiredState;
  readonly #hooks: Hooks;
  readonly #waiting = new Map<string, Call<void>[]>();
  /** Scopes of unanswered JOIN and SET_MEMBER. */
  readonly #unanswered = new Map<string, number>();
  #isExcessReported = false;

  constructor(desired: DesiredState, hooks: Hooks) {
    this.#desired = desired;
    this.#hooks = hooks;
    this.requests = new Requests(desired);
  }

  flush(post: Post): boolean {
    const { maxWatchedUsers = 1_000, maxMessageSize = 65_536 } = this.limits;
    for (const request of this.requests.plan(maxWatchedUsers, maxMessageSize)) {
      if (!post(request.message as unknown as Message, this.#pending(request))) return false;
      this.#sent(request);
    }
    this.#reportExcess(maxWatchedUsers);
    for (const scope of this.#waiting.keys()) this.#resolveIfJoined(scope);
    return true;
  }

  /** Resolve the call when the room is joined with the data that is wanted then. */
  awaitMember(room: string, call: Call<void>): void {
    const scope = ROOM + room;
    const calls = this.#waiting.get(scope) ?? [];
    if (calls.length >= MAX_CALLS) call.reject(tooManyCalls());
    else this.#waiting.set(scope, [...calls, call]);
  }

  abandon(error: PresenceError, scopes: Iterable<string> = [...this.#waiting.keys()]): void {
    for (const scope of scopes) {
      const calls = this.#waiting.get(scope) ?? [];
      this.#waiting.delete(scope);
      for (const { reject } of calls) reject(error);
    }
  }

  #sent(request: Request): void {
    this.requests.sent(request);
    const { type } = request.message;
    const scope = request.changes[0]?.scope ?? "";
    if (type === "JOIN" || type === "SET_MEMBER") this.#unanswered.set(scope, (this.#unanswered.get(scope) ?? 0) + 1);
    if (type === "LEAVE") this.#hooks.joined(request.message.room, false);
    if (type === "UNWATCH" || type === "LEAVE") this.#hooks.ended();
  }

  #pending(request: Request) {
    const { message, changes } = request;
    const scope = changes[0]?.scope ?? "";
    const isOfMember = message.type === "JOIN" || message.type === "SET_MEMBER";
    const answered = () => {
      if (isOfMember) this.#unanswered.set(scope, (this.#unanswered.get(scope) ?? 1) - 1);
    };
    return {
      accepted: () => {
        answered();
        this.requests.accepted(request);
        if (message.type === "JOIN") this.#hooks.joined(message.room, true);
        this.#resolveIfJoined(scope);
      },
      refused: (error: PresenceError) => {
        answered();
        if (error.code === "RATE_LIMITED") return this.requests.takeBack(request);
        const refused = this.requests.refused(request);
        if (refused === undefined) return;
        if (this.#waiting.has(refused)) this.abandon(error, [refused]);
        else this.#hooks.rejected(error);
      },
      lost: () => {
        answered();
        this.requests.takeBack(request);
      },
    };
  }

  #resolveIfJoined(scope: string): void {
    const { agreed, sentData } = this.requests;
    if (this.#unanswered.get(scope) || !((agreed.get(scope) ?? 0) & JOIN)) return;
    if (!same(sentData.get(scope), this.#desired.data.get(scope))) return;
    const calls = this.#waiting.get(scope) ?? [];
    this.#waiting.delete(scope);
    this.#unanswered.delete(scope);
    for (const { resolve } of calls) resolve();
  }

  #reportExcess(maximum: number): void {
    const { isExcessive } = this.requests;
    if (isExcessive && !this.#isExcessReported) {
      const message = `more than ${maximum} users are watched by id`;
      this.#hooks.rejected(new PresenceError("TOO_MANY_WATCHED", message, { hint: "Watch everyone, or a room." }));
    }
    this.#isExcessReported = isExcessive;
  }
}
