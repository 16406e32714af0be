/** The requests of all tabs, as one queue to the server. Each answer goes to the tab that asked. */

import type { Host } from "../host.js";
import { createOutbox, type Message, type Post } from "../outbox.js";
import type { Limits } from "../wire.js";
import { tooMany } from "./channel.js";

/** Maximum number of requests that wait to be sent. Further ones are refused with `RATE_LIMITED`. */
const MAX_QUEUE = 500;

/** A request, the id of the tab that gets the answer or "", and what to do if the server refuses it. */
type Entry = readonly [request: Message, tab: string, undo?: (() => void) | undefined];

/** `deliver` passes an answer to a tab. `answered` is called after each answer. */
export function createQueue(
  host: Host,
  deliver: (message: Message, text: string, tab: string) => void,
  answered: () => void,
) {
  let queue: Entry[] = [];

  const answer = (tab: string, message: Message): void => deliver(message, JSON.stringify(message), tab);

  /** Answer in place of the server. No answer comes before `send` returns, as from a server. */
  const answerSoon = (tab: string, message: Message): void => queueMicrotask(() => answer(tab, message));

  /** Send what waits. Without an answer, only requests that no tab waits for are sent again: clients repeat theirs. */
  const flush = (post: Post): boolean =>
    [...queue].every((entry) => {
      const [request, tab, undo] = entry;
      const replied = (message: Message) => {
        if (tab) answer(tab, { ...message, id: request.id });
        answered();
      };
      const isSent = post(request, {
        accepted: replied,
        failed(error) {
          if (error) {
            undo?.();
            replied({ type: "ERROR", code: error.numericCode, name: error.code, message: error.message });
          } else if (!tab) queue.unshift(entry);
        },
      });
      if (isSent) queue.shift();
      return isSent;
    });

  const outbox = createOutbox(
    host,
    [{ flush }],
    () => {},
    () => {},
  );

  return {
    answerSoon,
    /** Handle a message of the server that answers a request. */
    answered: outbox.answered,
    /** Send a request as soon as the server's limit allows it. */
    add(request: Message, tab = "", undo?: () => void) {
      if (tab && queue.length >= MAX_QUEUE) {
        undo?.();
        answerSoon(tab, tooMany(request));
        return;
      }
      // A tab whose PING waits takes the connection for dead.
      if (request.type === "PING") queue.unshift([request, tab, undo]);
      else queue.push([request, tab, undo]);
      outbox.plan();
    },
    /** The connection is open: send what waits. */
    open: (sendText: (text: string) => void, limits: Limits) =>
      outbox.open((message) => sendText(JSON.stringify(message)), limits),
    /** Drop all requests, because another session begins. */
    clear() {
      queue = [];
    },
    /** The connection is lost: clients repeat their requests by themselves. */
    lost() {
      queue = queue.filter(([, tab]) => !tab);
      outbox.close();
    },
    stop: outbox.close,
  };
}
