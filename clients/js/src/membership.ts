/** A membership: the application wants to be in a room until `leave`. Several of them may share one room. */

import { type AddCall, type Call, complete } from "./calls.js";
import type { DesiredState } from "./desired-state.js";
import { PresenceError } from "./error.js";
import type { Membership } from "./room.js";
import { JOIN, ROOM } from "./scope.js";
import type { Subscriptions } from "./subscriptions.js";

export function createMembership(
  desired: DesiredState,
  subscriptions: Subscriptions,
  addCall: AddCall,
  room: string,
  data: unknown,
): Membership {
  const scope = ROOM + room;
  let release: (() => void) | undefined;
  /** Calls of this membership that may still wait. */
  let calls: Call<void>[] = [];
  let isMember = true;

  const left = () => new PresenceError("LEFT", "left before the server answered");

  const setData = (value: unknown): Promise<void> => {
    let error = isMember ? undefined : left();
    try {
      // A copy: the application may change its object, and a proxy cannot be sent to another tab.
      const data = JSON.parse(JSON.stringify(value) ?? "null") ?? undefined;
      if (isMember) {
        desired.data.set(scope, data);
        release ??= desired.retain([scope], JOIN);
      }
    } catch (cause) {
      error ??= new PresenceError("BAD_REQUEST", `the data is not JSON: ${(cause as Error).message}`);
    }
    const call = addCall<void>((added) => (error ? added.reject(error) : subscriptions.awaitMember(scope, added)));
    calls = [...calls.filter((each) => each.isWaiting()), call];
    return call.promise;
  };

  return {
    joined: setData(data),
    setData,
    leave() {
      isMember = false;
      release?.();
      complete(calls, left());
    },
  };
}
