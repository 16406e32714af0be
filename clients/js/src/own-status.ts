/** Requests about the user of this client: the choice of a status, and whether the person is at this device. */

import { type Call, complete } from "./calls.js";
import type { Host } from "./host.js";
import type { Post } from "./outbox.js";
import { type Choice, choiceInUrl, isInForce, isSameChoice } from "./self.js";
import type { SelfMessage } from "./wire.js";

type Activity = "active" | "idle";

interface Waiting {
  readonly choice: Choice;
  /** When the choice was made: `expiresIn` counts from then. */
  readonly at: number;
  /** Calls that wait for the answer. If all of them were aborted, the choice is not sent. */
  readonly calls: readonly Call<void>[];
  /** Whether the choice was sent on a lost connection, without an answer. */
  readonly isRepeated?: true;
  /** Whether the server accepted the choice, and restarted before SELF showed it. No call waits for it any more. */
  readonly isLost?: true;
}

export function createOwnStatus(host: Host) {
  let activity: Activity = "active";
  /** Last activity that was sent; undefined if the server may not have received it. */
  let sentActivity: Activity | undefined;
  /** The newest choice that is still to be sent. */
  let waiting: Waiting | undefined;
  /** A choice that the server has accepted, and that SELF does not show yet. If the server crashes now, it is lost. */
  let accepted: Waiting | undefined;
  /** The last SELF. */
  let shown: SelfMessage | undefined;

  /** Return the choice to send. */
  const next = () => (waiting?.isLost || waiting?.calls.some((call) => call.isWaiting()) ? waiting : undefined);

  const sendChoice = (post: Post): boolean => {
    const sent = next();
    if (!sent) return true;
    const { choice, at, calls } = sent;
    const elapsed = (host.now() - at) / 1_000;
    // A choice that expired while it waited is sent for a moment, because the server knows which choice returns then.
    const expiresIn = choice.expiresIn === undefined ? undefined : Math.max(choice.expiresIn - elapsed, 0.001);
    const isSent = post(
      { type: "SET_STATUS", ...choice, expiresIn },
      {
        accepted() {
          accepted = shown && isInForce(choice, shown) ? undefined : sent;
          complete(calls);
        },
        failed(error) {
          if (error) complete(calls, error);
          else waiting = waiting ? { ...waiting, calls: [...calls, ...waiting.calls] } : { ...sent, isRepeated: true };
        },
      },
    );
    if (isSent) waiting = undefined;
    return isSent;
  };

  const sendActivity = (post: Post): boolean => {
    const failed = () => {
      sentActivity = undefined;
    };
    const isSent = activity === sentActivity || post({ type: "ACTIVITY", state: activity }, { accepted() {}, failed });
    if (isSent) sentActivity = activity;
    return isSent;
  };

  return {
    activity: () => activity,
    setActivity(next: Activity) {
      activity = next;
    },
    /** Return the activity for the URL of the next connection. It counts as sent. */
    activityInUrl() {
      sentActivity = activity;
      return activity;
    },
    /**
     * Return the choice for the URL of the next connection, so that nobody sees another status first.
     *
     * If SELF does not show the last choice yet, only its status is in the URL, because a bad value in a URL ends the
     * client. The whole choice follows as a request.
     */
    choiceInUrl(now: number): Record<string, string | number> {
      const last = next() ?? accepted;
      if (!last) return choiceInUrl(shown, now);
      const { choice, at } = last;
      const { status, expiresIn } = choice;
      const until = expiresIn ? String(Math.round(now + at - host.now() + expiresIn * 1_000)) : "";
      return /^(online|away|busy|invisible) \d{0,15}$/.test(`${status} ${until}`) ? { status, until } : {};
    },
    flush: (post: Post) => sendChoice(post) && sendActivity(post),
    /** Choose a status. A choice that still waits is replaced, and its calls get the answer to this one. */
    choose(choice: Choice, call: Call<void>) {
      waiting = { choice, at: host.now(), calls: [...(waiting?.calls ?? []), call] };
    },
    /** Return the last SELF. */
    shown: () => shown,
    /** Go on from the last SELF of the page before its reload. */
    restore(self: SelfMessage | undefined) {
      shown = self;
    },
    /** The server has restarted. */
    restarted() {
      if (accepted) waiting ??= { ...accepted, isRepeated: true, isLost: true };
      accepted = undefined;
    },
    reset() {
      waiting = accepted = shown = undefined; // no call waits any more
    },
    /** SELF has arrived. A choice that was sent on a lost connection is not sent again if it is in force. */
    selfChanged(self: SelfMessage) {
      if (shown && !isSameChoice(shown, self)) accepted = undefined; // SELF shows it, or a later one of another device
      shown = self;
      if (!waiting?.isRepeated || !isInForce(waiting.choice, self)) return;
      complete(waiting.calls);
      waiting = undefined;
    },
  };
}
