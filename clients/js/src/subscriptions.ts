/** Sends the requests that `requests.ts` plans, and completes the calls that wait for a room. */

import { type Call, complete } from "./calls.js";
import type { DesiredState } from "./desired-state.js";
import { PresenceError } from "./error.js";
import type { Message, Pending, Post } from "./outbox.js";
import type { Replica } from "./replica.js";
import type { Request, Requests } from "./requests.js";
import { bitsOf, COUNT, JOIN, setBits } from "./scope.js";
import { same } from "./store.js";
import type { Limits } from "./wire.js";

export type Subscriptions = ReturnType<typeof createSubscriptions>;

/**
 * `endedUnsurely` is called when nobody knows whether the server ended a subscription. If it did not, it sends no
 * snapshot for the next one. `rejected` is called for an error that no call waits for.
 */
export function createSubscriptions(
  desired: DesiredState,
  requests: Requests,
  { rooms, forgetUncovered }: Replica,
  endedUnsurely: () => void,
  rejected: (error: PresenceError) => void,
) {
  /** Calls that wait until their room is joined with its data, by scope. */
  const waiting = new Map<string, Call<void>[]>();
  /** The last JOIN or SET_MEMBER without an answer, by scope. */
  const lastOf = new Map<string, Request>();
  let wasExcessive = false;

  const answer = (scope: string, error?: PresenceError): void => {
    complete(waiting.get(scope) ?? [], error);
    waiting.delete(scope);
  };

  const send = (request: Request, post: Post): boolean => {
    const { message, changes } = request;
    const scope = changes[0]?.[0] ?? "";
    const answered = () => lastOf.get(scope) === request && lastOf.delete(scope);
    const pending: Pending = {
      accepted() {
        requests.accepted(request);
        // A LEAVE may have followed the JOIN.
        if (message.type === "JOIN" && bitsOf(requests.agreed, scope) & JOIN) rooms.setJoined(message.room, true);
        if (answered()) answer(scope);
      },
      failed(error) {
        answered();
        if (!error || error.code === "RATE_LIMITED") {
          requests.takeBack(request);
          if (message.type === "UNWATCH") endedUnsurely();
          return;
        }
        const refused = requests.reject(request, error.code);
        if (message.type === "JOIN") rooms.setJoined(message.room, false);
        if (refused === undefined) return;
        if (waiting.has(refused)) answer(refused, error);
        else rejected(error);
      },
    };
    if (!post(message as unknown as Message, pending)) return false;
    requests.sent(request);
    if ("data" in message || message.type === "JOIN") lastOf.set(scope, request);
    if (message.type === "LEAVE") rooms.setJoined(message.room, false);
    if (message.type === "UNWATCH" || message.type === "LEAVE") forgetUncovered();
    return true;
  };

  return {
    flush(post: Post, { maxWatchedUsers, maxMessageSize }: Limits): boolean {
      const isExcessive = desired.dropLingering(maxWatchedUsers);
      const isSent = requests.plan(maxWatchedUsers, maxMessageSize).every((request) => send(request, post));
      if (isExcessive && !wasExcessive) {
        const message = `more than ${maxWatchedUsers} users are watched by id`;
        rejected(new PresenceError("TOO_MANY_WATCHED", message, { hint: "Watch everyone, or a room." }));
      }
      wasExcessive = isExcessive;
      for (const scope of waiting.keys()) {
        const isJoined = bitsOf(requests.agreed, scope) & JOIN && !lastOf.has(scope);
        if (isJoined && same(requests.sentData.get(scope), desired.data.get(scope))) answer(scope);
      }
      return isSent;
    },
    /** Resolve the call when the room is joined with the data that is wanted then. After a refusal, it is tried again. */
    awaitMember(scope: string, call: Call<void>) {
      setBits(requests.refused, scope, bitsOf(requests.refused, scope) & COUNT); // a member receives the room in full
      waiting.set(scope, [...(waiting.get(scope) ?? []).filter((other) => other.isWaiting()), call]);
    },
  };
}
