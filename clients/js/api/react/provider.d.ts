import { type ReactNode } from "react";
import type { PresenceClient, PresenceOptions } from "../client.js";
import { type Labels } from "./labels.js";
export type PresenceProviderProps = {
    children?: ReactNode;
    /** Texts of all components below, such as those of another language. */
    labels?: Partial<Labels>;
} & ({
    client: PresenceClient;
} | (PresenceOptions & {
    client?: never;
}));
/** Values that the hooks and components below a provider share. */
interface Shared {
    readonly client: PresenceClient;
    /** Return a client that knows only what the server rendered. Hydration reads it, and it never connects. */
    readonly rendered: () => PresenceClient;
    /** When the server read what it rendered, in epoch milliseconds; 0 if it rendered nothing. */
    readonly renderedAt: number;
    readonly labels: Labels;
}
/**
 * Share one client with everything below, and keep it connected while mounted.
 *
 * Options are read once. Another `client` or another `userId` starts a new client; for anything else, change the `key`.
 */
export declare function PresenceProvider({ children, labels, ...options }: PresenceProviderProps): ReactNode;
export declare function useShared(): Shared;
/** Return the texts of the provider, overridden by those of a component. */
export declare function useLabels(own?: Partial<Labels>): Labels;
/** Return the client, for everything that has no hook. */
export declare function usePresenceClient(): PresenceClient;
export {};
