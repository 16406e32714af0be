/** What this client says about its user: the choice of a status, and whether the person is at this device. */

import type { Call } from "./calls.js";
import type { PresenceError } from "./error.js";
import type { Host } from "./host.js";
import type { Post, Source } from "./outbox.js";
import { type Choice, isInForce } from "./self.js";
import type { SelfMessage } from "./wire.js";

type Activity = "active" | "idle";

interface Waiting {
  readonly choice: Choice;
  /** When it was chosen: `expiresIn` counts from then. */
  readonly at: number;
  readonly calls: Call<void>[];
}

export class OwnStatus implements Source {
  activity: Activity = "active";
  /** What the server was told last; empty if that is not sure. */
  toldActivity: Activity | "" = "";
  #waiting: Waiting | null = null;
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  flush(post: Post): boolean {
    return this.#sendChoice(post) && this.#sendActivity(post);
  }

  /** Choose a status. A choice that still waits is replaced, and its calls get the answer to this one. */
  choose(choice: Choice, call: Call<void>): void {
    this.#waiting = { choice, at: this.#host.now(), calls: [...(this.#waiting?.calls ?? []), call] };
  }

  /** This call no longer waits. A choice for which nobody waits is not sent. */
  withdraw(call: Call<void>): void {
    const calls = this.#waiting?.calls.filter((other) => other !== call) ?? [];
    this.#waiting = this.#waiting && calls.length ? { ...this.#waiting, calls } : null;
  }

  /** A choice that was sent before a loss need not be sent again if it is in force. */
  selfChanged(self: SelfMessage): void {
    if (!this.#waiting || !isInForce(this.#waiting.choice, self)) return;
    for (const { resolve } of this.#waiting.calls) resolve();
    this.#waiting = null;
  }

  abandon(error: PresenceError): void {
    for (const { reject } of this.#waiting?.calls ?? []) reject(error);
    this.#waiting = null;
  }

  #sendChoice(post: Post): boolean {
    const waiting = this.#waiting;
    if (!waiting) return true;
    const { choice, at, calls } = waiting;
    const { expiresIn, ...rest } = choice;
    const left = expiresIn === undefined ? undefined : expiresIn - (this.#host.now() - at) / 1_000;
    const resolve = () => {
      for (const call of calls) call.resolve();
    };
    this.#waiting = null;
    if (left !== undefined && left <= 0 && expiresIn !== undefined && expiresIn > 0) {
      resolve(); // it ended while it waited
      return true;
    }
    const isSent = post(
      { type: "SET_STATUS", ...rest, ...(left === undefined ? {} : { expiresIn: left }) },
      {
        accepted: resolve,
        refused: (error) => {
          for (const call of calls) call.reject(error);
        },
        lost: () => {
          this.#waiting = this.#waiting ? { ...this.#waiting, calls: [...calls, ...this.#waiting.calls] } : waiting;
        },
      },
    );
    if (!isSent) this.#waiting = waiting;
    return isSent;
  }

  #sendActivity(post: Post): boolean {
    const { activity } = this;
    if (activity === this.toldActivity) return true;
    const notSure = () => {
      this.toldActivity = "";
    };
    const isSent = post({ type: "ACTIVITY", state: activity }, { accepted() {}, refused: notSure, lost: notSure });
    if (isSent) this.toldActivity = activity;
    return isSent;
  }
}
