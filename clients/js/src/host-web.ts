/** The environment of a page, as far as it exists: the same code runs in Node and in workers, where there is less. */

import { PresenceError } from "./error.js";
import type { Host, Signal, SocketLike } from "./host.js";

const INPUTS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "scroll"];
const INPUT_PAUSE_MS = 1_000;

type Target = Pick<EventTarget, "addEventListener" | "removeEventListener">;

const root = globalThis as { window?: Target; document?: Document; WebSocket?: typeof WebSocket };

export const webHost: Host = {
  openSocket(url, protocols) {
    if (!root.WebSocket) {
      throw new PresenceError("NO_WEBSOCKET", "this environment has no WebSocket", {
        hint: "Node 22 and later have one. On Node 20, let host.openSocket return a WebSocket of the package ws.",
      });
    }
    return new root.WebSocket(url, protocols) as unknown as SocketLike;
  },
  now: () => Date.now(),
  random: () => Math.random(),
  schedule(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
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
      if (now < next) return;
      next = now + INPUT_PAUSE_MS;
      listener();
    });
  },
  onSignal(listener) {
    let isFrozen = false;
    const freeze = () => {
      isFrozen = true;
      listener("frozen");
    };
    // On return from the back/forward cache come `resume`, `visibilitychange` and `pageshow`: the first one counts.
    const restore = () => {
      if (!isFrozen) return;
      isFrozen = false;
      listener("restored");
    };
    const persisted = (event: Event) => (event as PageTransitionEvent).persisted;
    const signals: [Target | undefined, string, (event: Event) => void][] = [
      [root.document, "visibilitychange", () => listener(webHost.isHidden() ? "hidden" : "visible")],
      [root.document, "freeze", freeze],
      [root.document, "resume", restore],
      [root.window, "pagehide", (event) => (persisted(event) ? freeze() : listener("leaving"))],
      [root.window, "pageshow", (event) => persisted(event) && restore()],
      ...(["online", "offline"] as Signal[]).map((name): [Target | undefined, string, () => void] => [
        root.window,
        name,
        () => listener(name),
      ]),
      [root.window, "focus", () => listener("visible")],
    ];
    const removals = signals.map(([target, name, handle]) => listen(target, [name], handle));
    return () => {
      for (const remove of removals) remove();
    };
  },
};

function listen(target: Target | undefined, names: readonly string[], handle: (event: Event) => void): () => void {
  const options = { passive: true, capture: true }; // `scroll` does not bubble
  for (const name of names) target?.addEventListener(name, handle, options);
  return () => {
    for (const name of names) target?.removeEventListener(name, handle, options);
  };
}
