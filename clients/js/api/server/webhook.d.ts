import type { Status } from "../presence.js";
import type { UserRecord } from "../wire.js";
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
export type WebhookEvent = Event<"user.online", UserEventData> | Event<"user.offline", UserEventData> | Event<"user.status_changed", UserEventData> | Event<"room.occupied", RoomEventData> | Event<"room.vacated", RoomEventData>;
/** The events of one request. */
export interface WebhookBatch {
    /** `presence.test` is sent by `presenced webhook test`, without events. */
    readonly type: "presence.batch" | "presence.test";
    readonly events: readonly WebhookEvent[];
}
/** A `Request`, or what other frameworks have: the headers, and the body as it arrived, before JSON is parsed. */
export type WebhookRequest = Request | {
    readonly headers: {
        readonly [name: string]: unknown;
    };
    readonly body: string | Uint8Array;
};
/**
 * Return the events of a webhook, after checking that the server signed them during the last 5 minutes.
 *
 * @param secret The server's `webhook_secrets`. Several may be in a list, or separated by spaces as in the setting.
 * @throws An `Error` with the `code` `BAD_SIGNATURE`: answer with 401.
 * @throws A `TypeError` if `secret` is not set, or is not one that the server accepts.
 */
export declare function verifyWebhook(request: WebhookRequest, secret: string | readonly string[]): Promise<WebhookBatch>;
export {};
