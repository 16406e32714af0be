/**
 * Whether the person is at this device.
 *
 *     active --no input for `idleAfter`, or hidden for `hiddenAfter`--> idle --input, or visible again--> active
 *
 * Each tab reports its own activity: for the server, one active device is enough.
 */

import type { Host, Signal } from "./host.js";

const IDLE_AFTER_S = 300;
const HIDDEN_AFTER_S = 60;

export class Activity {
  readonly #host: Host;
  readonly #changed: (activity: "active" | "idle") => void;
  readonly #idleAfterMs: number;
  readonly #hiddenAfterMs: number;
  #forced: boolean | null = null;
  #isHidden = false;
  #isIdle = false;
  #cancelTimer: (() => void) | undefined;
  #stopInput: (() => void) | undefined;

  constructor(
    host: Host,
    { idleAfter = IDLE_AFTER_S, hiddenAfter = HIDDEN_AFTER_S }: { idleAfter?: number; hiddenAfter?: number },
    changed: (activity: "active" | "idle") => void,
  ) {
    this.#host = host;
    this.#changed = changed;
    this.#idleAfterMs = idleAfter * 1_000;
    this.#hiddenAfterMs = hiddenAfter * 1_000;
  }

  start(): void {
    this.#stopInput ??= this.#host.onInput(() => this.#input());
    this.#input();
  }

  stop(): void {
    this.#stopInput?.();
    this.#cancelTimer?.();
    this.#stopInput = this.#cancelTimer = undefined;
  }

  signal(signal: Signal): void {
    if (signal === "hidden" || signal === "visible") {
      this.#isHidden = signal === "hidden";
      this.#input(); // a person has just shown or hidden the page
    }
  }

  /** Say whether the person is there; null detects it. */
  force(active: boolean | null): void {
    this.#forced = active;
    this.#report();
  }

  #input(): void {
    this.#isIdle = false;
    this.#report();
    this.#wait();
  }

  #wait(): void {
    this.#cancelTimer?.();
    const afterMs = this.#isHidden ? Math.min(this.#hiddenAfterMs, this.#idleAfterMs) : this.#idleAfterMs;
    this.#cancelTimer = this.#host.schedule(afterMs, () => {
      this.#isIdle = true;
      this.#report();
    });
  }

  #report(): void {
    this.#changed((this.#forced ?? !this.#isIdle) ? "active" : "idle");
  }
}
