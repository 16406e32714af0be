import type { Presence, UserId } from "../presence.js";
/** Return what is known of a user. The component renders again only when this user changes. Null: unknown. */
export declare function usePresence(id: UserId | null): Presence;
