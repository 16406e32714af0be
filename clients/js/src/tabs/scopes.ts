/** The scopes that a request names, and requests that name scopes. */

import type { Message } from "../outbox.js";
import { named } from "../requests.js";
import { EVERYONE, ROOM, USER } from "../scope.js";

export function scopesOf({ everyone, users, rooms, room }: Message): string[] {
  const all = (prefix: string, names: unknown) => ((names ?? []) as unknown[]).map((name) => prefix + name);
  return [...(everyone ? [EVERYONE] : []), ...all(USER, users), ...all(ROOM, rooms), ...all(ROOM, room && [room])];
}

export function watch(scopes: readonly string[], more = {}): Message {
  return { type: "WATCH", ...named(scopes.map((scope) => [scope])), ...more };
}

export function unwatch(scopes: readonly string[]): Message {
  return { ...watch(scopes), type: "UNWATCH" };
}
