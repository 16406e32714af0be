/**
 * Requests that bring the session to the desired state, and what the server has agreed to.
 *
 * `agreed` counts a request as accepted when it is sent, so nothing is requested twice. An error takes it back, and a
 * lost connection takes back whatever is unanswered. The difference to the desired state is then requested again.
 * Requests are idempotent, so this is safe even if the server had accepted them.
 *
 *     UNWATCH   everything no longer wanted       one message
 *     LEAVE     rooms no longer joined            one message each
 *     JOIN      rooms to join, with their data    one message each
 *     SET_MEMBER  changed data                    one message each
 *     WATCH     everything new                    one message, or as many as `maxMessageSize` demands
 *
 * A refused WATCH has no effect at all. It is split in halves until the refused scope stands alone. That scope is not
 * requested again until it is wanted anew, or another session or token begins.
 */

import { COUNT, type DesiredState, EVERYONE, FULL, JOIN, ROOM, USER } from "./desired-state.js";
import { same } from "./store.js";
import type { ClientMessage, UserId } from "./wire.js";

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

/** A scope that a request changes, with its bits before and after it. */
interface Change {
  readonly scope: string;
  readonly before: number;
  readonly after: number;
}

export interface Request {
  readonly message: WithoutId<ClientMessage>;
  readonly changes: readonly Change[];
}

/** Bytes of a message besides the ids that it names. */
const OVERHEAD = 200;

/** Stands for member data of which the server may or may not have heard. */
const UNSURE = Symbol();

export class Requests {
  /** Bits of each scope that the server has agreed to, unanswered requests included. */
  readonly agreed = new Map<string, number>();
  /** Data last sent for each joined room, by scope. */
  readonly sentData = new Map<string, unknown>();
  /** Whether more users are wanted than the server allows. */
  isExcessive = false;
  readonly #desired: DesiredState;
  /** Bits that the server may have agreed to, of scopes whose last request stayed unanswered. */
  readonly #unsure = new Map<string, number>();
  /** Refused bits of each scope. */
  readonly #refused = new Map<string, number>();
  /** Scopes that are requested apart from others, because a request with them was refused: the number of their part. */
  readonly #parts = new Map<string, number>();
  #lastPart = 0;

  constructor(desired: DesiredState) {
    this.#desired = desired;
  }

