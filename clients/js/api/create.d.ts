/** `createPresence`: puts the parts of a client together. */
import type { PresenceClient, PresenceOptions } from "./client.js";
/** Create a client. It opens nothing until `connect`, so this is safe during render and on a server. */
export declare function createPresence(options?: PresenceOptions): PresenceClient;
