/** Presence for React Native: the hooks of `presenced/react`, and what differs without a page. */

export { useConnection } from "../react/connection.js";
export { useOnlineCount } from "../react/count.js";
export type { Labels } from "../react/labels.js";
export { usePresence } from "../react/presence.js";
export { useEveryone, usePresences } from "../react/presences.js";
export { usePresenceClient } from "../react/provider.js";
export { type RoomOptions, type RoomState, useRoom } from "../react/room.js";
export { useSelf } from "../react/self.js";
export { OnlineDot, type OnlineDotProps } from "./online-dot.js";
export { PresenceProvider, type PresenceProviderProps } from "./provider.js";
export { type AppStateLike, appSignals, type NetInfoLike } from "./signals.js";
