import "server-only";

import type { UserRecord } from "./presence";

const API = process.env.PRESENCE_API ?? "http://localhost:3001/api/v1";

async function post<T>(path: string, body: unknown): Promise<T> {
  const response = await fetch(API + path, {
    method: "POST",
    headers: { authorization: `Bearer ${process.env.PRESENCE_API_KEY}`, "content-type": "application/json" },
    body: JSON.stringify(body),
    cache: "no-store",
    signal: AbortSignal.timeout(2_000),
  });
  if (!response.ok) throw new Error(`presenced: ${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Return a ticket with which a page of this user connects once, within 30 s. */
export async function newTicket(userId: string, name: string): Promise<string> {
  const { ticket } = await post<{ ticket: string }>("/tickets", { userId, presence: { display: { name } } });
  return ticket;
}

/** Return the presence of users. Empty if presenced does not respond, because pages work without it. */
export async function queryUsers(ids: string[]): Promise<UserRecord[]> {
  try {
    return (await post<{ users: UserRecord[] }>("/users/query", { users: ids })).users;
  } catch (error) {
    console.warn("presence is unknown:", error instanceof Error ? error.message : error);
    return [];
  }
}

/** Close all connections of a user, for example after a logout. */
export async function disconnect(userId: string): Promise<void> {
  await post(`/users/${encodeURIComponent(userId)}/disconnect`, {}).catch(console.warn);
}
