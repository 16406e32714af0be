/** Sends the subscriptions and memberships that `requests.ts` plans, and answers the calls that wait for a room. */

import { type Call, settle } from "./calls.js";
import type { DesiredState } from "./desired-state.js";
import { PresenceError } from "./error.js";
import type { Message, Pending, Post } from "./outbox.js";
import { createRequests, type Request } from "./requests.js";
import { bitsOf, JOIN } from "./scope.js";
import { same } from "./store.js";
import type { Limits } from "./wire.js";

interface Hooks {
  /** A subscription ended: forget what only it covered. */
  ended(): void;
  /** Nobody knows whether the server ended a subscription. If it did not, it sends no snapshot for the next one. */
  endedUnsurely(): void;
  /** The server joined this client to a room, or the client left it. */
  joined(room: string, isMember: boolean): void;
  rejected(error: PresenceError): void;
}

export function createSubscriptions(desired: DesiredState, hooks: Hooks) {
  const requests = createRequests(desired);
  /** Calls that wait until their room is joined with its data, by scope. */
  const waiting = new Map<string, Call<void>[]>();
  /** The last JOIN or SET_MEMBER without an answer, by scope. */
  const lastOf = new Map<string, Request>();
  let wasExcessive = false;

  const answer = (scope: string, error?: PresenceError): void => {
    settle(waiting.get(scope) ?? [], error);
    waiting.delete(scope);
  };

  const send = (request: Request, post: Post): boolean => {
    const { message, changes } = request;
    const scope = changes[0]?.[0] ?? "";
    const answered = () => lastOf.get(scope) === request && lastOf.delete(scope);
    const pending: Pending = {
      accepted() {
        // A LEAVE may have followed it.
        if (message.type === "JOIN" && bitsOf(requests.agreed, scope) & JOIN) hooks.joined(message.room, true);
        if (answered()) answer(scope);
      },
      failed(error) {
        answered();
        if (!error || error.code === "RATE_LIMITED") {
          requests.takeBack(request);
          if (message.type === "UNWATCH") hooks.endedUnsurely();
          return;
        }
        const refused = requests.reject(request);
        if (message.type === "JOIN") hooks.joined(message.room, false);
        if (refused === undefined) return;
        if (waiting.has(refused)) answer(refused, error);
        else hooks.rejected(error);
      },
    };
    if (!post(message as unknown as Message, pending)) return false;
    requests.sent(request);
    if ("data" in message || message.type === "JOIN") lastOf.set(scope, request);
    if (message.type === "LEAVE") hooks.joined(message.room, false);
    if (message.type === "UNWATCH" || message.type === "LEAVE") hooks.ended();
    return true;
  };

  return {
    requests,
    flush(post: Post, { maxWatchedUsers, maxMessageSize }: Limits): boolean {
      const isExcessive = desired.dropLingering(maxWatchedUsers);
      const isSent = requests.plan(maxWatchedUsers, maxMessageSize).every((request) => send(request, post));
      if (isExcessive && !wasExcessive) {
        const message = `more than ${maxWatchedUsers} users are watched by id`;
        hooks.rejected(new PresenceError("TOO_MANY_WATCHED", message, { hint: "Watch everyone, or a room." }));
      }
      wasExcessive = isExcessive;
      for (const scope of waiting.keys()) {
        const isJoined = bitsOf(requests.agreed, scope) & JOIN && !lastOf.has(scope);
        if (isJoined && same(requests.sentData.get(scope), desired.data.get(scope))) answer(scope);
      }
      return isSent;
    },
    /** Resolve the call when the room is joined with the data that is wanted then. */
    awaitMember: (scope: string, call: Call<void>) =>
      waiting.set(scope, [...(waiting.get(scope) ?? []).filter((other) => other.isWaiting()), call]),
  };
}
