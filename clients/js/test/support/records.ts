/** Messages of the server, for tests that play it by hand. */

import type { FakeHost } from "./fake-host.js";
import { settle } from "./fake-host.js";
import type { Message } from "./fake-socket.js";

type Fields = Readonly<Record<string, unknown>>;

export const record = (userId: string | number, status: string, version: number, fields: Fields = {}) => ({
  userId,
  status,
  since: 1_000 + version,
  version,
  ...fields,
});

export const snapshot = (watch: "users" | "everyone", users: readonly Fields[], page = 1, pages = 1): Message => ({
  type: "PRESENCE_SNAPSHOT",
  watch,
  page,
  pages,
  users,
});

let lastPosition = 1;

export const changes = (...users: readonly Fields[]): Message => {
  lastPosition += 1;
  return { type: "PRESENCE_CHANGES", position: `epoch-1-${lastPosition}`, users };
};

export const member = (userId: string, version: number, data?: unknown) => ({
  userId,
  joinedAt: 5_000,
  presence: record(userId, "online", version),
  ...(data === undefined ? {} : { data }),
});

export const roomSnapshot = (room: string, members: readonly Fields[], fields: Fields = {}): Message => ({
  type: "ROOM_SNAPSHOT",
  room,
  mode: "full",
  count: members.length,
  page: 1,
  pages: 1,
  members,
  ...fields,
});

/** The server sends these messages on the newest connection. */
export async function receive(host: FakeHost, ...messages: readonly Message[]): Promise<void> {
  for (const message of messages) host.socket.receive(message);
  await settle();
}
