/**
 * Whether the person is at this device.
 *
 *     active --no input for `idleAfter`, or hidden for `hiddenAfter`--> idle --input, or visible again--> active
 *
 * Each tab reports its own activity: for the server, one active device is enough.
 */

import type { Host } from "./host.js";

const IDLE_AFTER_S = 300;
const HIDDEN_AFTER_S = 60;

export function createActivity(
  host: Host,
  { idleAfter = IDLE_AFTER_S, hiddenAfter = HIDDEN_AFTER_S }: { idleAfter?: number; hiddenAfter?: number },
  changed: (activity: "active" | "idle") => void,
) {
  let forced: boolean | undefined;
  let isHidden = false;
  let isIdle = false;
  const running: (() => void)[] = [];
  let cancelTimer: (() => void) | undefined;

  const report = () => changed((forced ?? !isIdle) ? "active" : "idle");

  const input = (): void => {
    if (!running.length) return; // React Native still calls a listener that another one has just removed
    isIdle = false;
    report();
    cancelTimer?.();
    cancelTimer = host.schedule((isHidden ? Math.min(hiddenAfter, idleAfter) : idleAfter) * 1_000, () => {
      isIdle = true;
      report();
    });
  };

  return {
    start() {
      if (running.length) return;
      isHidden = host.isHidden();
      running.push(
        host.onInput(input),
        host.onSignal((signal) => {
          if (signal !== "hidden" && signal !== "visible") return;
          isHidden = signal === "hidden";
          input(); // a person has just shown or hidden the page
        }),
      );
      input();
    },
    stop() {
      cancelTimer?.();
      for (const stop of running.splice(0)) stop();
    },
    /** Say whether the person is there; undefined detects it. */
    force(active: boolean | undefined) {
      forced = active;
      report();
    },
  };
}
