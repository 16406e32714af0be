import type { PresenceClient } from "../client.js";
import type { Self } from "../self.js";
/** Return the user's own state, null until it is known, and functions that change it. */
export declare function useSelf(): [Self | null, Pick<PresenceClient, "setStatus" | "setActive">];
export declare const self: (client: PresenceClient) => import("../store.js").Store<Self | null>;