  /** Return the requests that are still to send, in order. */
  plan(maxWatchedUsers: number, maxMessageSize: number): Request[] {
    this.#desired.dropLingering(maxWatchedUsers);
    const target = this.#target(maxWatchedUsers);
    const bits = new Map(this.agreed);
    const unwatch: Change[] = [];
    const rooms: Request[] = [];
    for (const scope of new Set([...this.agreed.keys(), ...this.#unsure.keys()])) {
      const before = (this.agreed.get(scope) ?? 0) | (this.#unsure.get(scope) ?? 0);
      const lost = before & ~(target.get(scope) ?? 0);
      if (lost & JOIN) {
        bits.set(scope, before & COUNT); // LEAVE does not end the count
        rooms.push(single({ type: "LEAVE", room: nameOf(scope) }, scope, before, before & COUNT));
      } else if (lost & FULL || (lost && !target.has(scope))) {
        // UNWATCH ends a count, too. A count of what is also watched in full stays until both end.
        bits.set(scope, 0);
        unwatch.push({ scope, before, after: 0 });
      }
    }
    const watch: string[] = [];
    const count: string[] = [];
    for (const [scope, wanted] of target) {
      const has = bits.get(scope) ?? 0;
      const gained = wanted & ~has;
      const data = this.#desired.data.get(scope);
      const room = nameOf(scope);
      if (gained & JOIN) {
        bits.set(scope, has | JOIN | FULL);
        const message = { type: "JOIN" as const, room, ...(data === undefined ? {} : { data }) };
        rooms.push(single(message, scope, has, has | JOIN | FULL));
      } else {
        if (wanted & JOIN && !same(this.sentData.get(scope), data)) {
          rooms.push(single({ type: "SET_MEMBER", room, data: data ?? null }, scope, has, has));
        }
        if (gained & FULL) watch.push(scope);
      }
      if (gained & COUNT) count.push(scope);
    }
    return [
      ...batches(unwatch, maxMessageSize).map((changes) => ({
        message: { type: "UNWATCH" as const, ...named(changes) },
        changes,
      })),
      ...rooms,
      ...this.#watch(watch, FULL, bits, maxMessageSize),
      ...this.#watch(count, COUNT, bits, maxMessageSize),
    ];
  }

  /** A request is on its way. */
  sent({ message, changes }: Request): void {
    for (const { scope, after } of changes) {
      set(this.agreed, scope, after);
      this.#unsure.delete(scope);
      if (message.type === "JOIN" || message.type === "SET_MEMBER") this.sentData.set(scope, message.data ?? undefined);
      else if (message.type === "LEAVE") this.sentData.delete(scope);
    }
  }

  accepted({ changes }: Request): void {
    for (const { scope } of changes) this.#parts.delete(scope);
  }

  /** Take back a request without an answer: nobody knows whether the server accepted it. */
  takeBack({ message, changes }: Request): void {
    for (const { scope, before, after } of changes) {
      set(this.agreed, scope, before & after);
      set(this.#unsure, scope, before | after);
      if (message.type === "SET_MEMBER") this.sentData.set(scope, UNSURE);
    }
  }

  /** The server refused a request. Return the scope that it does not allow; none if a part of it will be tried. */
  refused({ message, changes }: Request): string | undefined {
    if (message.type === "UNWATCH" || message.type === "LEAVE") return undefined; // it is over anyway
    const [first] = changes;
    if (!first) return undefined;
    if (message.type === "SET_MEMBER") {
      set(this.agreed, first.scope, first.before & ~JOIN); // no member any more: join again
      return undefined;
    }
    for (const { scope, before } of changes) set(this.agreed, scope, before);
    if (changes.length === 1) {
      const { scope, before, after } = first;
      // Whoever may not join a full room may still watch it.
      const refused = message.type === "JOIN" ? JOIN : after & ~before;
      this.#refused.set(scope, (this.#refused.get(scope) ?? 0) | refused);
      return scope;
    }
    const parts = [++this.#lastPart, ++this.#lastPart] as const;
    for (const [index, { scope }] of changes.entries())
      this.#parts.set(scope, parts[index * 2 < changes.length ? 0 : 1]);
    return undefined;
  }

  /** The room has left mode `counts`: its members must be requested. */
  requestAgain(scope: string): void {
    set(this.agreed, scope, (this.agreed.get(scope) ?? 0) & ~FULL);
  }

  isRefused(scope: string): boolean {
    return this.#refused.has(scope);
  }

  /** Try refused scopes again: another token may allow them, or they are no longer wanted. */
  forgive(scope?: string): void {
    if (scope === undefined) this.#refused.clear();
    else this.#refused.delete(scope);
  }

  /** A new session has agreed to nothing. */
  clear(): void {
    this.agreed.clear();
    this.sentData.clear();
    this.#unsure.clear();
    this.#parts.clear();
    this.forgive();
  }

  #target(maxWatchedUsers: number): Map<string, number> {
    const target = new Map<string, number>();
    let users = 0;
    this.isExcessive = false;
    for (const [scope, wanted] of this.#desired.scopes) {
      const bits = (wanted & JOIN ? wanted | FULL : wanted) & ~(this.#refused.get(scope) ?? 0);
      if (scope.startsWith(USER) && ++users > maxWatchedUsers) this.isExcessive = true;
      else if (bits) target.set(scope, bits);
    }
    for (const scope of [...this.#refused.keys()]) if (!this.#desired.scopes.has(scope)) this.forgive(scope);
    return target;
  }

  #watch(scopes: readonly string[], bit: number, bits: Map<string, number>, maxMessageSize: number): Request[] {
    const parts = new Map<number, Change[]>();
    for (const scope of scopes) {
      const part = this.#parts.get(scope) ?? 0;
      const before = bits.get(scope) ?? 0;
      bits.set(scope, before | bit);
      const change = { scope, before, after: before | bit };
      const changes = parts.get(part);
      if (changes) changes.push(change);
      else parts.set(part, [change]);
    }
    const mode = bit === COUNT ? { mode: "count" as const } : {};
    return [...parts.values()]
      .flatMap((changes) => batches(changes, maxMessageSize))
      .map((changes) => ({
        message: { type: "WATCH" as const, ...named(changes), ...mode },
        changes,
      }));
  }
}

function single(message: Request["message"], scope: string, before: number, after: number): Request {
  return { message, changes: [{ scope, before, after }] };
}

function set(bits: Map<string, number>, scope: string, value: number): void {
  if (value) bits.set(scope, value);
  else bits.delete(scope);
}

/** Return the name of the user or room of a scope. */
export function nameOf(scope: string): string {
  return scope.slice(scope.indexOf(" ") + 1);
}

/** Return the fields of WATCH and UNWATCH that name these scopes. */
function named(changes: readonly Change[]): { everyone?: true; users?: UserId[]; rooms?: string[] } {
  const scopes = changes.map(({ scope }) => scope);
  const users = scopes.filter((scope) => scope.startsWith(USER)).map(nameOf);
  const rooms = scopes.filter((scope) => scope.startsWith(ROOM)).map(nameOf);
  return {
    ...(scopes.includes(EVERYONE) ? { everyone: true } : {}),
    ...(users.length ? { users } : {}),
    ...(rooms.length ? { rooms } : {}),
  };
}

/** Divide changes into batches whose messages are not too large. */
function batches(changes: readonly Change[], maxMessageSize: number): Change[][] {
  const result: Change[][] = [];
  let room = 0;
  for (const change of changes) {
    const text = JSON.stringify(change.scope);
    // A UTF-16 unit takes at most three bytes of UTF-8.
    const size = /[^\0-\x7f]/.test(text) ? text.length * 3 : text.length;
    if (size > room) {
      result.push([]);
      room = maxMessageSize - OVERHEAD;
    }
    room -= size;
    result.at(-1)?.push(change);
  }
  return result;
}
