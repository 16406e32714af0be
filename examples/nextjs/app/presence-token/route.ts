import { newTicket } from "@/lib/presence";

/** The same as the server action `presenceTicket`, for applications whose actions are slow. */
export async function POST(): Promise<Response> {
  const ticket = await newTicket();
  return ticket ? new Response(ticket) : new Response(null, { status: 401 });
}
