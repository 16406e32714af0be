/** What this client says about its user: the choice of a status, and whether the person is at this device. */

import type { Call } from "./calls.js";
import type { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import type { Post } from "./outbox.js";
import { type Choice, isInForce } from "./self.js";
import type { SelfMessage } from "./wire.js";

type Activity = "active" | "idle";

export function createOwnStatus(host: Host) {
  let activity: Activity = "active";
  /** What the server was told last; undefined if that is not sure. */
  let toldActivity: Activity | undefined;
  /** The last choice that is not sent, when it was made, and the calls that wait for its answer. */
  let choice: Choice | undefined;
  let chosenAt = 0;
  let calls: Call<void>[] = [];
  /** Whether the choice was sent before a loss, without an answer. */
  let isRepeated = false;

  const settle = (waiting: readonly Call<void>[], error?: PresenceError): void => {
    for (const { resolve, reject } of waiting) error ? reject(error) : resolve();
  };

  const sendChoice = (post: Post): boolean => {
    if (!choice) return true;
    const [sent, sentAt, waiting] = [choice, chosenAt, calls];
    const { expiresIn, ...rest } = sent;
    // `expiresIn` counts from the call. A choice that ended while it waited is not sent.
    const left = expiresIn && expiresIn - (host.now() - sentAt) / 1_000;
    if (!(expiresIn && expiresIn > 0 && left && left <= 0)) {
      const isSent = post(
        { type: "SET_STATUS", ...rest, ...(left === undefined ? {} : { expiresIn: left }) },
        {
          accepted: () => settle(waiting),
          refused: (error) => settle(waiting, error),
          lost() {
            calls = [...waiting, ...calls];
            if (!choice) [choice, chosenAt, isRepeated] = [sent, sentAt, true];
          },
        },
      );
      if (!isSent) return false;
    } else settle(waiting);
    [choice, calls] = [undefined, []];
    return true;
  };

  const sendActivity = (post: Post): boolean => {
    const notSure = () => {
      toldActivity = undefined;
    };
    if (activity === toldActivity) return true;
    if (!post({ type: "ACTIVITY", state: activity }, { accepted() {}, refused: notSure, lost: notSure })) return false;
    toldActivity = activity;
    return true;
  };

  return {
    activity: () => activity,
    setActivity(next: Activity) {
      activity = next;
    },
    /** Return the activity for the URL of the next connection, which tells it the server. */
    activityInUrl: (): Activity => {
      toldActivity = activity;
      return activity;
    },
    flush: (post: Post) => sendChoice(post) && sendActivity(post),
    /** Choose a status. A choice that still waits is replaced, and its calls get the answer to this one. */
    choose(next: Choice, call: Call<void>) {
      [choice, chosenAt, isRepeated] = [next, host.now(), false];
      calls = [...calls, call];
    },
    /** This call no longer waits. A choice for which nobody waits is not sent. */
    withdraw(call: Call<void>) {
      calls = calls.filter((other) => other !== call);
      if (!calls.length) choice = undefined;
    },
    /** A choice that was sent before a loss need not be sent again if it is in force. */
    selfChanged(self: SelfMessage) {
      if (choice && isRepeated && isInForce(choice, self)) {
        settle(calls);
        [choice, calls] = [undefined, []];
      }
    },
    abandon(error: PresenceError) {
      settle(calls, error);
      [choice, calls] = [undefined, []];
    },
  };
}
