import { type ReactNode } from "react";
import { type PresenceProviderProps as BaseProviderProps } from "../react/provider.js";
import { type NetInfoLike } from "./signals.js";
export type PresenceProviderProps = BaseProviderProps & {
    /** In the background, the user is idle at once. With "close", the user is offline at once. */
    background?: "idle" | "close";
    /** `@react-native-community/netinfo`, if you use it: reconnects as soon as there is a network. */
    netInfo?: NetInfoLike;
};
/** Share one client with everything below. It follows the state of the application. */
export declare function PresenceProvider({ background, netInfo, children, ...props }: PresenceProviderProps): ReactNode;
