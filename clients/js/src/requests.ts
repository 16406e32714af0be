/**
 * Requests that bring the session to the desired state, and what the server has agreed to.
 *
 * `agreed` counts a request as accepted when it is sent, so nothing is requested twice. An error takes it back, and a
 * lost connection takes back all that is unanswered. The difference to the desired state is then requested again.
 * Requests are idempotent, so this is safe even if the server had accepted them.
 *
 *     UNWATCH     everything no longer wanted       one message
 *     LEAVE       rooms no longer joined            one message each
 *     JOIN        rooms to join, with their data    one message each
 *     SET_MEMBER  changed data                      one message each
 *     WATCH       everything new                    one message, or as many as `maxMessageSize` demands
 *
 * A refused WATCH has no effect at all. The next ones have half its length, until the refused scope stands alone. That
 * scope is not requested again until the application ends and renews its interest, or another session or token begins.
 */

import type { DesiredState } from "./desired-state.js";
import { bitsOf, COUNT, EVERYONE, FULL, JOIN, nameOf, ROOM, setBits, USER } from "./scope.js";
import { same } from "./store.js";
import type { ClientMessage, UserId } from "./wire.js";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

/** A scope that a request changes, with its bits before and after it. */
type Change = readonly [scope: string, before: number, after: number];

export interface Request {
  readonly message: WithoutId<ClientMessage>;
  readonly changes: readonly Change[];
}

/** Bytes of a message besides the ids that it names. */
const OVERHEAD = 200;

export type Requests = ReturnType<typeof createRequests>;

