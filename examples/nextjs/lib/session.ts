import "server-only";

import { createHmac, timingSafeEqual } from "node:crypto";
import { cookies, headers } from "next/headers";

// A small session, in a signed cookie. Replace this file by your own login.

const COOKIE = "session";
const DAYS = 7;

function sign(content: string): string {
  const key = process.env.SESSION_KEY ?? "";
  if (key.length < 32) throw new Error("set SESSION_KEY to at least 32 random characters");
  return createHmac("sha256", key).update(content).digest("base64url");
}

/** Return the id of the person who is signed in. */
export async function sessionUser(): Promise<string | null> {
  const [id = "", expires = "", signature = ""] = ((await cookies()).get(COOKIE)?.value ?? "").split(".");
  const [given, expected] = [Buffer.from(signature), Buffer.from(sign(`${id}.${expires}`))];
  const isGenuine = given.length === expected.length && timingSafeEqual(given, expected);
  return isGenuine && Number(expires) > Date.now() ? id : null;
}

export async function startSession(id: string): Promise<void> {
  const content = `${id}.${Date.now() + DAYS * 86_400_000}`;
  const secure = (await headers()).get("x-forwarded-proto") === "https";
  const options = { httpOnly: true, sameSite: "lax", secure, maxAge: DAYS * 86_400 } as const;
  (await cookies()).set(COOKIE, `${content}.${sign(content)}`, options);
}

export async function endSession(): Promise<void> {
  (await cookies()).delete(COOKIE);
}
