/** Presence for React: hooks and components below a `PresenceProvider`. */

export { useConnection } from "./connection.js";
export { ConnectionBanner, type ConnectionBannerProps } from "./connection-banner.js";
export { useOnlineCount } from "./count.js";
export { Facepile, type FacepileProps } from "./facepile.js";
export type { Labels } from "./labels.js";
export { LastSeen, type LastSeenProps } from "./last-seen.js";
export { OnlineDot, type OnlineDotProps } from "./online-dot.js";
export { usePresence } from "./presence.js";
export { useEveryone, usePresences } from "./presences.js";
export { PresenceProvider, type PresenceProviderProps, usePresenceClient } from "./provider.js";
export { type RoomOptions, type RoomState, useRoom } from "./room.js";
export { useSelf } from "./self.js";
