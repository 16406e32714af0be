/** Selects, from the messages for all tabs, the part that concerns one tab. */

import type { SharedClient } from "../client.js";
import type { Message } from "../outbox.js";
import { bitsOf, COUNT, EVERYONE, FULL, JOIN, ROOM, USER } from "../scope.js";

/** Return the text for this tab, or undefined if it concerns only others. */
export function relevant({ agreed, hasMember }: SharedClient, message: Message, text: string): string | undefined {
  const has = (scope: string, bits: number): number => bitsOf(agreed, scope) & bits;
  const { type, watch, room } = message;
  if (type === "PRESENCE_COUNT") return has(room === undefined ? String(watch) : ROOM + room, COUNT) ? text : undefined;
  if (type === "ERROR" && room !== undefined) return has(ROOM + room, COUNT | FULL | JOIN) ? text : undefined;
  if (type === "ROOM_SNAPSHOT" || type === "ROOM_CHANGES") return has(ROOM + room, FULL | JOIN) ? text : undefined;
  if ((type !== "PRESENCE_SNAPSHOT" && type !== "PRESENCE_CHANGES") || has(EVERYONE, FULL)) return text;
  if (watch === EVERYONE) return undefined;
  const all = message.users as readonly { readonly userId: string | number }[];
  const users = all.filter(({ userId }) => has(USER + userId, FULL) || hasMember(String(userId)));
  return users.length === all.length ? text : JSON.stringify({ ...message, users });
}
