/** What is subscribed to and joined: sends what `requests.ts` plans, and answers the calls that wait for a room. */

import { type Call, MAX_CALLS, tooManyCalls } from "./calls.js";
import { type DesiredState, JOIN, ROOM } from "./desired-state.js";
import { PresenceError } from "./error.js";
import type { Message, Pending, Post } from "./outbox.js";
import { createRequests, type Request } from "./requests.js";
import { same } from "./store.js";
import type { Limits } from "./wire.js";

interface Hooks {
  /** A subscription ended: forget what only it covered. */
  ended(): void;
  /** The server joined this client to a room, or the client left it. */
  joined(room: string, isMember: boolean): void;
  rejected(error: PresenceError): void;
}

export type Subscriptions = ReturnType<typeof createSubscriptions>;

export function createSubscriptions(desired: DesiredState, hooks: Hooks) {
  const requests = createRequests(desired);
  const waiting = new Map<string, Call<void>[]>();
  /** Numbers of unanswered JOIN and SET_MEMBER, by scope. */
  const unanswered = new Map<string, number>();
  let isExcessReported = false;
  let limits: Partial<Limits> = {};

  const takeWaiting = (scope: string): Call<void>[] => {
    const calls = waiting.get(scope) ?? [];
    waiting.delete(scope);
    return calls;
  };

  const abandon = (error: PresenceError, scopes: Iterable<string> = [...waiting.keys()]): void => {
    for (const scope of scopes) for (const call of takeWaiting(scope)) call.reject(error);
  };

  const resolveIfJoined = (scope: string): void => {
    const isJoined = (requests.agreed.get(scope) ?? 0) & JOIN && !unanswered.get(scope);
    if (!isJoined || !same(requests.sentData.get(scope), desired.data.get(scope))) return;
    unanswered.delete(scope);
    for (const call of takeWaiting(scope)) call.resolve();
  };

  const count = (scope: string, change: number) => unanswered.set(scope, (unanswered.get(scope) ?? 0) + change);

  const send = (request: Request, post: Post): boolean => {
    const { message, changes } = request;
    const scope = changes[0]?.[0] ?? "";
    const isOfMember = message.type === "JOIN" || message.type === "SET_MEMBER";
    const pending: Pending = {
      accepted() {
        requests.accepted(request);
        if (isOfMember) count(scope, -1);
        if (message.type === "JOIN") hooks.joined(message.room, true);
        resolveIfJoined(scope);
      },
      refused(error) {
        if (error.code === "RATE_LIMITED") return pending.lost();
        if (isOfMember) count(scope, -1);
        const refused = requests.reject(request);
        if (refused === undefined) return;
        if (waiting.has(refused)) abandon(error, [refused]);
        else hooks.rejected(error);
      },
      lost() {
        if (isOfMember) count(scope, -1);
        requests.takeBack(request);
      },
    };
    if (!post(message as unknown as Message, pending)) return false;
    requests.sent(request);
    if (isOfMember) count(scope, 1);
    if (message.type === "LEAVE") hooks.joined(message.room, false);
    if (message.type === "UNWATCH" || message.type === "LEAVE") hooks.ended();
    return true;
  };

  return {
    requests,
    abandon,
    setLimits(next: Limits) {
      limits = next;
    },
    flush(post: Post): boolean {
      const { maxWatchedUsers = 1_000, maxMessageSize = 65_536 } = limits;
      const isSent = requests.plan(maxWatchedUsers, maxMessageSize).every((request) => send(request, post));
      if (requests.isExcessive() && !isExcessReported) {
        const message = `more than ${maxWatchedUsers} users are watched by id`;
        hooks.rejected(new PresenceError("TOO_MANY_WATCHED", message, { hint: "Watch everyone, or a room." }));
      }
      isExcessReported = requests.isExcessive();
      if (isSent) for (const scope of waiting.keys()) resolveIfJoined(scope);
      return isSent;
    },
    /** Resolve the call when the room is joined with the data that is wanted then. */
    awaitMember(room: string, call: Call<void>) {
      const calls = waiting.get(ROOM + room) ?? [];
      if (calls.length >= MAX_CALLS) call.reject(tooManyCalls());
      else waiting.set(ROOM + room, [...calls, call]);
    },
  };
}
