import "server-only";

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { cookies, headers } from "next/headers";
import { prisma } from "./database";

// Sessions in the database, by an id in a signed cookie. Replace this file by your own login.

const COOKIE = "session";
const SECONDS = 7 * 86_400;

function sign(id: string): string {
  const key = process.env.SESSION_KEY ?? "";
  if (key.length < 32) throw new Error("set SESSION_KEY to at least 32 random characters");
  return createHmac("sha256", key).update(id).digest("base64url");
}

/** Return the id of the session, if the cookie is genuine. */
async function sessionId(): Promise<string | null> {
  const [id = "", signature = ""] = ((await cookies()).get(COOKIE)?.value ?? "").split(".");
  const [given, expected] = [Buffer.from(signature), Buffer.from(sign(id))];
  return given.length === expected.length && timingSafeEqual(given, expected) ? id : null;
}

/** Return the id of the person who is signed in. */
export async function sessionUser(): Promise<string | null> {
  const id = await sessionId();
  const session = id && (await prisma.session.findUnique({ where: { id, expires: { gt: new Date() } } }));
  return session ? session.personId : null;
}

export async function startSession(personId: string): Promise<void> {
  const id = randomBytes(32).toString("base64url");
  await prisma.session.create({ data: { id, personId, expires: new Date(Date.now() + SECONDS * 1000) } });
  const secure = (await headers()).get("x-forwarded-proto") === "https";
  (await cookies()).set(COOKIE, `${id}.${sign(id)}`, { httpOnly: true, sameSite: "lax", secure, maxAge: SECONDS });
}

/** End the session, and return whose it was. From now on, its cookie gets no tickets in any tab. */
export async function endSession(): Promise<string | null> {
  const [id, personId] = [await sessionId(), await sessionUser()];
  if (id) await prisma.session.deleteMany({ where: { id } });
  (await cookies()).delete(COOKIE);
  return personId;
}
