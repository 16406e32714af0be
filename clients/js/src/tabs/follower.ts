/** The follower's part: its client talks to the leader, and goes on with the next one. */

import type { Message } from "../outbox.js";
import { type Agreement, type Bits, type ToFollower, tooMany } from "./channel.js";
import type { Tab } from "./shared-tab.js";

/** Maximum number of requests without an answer. Further ones are refused with `RATE_LIMITED`. */
const MAX_UNANSWERED = 500;

/** Milliseconds without an answer to a hello, after which the leader counts as hanging. */
const HANGING_MS = 4_000;

export type Follower = ReturnType<typeof createFollower>;

/** `steal`: take the lock of a leader that hangs. `add`: changes of what all tabs ask for. */
export function createFollower(tab: Tab, steal: () => void, add: (changes: Bits) => void) {
  const unanswered = new Map<unknown, Message>();
  let leader = "";
  let cancelSteal: (() => void) | undefined;

  const hello = (agreement?: Agreement): void => {
    cancelSteal?.();
    if (!agreement) cancelSteal = tab.host.schedule(HANGING_MS, steal);
    tab.post({ kind: "hello", from: tab.id, active: tab.isActive, ...(agreement ? { agreement } : {}) });
  };

  const deliver = (text: string): void => {
    const message = JSON.parse(text) as Message;
    unanswered.delete(message.id);
    tab.deliver(message, text);
  };

  /** A leader has connected. If it resumed the session where this tab is, nothing else happens. */
  const follow = (by: string, resumed: string | undefined): void => {
    if (tab.given && resumed === `${tab.given.split("~")[0]} ${tab.position}`) {
      leader = by;
      hello(tab.agreement());
      for (const request of unanswered.values()) tab.post({ kind: "request", from: tab.id, request });
    } else if (tab.isOpening()) hello();
    else if (tab.given || tab.isWaiting()) {
      tab.given = "";
      tab.restart();
    }
  };

  return {
    hello,
    send(request: Message) {
      if (request.type === "AUTH") return; // tokens stay in their tab
      if (unanswered.size < MAX_UNANSWERED) {
        unanswered.set(request.id, request);
        tab.post({ kind: "request", from: tab.id, request });
      } else queueMicrotask(() => deliver(JSON.stringify(tooMany(request)))); // no answer comes before `send` returns
    },
    /** The client has given up its connection: `isLost` if it got no answers. */
    closed(isLost: boolean) {
      unanswered.clear();
      cancelSteal?.();
      if (isLost) tab.post({ kind: "silence", from: tab.id });
    },
    received(message: ToFollower) {
      if ("to" in message && message.to !== tab.id) return;
      const { by } = message;
      const isCurrent = tab.given && by === leader;
      if (message.kind === "wait") cancelSteal?.();
      else if (message.kind === "full") tab.connectAlone();
      else if (message.kind === "leads") follow(by, message.resumed);
      else if (message.kind === "welcome" && tab.isOpening()) {
        cancelSteal?.();
        leader = by;
        add(message.union);
        const [first = "", ...rest] = message.texts;
        tab.open();
        tab.begin(first);
        for (const text of rest) if (text) deliver(text);
      } else if (!isCurrent) return;
      else if (message.kind === "text") deliver(message.text);
      else if (message.kind === "union") add(message.changes);
      else if (message.kind === "down") {
        tab.given = "";
        tab.end(message.code, message.reason);
      }
    },
  };
}
