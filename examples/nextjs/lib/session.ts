import "server-only";

import { createHmac, timingSafeEqual } from "node:crypto";
import { cookies } from "next/headers";
import { USERS, type User } from "./users";

// Replace this file by your own login. It keeps the id of the user in a signed cookie.

const COOKIE = "session";

function sign(id: string): string {
  const key = process.env.SESSION_KEY;
  if (!key) throw new Error("set SESSION_KEY to a random text");
  return createHmac("sha256", key).update(id).digest("base64url");
}

export async function currentUser(): Promise<User | undefined> {
  const [id = "", signature = ""] = ((await cookies()).get(COOKIE)?.value ?? "").split(".");
  const [given, expected] = [Buffer.from(signature), Buffer.from(sign(id))];
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  return USERS.find((user) => user.id === id);
}

export async function logIn(id: string): Promise<void> {
  if (!USERS.some((user) => user.id === id)) throw new Error("unknown user");
  (await cookies()).set(COOKIE, `${id}.${sign(id)}`, { httpOnly: true, sameSite: "lax" });
}

export async function logOut(): Promise<void> {
  (await cookies()).delete(COOKIE);
}