export function createRequests(desired: DesiredState) {
  /** Bits of each scope that the server has agreed to, unanswered requests included. */
  const agreed = new Map<string, number>();
  /** Data last sent for each joined room, by scope. */
  const sentData = new Map<string, unknown>();
  /** Data last accepted for each joined room, by scope. */
  const acceptedData = new Map<string, unknown>();
  /** Bits that the server may have agreed to, of scopes whose last request stayed unanswered. */
  const unsure = new Map<string, number>();
  /** Refused bits of each scope. */
  const refused = new Map<string, number>();
  /** Maximum number of scopes in one WATCH, while it is unknown which scope of an earlier one is refused. */
  let maxScopes: number | undefined;

  const wantedBits = (scope: string): number => {
    const bits = bitsOf(desired.scopes, scope);
    return bits & JOIN ? bits | FULL : bits;
  };

  /** Return the bits to reach, without what the server refused or does not allow. */
  const target = (maxWatchedUsers: number): Map<string, number> => {
    const goals = new Map<string, number>();
    let users = 0;
    // Scopes that were not wanted meanwhile are tried again.
    for (const [scope, bits] of refused) setBits(refused, scope, bits & wantedBits(scope));
    for (const scope of desired.scopes.keys()) {
      if (!scope.startsWith(USER) || ++users <= maxWatchedUsers)
        setBits(goals, scope, wantedBits(scope) & ~bitsOf(refused, scope));
    }
    return goals;
  };

  return {
    agreed,
    sentData,
    acceptedData,
    unsure,
    refused,
    /** Return the requests that are still to send, in order. */
    plan(maxWatchedUsers: number, maxMessageSize: number): Request[] {
      const wanted = target(maxWatchedUsers);
      const bits = new Map(agreed);
      const unwatch: Change[] = [];
      const rooms: Request[] = [];
      for (const scope of new Set([...agreed.keys(), ...unsure.keys()])) {
        const before = bitsOf(agreed, scope) | bitsOf(unsure, scope);
        const lost = before & ~bitsOf(wanted, scope);
        if (lost & JOIN) {
          const counted = bitsOf(agreed, scope) & COUNT; // LEAVE does not end the count
          bits.set(scope, counted);
          rooms.push({ message: { type: "LEAVE", room: nameOf(scope) }, changes: [[scope, before, counted]] });
        } else if (lost & FULL || (lost && !wanted.has(scope))) {
          bits.set(scope, 0); // UNWATCH ends the count, too. A count of what is also watched in full stays
          unwatch.push([scope, before, 0]);
        }
      }
      const watch: Change[] = [];
      const count: Change[] = [];
      for (const [scope, goal] of wanted) {
        let has = bitsOf(bits, scope);
        const room = nameOf(scope);
        const data = desired.data.get(scope);
        if (goal & ~has & JOIN) {
          rooms.push({ message: { type: "JOIN", room, data }, changes: [[scope, has, has | JOIN | FULL]] });
          has |= JOIN | FULL;
        } else if (goal & JOIN && !same(sentData.get(scope), data)) {
          rooms.push({ message: { type: "SET_MEMBER", room, data: data ?? null }, changes: [[scope, has, has]] });
        }
        if (goal & ~has & FULL) {
          watch.push([scope, has, has | FULL]);
          has |= FULL;
        }
        if (goal & ~has & COUNT) count.push([scope, has, has | COUNT]);
      }
      if (!watch.length && !count.length) maxScopes = undefined;
      const messages = (type: "WATCH" | "UNWATCH", changes: readonly Change[], mode = {}): Request[] =>
        batches(changes, maxMessageSize, maxScopes).map((batch) => ({
          message: { type, ...named(batch), ...mode },
          changes: batch,
        }));
      return [
        ...messages("UNWATCH", unwatch),
        ...rooms,
        ...messages("WATCH", watch),
        ...messages("WATCH", count, { mode: "count" }),
      ];
    },

    /** Record a request that was sent. */
    sent({ message, changes }: Request) {
      for (const [scope, , after] of changes) {
        setBits(agreed, scope, after);
        unsure.delete(scope);
        if (message.type === "JOIN" || message.type === "SET_MEMBER") sentData.set(scope, message.data ?? undefined);
        if (message.type === "LEAVE") sentData.delete(scope);
      }
    },

    /** Record that the server has accepted a request. */
    accepted({ message, changes: [change] }: Request) {
      if (change && "data" in message) acceptedData.set(change[0], message.data ?? undefined);
    },

    /** Take back a request without an answer: nobody knows whether the server accepted it. */
    takeBack({ message, changes }: Request) {
      for (const [scope, before, after] of changes) {
        // Several unanswered requests may have changed the scope.
        setBits(agreed, scope, bitsOf(agreed, scope) & before & after);
        setBits(unsure, scope, bitsOf(unsure, scope) | before | after);
        if (message.type === "SET_MEMBER") sentData.set(scope, unsure); // equal to nothing that may be wanted
      }
    },

    /**
     * Handle the refusal of a request. Return the scope whose request the server does not allow; undefined if the client
     * tries again with a part of the request, with newer data, or with JOIN.
     */
    reject({ message, changes }: Request, code: string): string | undefined {
      const { type } = message;
      const [first] = changes;
      if (type === "UNWATCH" || type === "LEAVE" || !first) return undefined; // nobody wants it any more
      const [scope, before, after] = first;
      if (message.type === "SET_MEMBER" && code !== "NOT_A_MEMBER" && bitsOf(agreed, scope) & JOIN) {
        // The client is still a member, with the data of before. Newer data may be on its way, or may wait.
        const data = message.data ?? undefined;
        const accepted = acceptedData.get(scope);
        if (same(sentData.get(scope), data)) sentData.set(scope, accepted);
        if (!same(desired.data.get(scope), data)) return undefined;
        desired.data.set(scope, accepted);
        return scope;
      }
      if (type === "SET_MEMBER") {
        // The client is no longer a member: it joins again, if that is allowed.
        setBits(agreed, scope, bitsOf(agreed, scope) & before & ~JOIN);
        return bitsOf(refused, scope) & JOIN ? scope : undefined;
      }
      for (const [each, bits] of changes) setBits(agreed, each, bits);
      if (changes.length > 1) {
        maxScopes = Math.ceil(changes.length / 2);
        return undefined;
      }
      // A room that is full may still be watched.
      setBits(refused, scope, bitsOf(refused, scope) | (type === "JOIN" ? JOIN : after & ~before));
      return scope;
    },

    /** Forget a scope, because the server has ended or lost everything about it. */
    forget(scope: string) {
      for (const map of [agreed, sentData, acceptedData, unsure]) map.delete(scope);
    },

    /** Forget everything: a new session has agreed to nothing. */
    clear() {
      for (const map of [agreed, sentData, acceptedData, unsure, refused]) map.clear();
      maxScopes = undefined;
    },
  };
}

/** Return the fields of WATCH and UNWATCH that name these scopes. */
export function named(changes: readonly (readonly [scope: string, ...unknown[]])[]): {
  everyone?: true;
  users?: UserId[];
  rooms?: string[];
} {
  const names = (prefix: string) => {
    const found = changes.flatMap(([scope]) => (scope.startsWith(prefix) ? nameOf(scope) : []));
    return found.length ? found : undefined; // JSON leaves it out
  };
  return { everyone: names(EVERYONE) && true, users: names(USER), rooms: names(ROOM) } as ReturnType<typeof named>;
}

/** Divide changes into batches, so that no message is too large. */
function batches(changes: readonly Change[], maxBytes: number, maxScopes: number | undefined): Change[][] {
  const result: Change[][] = [];
  let batch: Change[] = [];
  let bytesLeft = 0;
  for (const change of changes) {
    const text = JSON.stringify(change[0]);
    // A UTF-16 unit takes at most three bytes of UTF-8.
    const bytes = /[^\0-\x7f]/.test(text) ? text.length * 3 : text.length;
    if (bytes > bytesLeft || batch.length === maxScopes) {
      batch = [];
      bytesLeft = maxBytes - OVERHEAD;
      result.push(batch);
    }
    batch.push(change);
    bytesLeft -= bytes;
  }
  return result;
}
