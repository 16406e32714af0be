"use server";

import { redirect } from "next/navigation";
import { prisma } from "@/lib/database";
import { isPassword } from "@/lib/password.mjs";
import { newTicket, presence } from "@/lib/presence";
import { endSession, startSession } from "@/lib/session";

/** Called by the client before each connection. The user is that of the session: no page can ask for another one. */
export async function presenceTicket(): Promise<string | null> {
  return newTicket();
}

export async function signIn(_: string, form: FormData): Promise<string> {
  const person = await prisma.person.findUnique({ where: { id: String(form.get("person")) } });
  if (!person || !(await isPassword(String(form.get("password")), person.password))) return "The password is wrong.";
  await startSession(person.id);
  redirect("/");
}

export async function signOut(): Promise<void> {
  const userId = await endSession();
  // Ends the connections of other tabs. Devices that are still signed in get a new ticket, and nobody notices.
  if (userId) await presence.revoke({ userId }).catch(console.warn);
  redirect("/login");
}
