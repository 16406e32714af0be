import type { Everyone, Presence, UserId } from "../presence.js";
type Users = ReadonlyMap<string, Presence>;
/**
 * Return several users by `String(id)`, or what `select` makes of them. With `equal`, an equal result does not render
 * again. `ids` are compared by value, so they may be an inline list.
 */
export declare function usePresences<T = Users>(ids: Iterable<UserId>, select?: (all: Users) => T, equal?: (a: T, b: T) => boolean): T;
/** Return everyone visible to this user, except users who are offline, or the result of `select`. */
export declare function useEveryone<T = Everyone>(select?: (all: Everyone) => T, equal?: (a: T, b: T) => boolean): T;
export {};
