/** Helpers for backends: the HTTP API, tokens and webhooks, with nothing but `fetch` and WebCrypto. */
export { PresenceError } from "../error.js";
export type { InitialPresence, Status, UserId } from "../presence.js";
export type { UserRecord } from "../wire.js";
export type * from "./api.js";
export type { Change } from "./follow.js";
export type { RequestOptions, ServerOptions } from "./request.js";
export { type Endpoints, type Input, type PresenceServer, presenceServer, type TicketOptions } from "./rest.js";
export type { SnapshotOptions } from "./snapshot.js";
export { type Grants, signToken, type TokenClaims } from "./token.js";
export { type RoomEventData, type UserEventData, verifyWebhook, type WebhookBatch, type WebhookEvent, type WebhookRequest, } from "./webhook.js";
