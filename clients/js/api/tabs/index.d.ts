/** One connection for all tabs of a user: `sharedTabs` makes the option `tabs` of `createPresence`. */
import type { TabSharing } from "../client.js";
import type { UserId } from "../presence.js";
/**
 * Share one connection among the tabs of this browser that are signed in as this user.
 *
 * Where the browser cannot share, each tab has a connection of its own.
 */
export declare function sharedTabs(userId: UserId): TabSharing;
