/** The environment of a page, as far as it exists: the same code runs in Node and in workers, where there is less. */

import { PresenceError } from "./error.js";
import type { Host, SocketLike } from "./host.js";

const INPUTS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "scroll"];
const INPUT_PAUSE_MS = 1_000;

/** Maximum delay of a timer in milliseconds, about 25 days. `setTimeout` calls at once for a longer one. */
const MAX_DELAY_MS = 2 ** 31 - 1;

const root = globalThis as { window?: EventTarget; document?: Document; WebSocket?: typeof WebSocket };

/** The environment of a page. A host of your own replaces parts of it, and may call them. */
export const webHost: Host = {
  openSocket(url, protocols) {
    if (!root.WebSocket) {
      throw new PresenceError("NO_WEBSOCKET", "this environment has no WebSocket", {
        hint: "Use Node 22, or let host.openSocket return a WebSocket of the package ws.",
      });
    }
    return new root.WebSocket(url, protocols) as unknown as SocketLike;
  },
  now: () => Date.now(),
  random: () => Math.random(),
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(delayMs, MAX_DELAY_MS));
    return () => clearTimeout(timer);
  },
  load(key) {
    try {
      return sessionStorage.getItem(key);
    } catch {
      return null; // there is none, or the browser forbids it
    }
  },
  save(key, value) {
    try {
      if (value === null) sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, value);
    } catch {
      // There is none, or it is full: the next page begins a new session.
    }
  },
  isHidden: () => root.document?.visibilityState === "hidden",
  onInput(listener) {
    let next = 0;
    return listen(root.window, INPUTS, () => {
      const now = Date.now();
      if (now < next && now >= next - INPUT_PAUSE_MS) return; // the clock may go back
      next = now + INPUT_PAUSE_MS;
      listener();
    });
  },
  onSignal(listener) {
    // On return from the back/forward cache come `resume`, `visibilitychange` and `pageshow`: the first one counts.
    let isFrozen = false;
    const handle = ({ type, persisted = true }: Event & { persisted?: boolean }) => {
      if (type === "freeze" || (type === "pagehide" && persisted)) {
        isFrozen = true;
        listener("frozen");
      } else if (type === "pagehide") listener("leaving");
      else if (type === "resume" || type === "pageshow") {
        if (isFrozen && persisted) listener("restored");
        isFrozen = false;
      } else if (type === "online" || type === "offline") listener(type);
      else listener(webHost.isHidden() ? "hidden" : "visible"); // visibilitychange, focus
    };
    const stopDocument = listen(root.document, ["visibilitychange", "freeze", "resume"], handle);
    const stopWindow = listen(root.window, ["pagehide", "pageshow", "online", "offline", "focus"], handle);
    return () => {
      stopDocument();
      stopWindow();
    };
  },
};

function listen(target: EventTarget | undefined, names: readonly string[], handle: (event: Event) => void): () => void {
  const options = { passive: true, capture: true }; // `scroll` does not bubble
  for (const name of names) target?.addEventListener(name, handle, options);
  return () => {
    for (const name of names) target?.removeEventListener(name, handle, options);
  };
}
