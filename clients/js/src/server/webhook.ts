import type { Status } from "../presence.js";
import type { UserRecord } from "../wire.js";

/** Shorter secrets are refused by the server, too. */
const MIN_SECRET_BYTES = 24;

/** Maximum difference between the clocks, and so the time for which a recorded request can be replayed. */
const TOLERANCE_S = 300;

/** The server sends two while its secret is being replaced. More would only cost the receiver time. */
const MAX_SIGNATURES = 10;

interface Event<Type, Data> {
  /** The same for all receivers and in every retry. */
  readonly id: string;
  readonly type: Type;
  /** Time of the change, ISO 8601. */
  readonly timestamp: string;
  readonly data: Data;
}

/** A user as others see them, and the status that was last sent to you. */
export interface UserEventData extends UserRecord {
  readonly was: Status;
}

export interface RoomEventData {
  readonly room: string;
  /** Strictly increasing for one room. */
  readonly version: number;
  /** `restart`, if the room was occupied before a restart of the server and no longer is. */
  readonly cause?: string;
}

/** A change. Later versions may send other types, so answer them with 2xx, too. */
export type WebhookEvent =
  | Event<"user.online", UserEventData>
  | Event<"user.offline", UserEventData>
  | Event<"user.status_changed", UserEventData>
  | Event<"room.occupied", RoomEventData>
  | Event<"room.vacated", RoomEventData>;

/** The events of one request. */
export interface WebhookBatch {
  /** `presence.test` is sent by `presenced webhook test`, without events. */
  readonly type: "presence.batch" | "presence.test";
  readonly events: readonly WebhookEvent[];
}

/** A `Request`, or what other frameworks have: the headers, and the body as it arrived, before JSON is parsed. */
export type WebhookRequest =
  | Request
  | { readonly headers: { readonly [name: string]: unknown }; readonly body: string | Uint8Array };

/**
 * Return the events of a webhook, after checking that the server signed them during the last 5 minutes.
 *
 * @param secret The server's `webhook_secrets`. Several may be in a list, or separated by spaces as in the setting.
 * @throws An `Error` with the `code` `BAD_SIGNATURE`: answer with 401.
 * @throws A `TypeError` if `secret` is not set, or is not one that the server accepts.
 */
export async function verifyWebhook(
  request: WebhookRequest,
  secret: string | readonly string[],
): Promise<WebhookBatch> {
  const headers = request.headers as Headers & Readonly<Record<string, unknown>>;
  const header = (name: string) => `${headers.get?.(name) ?? headers[name]}`;
  const time = header("webhook-timestamp");
  const body = await new Response(request.body as BodyInit).text();
  const content = new TextEncoder().encode(`${header("webhook-id")}.${time}.${body}`);
  for (const text of `${secret}`.trim().split(/[\s,]+/)) {
    const bytes = decoded(text, "whsec_");
    if (bytes.length < MIN_SECRET_BYTES) throw new TypeError("secret: expected whsec_ and Base64");
    const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const signature of header("webhook-signature").split(" ", MAX_SIGNATURES)) {
      // WebCrypto compares in constant time (https://w3c.github.io/webcrypto/#hmac-operations-verify).
      const fits = await crypto.subtle.verify("HMAC", key, decoded(signature, "v1,"), content);
      // A time that is no number makes the comparison false.
      if (fits && Math.abs(Date.now() / 1000 - Number(time)) <= TOLERANCE_S) {
        const { type, data } = JSON.parse(body);
        return { type, events: data?.events ?? [] };
      }
    }
  }
  // Not a `PresenceError`: the class would be a third of this module, which has a budget of its own.
  throw Object.assign(new Error("The webhook is forged or late"), { code: "BAD_SIGNATURE" });
}

/** Return the bytes of the Base64 after a prefix; none if the text is something else. */
function decoded(text: string, prefix: string): Uint8Array<ArrayBuffer> {
  try {
    if (text.startsWith(prefix)) return Uint8Array.from(atob(text.slice(prefix.length)), (one) => one.charCodeAt(0));
  } catch {} // no Base64
  return new Uint8Array();
}
