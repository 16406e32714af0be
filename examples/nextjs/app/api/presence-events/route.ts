import { createHmac, timingSafeEqual } from "node:crypto";
import type { UserRecord } from "@/lib/presence";

interface Batch {
  data: { events?: { type: string; data: Partial<UserRecord> }[] };
}

/** Receives webhooks of presenced. */
export async function POST(request: Request): Promise<Response> {
  const body = Buffer.from(await request.arrayBuffer()); // unchanged: JSON that was encoded again does not verify
  if (!isSigned(request.headers, body)) return new Response(null, { status: 401 });
  const { data }: Batch = JSON.parse(body.toString());
  for (const { type, data: user } of data.events ?? []) {
    if (user.userId === undefined) continue; // about a room
    // Store it in your own table, if user.version is above the version there.
    console.log(type, user.userId, user.status, user.version);
  }
  return new Response(null, { status: 204 });
}

function isSigned(headers: Headers, body: Buffer): boolean {
  const key = Buffer.from((process.env.PRESENCE_WEBHOOK_SECRET ?? "").replace("whsec_", ""), "base64");
  const time = headers.get("webhook-timestamp");
  if (key.length === 0 || !(Math.abs(Date.now() / 1000 - Number(time)) < 300)) return false;
  const content = `${headers.get("webhook-id")}.${time}.`;
  const expected = createHmac("sha256", key).update(content).update(body).digest();
  return (headers.get("webhook-signature") ?? "").split(" ").some((signature) => {
    const given = Buffer.from(signature.replace("v1,", ""), "base64");
    return signature.startsWith("v1,") && given.length === expected.length && timingSafeEqual(given, expected);
  });
}
