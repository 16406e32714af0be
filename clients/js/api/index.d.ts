/** Presence in real time: `createPresence` is the client of a presenced server. */
/**
 * Types of your own data. Extend it once, and every store and hook has them:
 *
 *     declare module "presenced" { interface Register { display: { name: string } } }
 *
 * Keys: `data` of statuses, `display` of tokens, `member` of rooms.
 */
export interface Register {
}
export type Registered<K extends string> = Register extends Record<K, infer T> ? T : unknown;
export type { Events, PresenceClient, PresenceOptions, TabSharing, Wire } from "./client.js";
export type { Connection } from "./connection.js";
export { createPresence } from "./create.js";
export { PresenceError } from "./error.js";
export type { Host, Signal, SocketLike } from "./host.js";
export { webHost } from "./host-web.js";
export type { Everyone, InitialPresence, Presence, Status, UserId } from "./presence.js";
export type { Member, Membership, Room } from "./room.js";
export type { Choice, Self } from "./self.js";
export type { Store } from "./store.js";
export type { LogEntry, Report } from "./trace.js";
