import { verifyWebhook } from "presenced/server";
import { prisma } from "@/lib/database";

/** Stores when people were last seen. presenced sends each event at least once, in order. */
export async function POST(request: Request): Promise<Response> {
  const batch = await verifyWebhook(request, process.env.PRESENCE_WEBHOOK_SECRET ?? "").catch((error) => {
    if (error.code !== "BAD_SIGNATURE") throw error;
  });
  if (!batch) return new Response(null, { status: 401 });
  for (const { data, timestamp } of batch.events) {
    if (!("userId" in data)) continue; // about a room
    const { userId, status, version, lastSeen } = data;
    const seen = lastSeen ?? (status === "offline" ? undefined : Date.parse(timestamp));
    await prisma.person.updateMany({
      where: { id: String(userId), presenceVersion: { lt: version } }, // an event that comes again changes nothing
      data: { presenceVersion: version, ...(seen && { lastSeen: new Date(seen) }) },
    });
  }
  return new Response(null, { status: 204 });
}
