/**
 * Messages between the tabs of one user, and their channel.
 *
 * The name of the channel contains the version: after a deployment, old and new tabs do not mix. Tokens never travel
 * over it.
 */

import type { Message } from "../outbox.js";
import { VERSION } from "../version.js";

/** Bits by scope, or their changes. 0: no longer. */
export type Bits = readonly (readonly [scope: string, bits: number])[];

/** Beside the scopes of subscriptions: whether the person is at one of the tabs. */
export const ACTIVE = "active";

/** State that a follower brings along to the next leader. */
export interface Agreement {
  readonly bits: Bits;
  readonly data: readonly (readonly [scope: string, data: unknown])[];
}

/** Messages to the leader have `from`, messages to followers have `by`: the ids of the tabs. */
export type TabMessage =
  /** A follower connects. With `agreement` it was connected to the previous leader and goes on. */
  | { readonly kind: "hello"; readonly from: string; readonly active: boolean; readonly agreement?: Agreement }
  | { readonly kind: "request"; readonly from: string; readonly request: Message }
  /** The follower leaves on purpose. */
  | { readonly kind: "bye"; readonly from: string }
  /** The follower gets no answers: the connection may be dead. */
  | { readonly kind: "silence"; readonly from: string }
  /** The leader is still connecting. */
  | { readonly kind: "wait"; readonly by: string; readonly to: string }
  /** There are too many followers. */
  | { readonly kind: "full"; readonly by: string; readonly to: string }
  /** First messages of the server for a new follower, and what all tabs subscribe to. */
  | {
      readonly kind: "welcome";
      readonly by: string;
      readonly to: string;
      readonly texts: readonly string[];
      readonly union: Bits;
    }
  /** The leader has connected: it resumed this session from this position, or began another one. */
  | { readonly kind: "leads"; readonly by: string; readonly resumed?: string }
  /** A message of the server, for one follower or for all. */
  | { readonly kind: "text"; readonly by: string; readonly to?: string; readonly text: string }
  | { readonly kind: "down"; readonly by: string; readonly code: number; readonly reason: string }
  /** Changes of what all tabs subscribe to. The next leader needs it. */
  | { readonly kind: "union"; readonly by: string; readonly changes: Bits };

export type ToLeader = Extract<TabMessage, { readonly from: string }>;
export type ToFollower = Extract<TabMessage, { readonly by: string }>;

/** Return the answer to a request that is one too many. */
export function tooMany({ id }: Message): Message {
  return { type: "ERROR", code: 120, name: "RATE_LIMITED", message: "too many requests of all tabs", id };
}

export interface Channel {
  post(message: TabMessage): void;
  close(): void;
}

/** The browser's means to share. */
export interface Means {
  readonly locks: LockManager;
  readonly Channel: typeof BroadcastChannel;
}

/** Return them, or undefined if there are none, as in Node.js and on pages from `http://`. */
export function meansToShare(): Means | undefined {
  const { navigator, BroadcastChannel: Channel } = globalThis as Partial<typeof globalThis>;
  return navigator?.locks && Channel && { locks: navigator.locks, Channel };
}

/** Return the name of the channel and of the leader's lock. */
export function topicOf(url: string, name: string): string {
  return `presenced ${VERSION} ${url.split("?")[0]} ${name}`;
}

export function openChannel(
  Channel: Means["Channel"],
  topic: string,
  received: (message: TabMessage) => void,
): Channel {
  const channel = new Channel(topic);
  channel.onmessage = ({ data }) => received(data);
  return { post: (message) => channel.postMessage(message), close: () => channel.close() };
}
