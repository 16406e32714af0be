import type { Presence } from "../presence.js";
/** Texts of the components. They are plain strings, so that server components can pass them. */
export interface Labels {
    /** Language of times, as in `Intl`: "en", "de-AT". */
    language: string;
    /** Time of a user who left within the last minute. Empty: "just now", or the word of `Intl` in other languages. */
    now: string;
    online: string;
    away: string;
    busy: string;
    offline: string;
    unknown: string;
    /** Name of a facepile; `{count}` stands for the number of people. */
    count: string;
    /** People that a facepile leaves out. */
    more: string;
    /** Text of the banner while there is no connection. */
    stale: string;
    /** Text of the banner while the connection is open, but the state may be old: `connection.stale` says when. */
    settling: string;
    /** Text of the banner when the client has given up. */
    failed: string;
    /** Text of the banner when the token function has returned null. */
    signedOut: string;
}
export declare const ENGLISH: Labels;
/** Return a number of full minutes as words, such as "5 minutes ago". */
export declare function ago(minutes: number, { language, now }: Labels): string;
export declare function counted(label: string, count: number): string;
/** Return the name in a user's display data, or else the id. */
export declare function nameOf({ display, userId }: Presence): string;
