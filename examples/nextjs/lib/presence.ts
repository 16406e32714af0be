import "server-only";

import { presenceServer } from "presenced/server";
import { currentPerson } from "./people";

export const presence = presenceServer({
  url: process.env.PRESENCE_URL ?? "http://localhost:3001",
  apiKey: process.env.PRESENCE_API_KEY,
});

/** Return a ticket, with which a page of this user connects once. Null: nobody is signed in, so the client closes. */
export async function newTicket(): Promise<string | null> {
  const me = await currentPerson();
  if (!me) return null;
  return presence.ticket(me.id, { display: { name: me.name } });
}
