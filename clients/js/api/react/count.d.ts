/** Return how many are online, without their names; null until it is known. */
export declare function useOnlineCount(scope: "everyone" | {
    room: string;
}): number | null;
