import { newTicket } from "@/lib/presenced";
import { currentUser } from "@/lib/session";

/** Creates a ticket for the user who is logged in. */
export async function POST(): Promise<Response> {
  const user = await currentUser();
  if (!user) return Response.json({ error: "not logged in" }, { status: 401 });
  try {
    return Response.json({ ticket: await newTicket(user.id, user.name) });
  } catch (error) {
    console.warn(error);
    return Response.json({ error: "presence is not available" }, { status: 503 });
  }
}
