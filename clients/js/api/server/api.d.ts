/** The HTTP API. Times are epoch milliseconds, durations are seconds. */
import type { Cause, Chosen, RoomMode, Status, UserId, UserRecord } from "../wire.js";
/** Result of an announcement. */
export interface AnnounceResult {
    /** Whether others see a change. */
    readonly changed: boolean;
    /** `stale` if other nodes of a cluster learn it later, because their store is out of reach. */
    readonly certainty?: "stale";
}
/** Whether a user is online, as a backend knows from elsewhere. */
export interface Announcement {
    online: boolean;
}
/** One visible change of a user. */
export interface ChangeRecord {
    readonly userId: UserId;
    readonly status: Status;
    /** The previous status. */
    readonly was: Status;
    /** Strictly increasing for one user, even across restarts if there is a database. */
    readonly version: number;
    readonly cause: Cause;
    readonly at: number;
    /** When the status began. */
    readonly since: number;
    readonly lastSeen?: number;
    readonly text?: string;
    readonly emoji?: string;
    readonly data?: unknown;
    /** When the chosen or claimed status ends. */
    readonly until?: number;
    readonly devices?: readonly string[];
    /** Display data from the user's token, such as a name. */
    readonly display?: Readonly<Record<string, unknown>>;
}
/** Changes in their order. */
export interface Changes {
    readonly changes: readonly ChangeRecord[];
    /** `after` of the next request. */
    readonly next: string;
    /** Digest of the state after these changes; null if there are more changes. */
    readonly digest: DigestRecord | null;
}
/** A status that a user chose. */
export interface ChoiceRecord {
    readonly status: Chosen;
    readonly text?: string;
    readonly emoji?: string;
    readonly data?: unknown;
    readonly until?: number;
}
/** A status that a backend set on a user's behalf. */
export interface ClaimRecord {
    readonly source: string;
    readonly status: "away" | "busy" | "online";
    readonly priority: number;
    readonly setAt: number;
    readonly text?: string;
    readonly emoji?: string;
    readonly data?: unknown;
    /** When the claim ends; omitted if it is permanent. */
    readonly until?: number;
}
/** All claims about a user. */
export interface Claims {
    readonly userId: UserId;
    readonly claims: readonly ClaimRecord[];
}
/** Result of clearing a claim. */
export interface ClearClaimResult {
    /** Whether there was such a claim. */
    readonly cleared: boolean;
    /** `stale` if other nodes of a cluster learn it later, because their store is out of reach. */
    readonly certainty?: "stale";
}
/** Result of closing connections. */
export interface ClosedConnections {
    /** Number of connections that are being closed. */
    readonly closed: number;
    /** `stale` if other nodes of a cluster learn it later, because their store is out of reach. */
    readonly certainty?: "stale";
}
/** A webhook that could not be delivered. */
export interface DeadLetter {
    /** Id for a request to send it again. */
    readonly id: string;
    readonly endpoint: string;
    /** Number of requests that contained it; 0 if it went dead before it was sent. */
    readonly attempts: number;
    /** Error of the last attempt. */
    readonly error: string;
    readonly event: unknown;
}
/** Dead letters to send again. */
export interface DeadLetterRetry {
    /** Ids of the dead letters. Without it, all of them. */
    ids?: readonly string[];
}
/** Webhooks that could not be delivered, oldest first. */
export interface DeadLetters {
    readonly deadLetters: readonly DeadLetter[];
    /** `after` of the next page; null if this is the last page. */
    readonly next: string | null;
}
/** Sum over all visible users, to compare with your own. docs/reference/http-api.md shows how to compute it. */
export interface DigestRecord {
    /** Position of the state that the digest sums up. */
    readonly position: string;
    /** Users shown as anything but offline. */
    readonly users: number;
    readonly digest: string;
}
/** Result of erasing a user. */
export interface EraseResult {
    /** Number of connections that are being closed. */
    readonly closed: number;
    /** Number of rows deleted from the database. */
    readonly stored: number;
    /** `stale` if other nodes of a cluster learn it later, because their store is out of reach. */
    readonly certainty?: "stale";
}
/** Everything that decides the visible status of a user. */
export interface ExplainUserResult {
    readonly userId: UserId;
    /** The reason, in one sentence. */
    readonly why: string;
    /** Presence that every permitted viewer sees. */
    readonly shown: UserRecord;
    /** Presence that the user's own devices see. */
    readonly own: OwnRecord;
    readonly sessions: readonly ExplainedSession[];
    /** Whether a backend announces the user as online. */
    readonly announced: boolean;
    /** Soonest first. */
    readonly pending: readonly PendingEnd[];
    readonly chosen: ChoiceRecord;
    /** Temporary choice; when it ends, `chosen` returns. */
    readonly timed: ChoiceRecord | null;
    /** In the order in which they were set. */
    readonly claims: readonly ClaimRecord[];
    /** Source of the claim that decides the status; empty if none does. */
    readonly winner: string;
    /** null if the request names no viewer. */
    readonly viewer: ExplainedViewer | null;
    /** Last changes with their true causes, newest first. */
    readonly changes: readonly ChangeRecord[];
}
/** One client instance of a user. */
export interface ExplainedSession {
    /** Empty while the session has no connection. */
    readonly connectionId: string;
    readonly protocol: string;
    readonly device: string;
    readonly active: boolean;
    /** Seconds since the client last sent anything, a pong included; null while there is no connection. */
    readonly heard: number | null;
    /** Seconds until the next ping; null while there is no connection. */
    readonly pingedIn: number | null;
    /** Seconds until a client that does not answer its ping times out; null while no answer is due. */
    readonly timesOutIn: number | null;
    /** Seconds for which the session keeps the user online without a connection; null if it does not. */
    readonly graceEndsIn: number | null;
    /** Seconds for which the session can be resumed; null while it has a connection. */
    readonly resumableFor: number | null;
    readonly rooms: readonly string[];
}
/** Whether a viewer may see the user, and why. */
export interface ExplainedViewer {
    readonly userId: UserId;
    /** null: unknown, because the viewer has no session. */
    readonly maySee: boolean | null;
    /** Whether a session of the viewer is notified about the user. */
    readonly watches: boolean;
    /** The reason, in words. */
    readonly rule: string;
    /** Roles from the tokens of the viewer's connections. */
    readonly roles: readonly string[];
}
/** Reason why one item of a request has no result. */
export interface ItemError {
    /** Position of the item in the request, from 0. */
    readonly index: number;
    /** Name of a problem: `docs/reference/codes.md`. */
    readonly code: string;
    readonly detail: string;
}
/** When a user was last seen. */
export interface LastSeen {
    readonly userId: UserId;
    /** Current status. */
    readonly status: Status;
    /** When the user was last known to be present; omitted for a user who was never present. */
    readonly lastSeen?: number;
    /** When the user last connected, chose a status or became active. */
    readonly lastActive?: number;
}
/** A session that is connected or in its grace period. */
export interface LiveSession {
    readonly protocol: "classic" | "presenced.v1";
    /** Whether it has a connection. On another node, one in its grace period counts as connected. */
    readonly connected: boolean;
    /** Whether the person is active; false: idle. */
    readonly active: boolean;
    /** Omitted while the session has no connection. */
    readonly connectionId?: string;
    readonly device?: string;
    /** When the connection opened. */
    readonly openedAt?: number;
    /** When the client last sent anything, a pong included. */
    readonly heardAt?: number;
    /** Seconds for which the session keeps the user online; omitted while it has a connection. */
    readonly graceEndsIn?: number;
    readonly rooms?: readonly string[];
    /**
     * Name of the node that has the session, in a cluster; omitted if it is the one that responds. Only that node knows
     * the connection.
     */
    readonly node?: string;
}
/** Current sessions of a user. */
export interface LiveSessions {
    readonly userId: UserId;
    readonly sessions: readonly LiveSession[];
}
/** Status that a backend sets on a user's behalf, such as in a meeting or on the phone. */
export interface NewClaim {
    status: "away" | "busy" | "online";
    text?: string;
    emoji?: string;
    /** Any JSON of at most 2,048 bytes. */
    data?: unknown;
    /** The claim with the highest priority wins, then the newest. Above 0 it also wins over the user's choice. */
    priority?: number;
    /** Seconds after which the claim ends. Without it, the claim is permanent. */
    expiresIn?: number;
}
/** Status to choose for a user. Omitted fields are empty. */
export interface NewStatus {
    /** `auto` follows what the server detects. */
    status: Chosen;
    text?: string;
    emoji?: string;
    /** Any JSON of at most 2,048 bytes. */
    data?: unknown;
    /** Seconds after which the previous permanent choice returns. Without it, the choice is permanent. */
    expiresIn?: number;
}
/** User and permissions of a ticket. */
export interface NewTicket {
    userId: UserId;
    /** Maximum number of seconds for the connection. Without it, there is no limit. */
    lasts?: number;
    /** Users that the user may see, and rooms that they may enter: `{"watch": [7, "bo"], "rooms": ["lobby"]}`. */
    presence?: Readonly<Record<string, unknown>>;
}
/** Numbers of users and rooms. */
export interface OnlineCounts {
    /** Users shown as anything but offline. */
    readonly onlineUsers: number;
    /** Rooms with at least one member; null with `viewer`, because clients learn only of rooms that they name. */
    readonly rooms: number | null;
}
/** One page of the users who are online, in no particular order. */
export interface OnlineUsers {
    /**
     * Cursor from which to follow the changes (`after`). Use the one of the first page, because users may change while
     * the pages are read.
     */
    readonly position: string;
    readonly users: readonly UserRecord[];
    /** `after` of the next page; null on the last page. */
    readonly next: number | null;
}
/** Presence of a user as the user's own devices see it. */
export interface OwnRecord {
    readonly status: "online" | "away" | "busy" | "invisible" | "offline";
    readonly text?: string;
    readonly emoji?: string;
    readonly data?: unknown;
    readonly until?: number;
    readonly devices?: readonly string[];
    readonly display?: Readonly<Record<string, unknown>>;
}
/** A stored change. */
export interface PastChange {
    readonly version: number;
    readonly status: Status;
    /** The status before. */
    readonly was: Status;
    readonly cause: Cause;
    readonly at: number;
    readonly text?: string;
    readonly emoji?: string;
    readonly data?: unknown;
    readonly until?: number;
    readonly devices?: readonly string[];
}
/** A stored session. */
export interface PastSession {
    /** Id of its latest connection. */
    readonly connectionId: string;
    readonly protocol: string;
    readonly openedAt: number;
    /** Missing while the session is open. */
    readonly closedAt?: number;
    /** Why its latest connection ended. */
    readonly reason?: string;
    readonly device?: string;
    /**
     * Address of the client, an IPv6 address as its /64. Missing unless addresses are stored, and for a client on the
     * machine of the server.
     */
    readonly address?: string;
    readonly node?: string;
}
/** Sessions of a user, newest first. */
export interface PastSessions {
    readonly sessions: readonly PastSession[];
    /** `after` of the next page; null if this is the last page. */
    readonly next: string | null;
}
/** Something that ends by time alone. */
export interface PendingEnd {
    /** Kind of what ends: `grace`, `choice` or `claim`. */
    readonly what: string;
    /** Seconds from now. */
    readonly seconds: number;
    /** Source of the claim. */
    readonly source?: string;
}
/** Users that a query is about, and a viewer. */
export interface PresenceQuery {
    /** User ids, as strings or whole numbers. An invalid item is listed in `errors`. */
    users: readonly UserId[];
    /** User whose view restricts the response. Without it, the response contains everything. */
    viewer?: UserId;
}
/** Members of RFC 9457 section 3.1, and `code` and `retry`. `type` is omitted: its default is `about:blank`. */
export interface ProblemDocument {
    readonly title: string;
    readonly status: number;
    /** Fault of this request, and how to fix it. */
    readonly detail: string;
    /** Stable name of the fault: a member of `errors.Problem`. */
    readonly code: string;
    /** Whether the same request may succeed later. */
    readonly retry: boolean;
}
/** When several users were last seen. */
export interface QueryLastSeenResult {
    /** In the order of the request, without the items in `errors`. */
    readonly users: readonly LastSeen[];
    readonly errors: readonly ItemError[];
}
/** Presence of several users. */
export interface QueryUsersResult {
    /** In the order of the request, without the items in `errors`. */
    readonly users: readonly UserRecord[];
    readonly errors: readonly ItemError[];
}
/** Result of sending dead letters again. */
export interface RetryDeadLettersResult {
    /** Number of webhooks that wait for delivery again. */
    readonly retried: number;
}
/** Tokens to revoke. With neither field, all tokens of the user. */
export interface Revocation {
    /** The token that opened this session. */
    sessionId?: string;
    /** The token with this `jti`. */
    tokenId?: string;
}
/** One page of the rooms that have a member, in the order in which they got their first one. */
export interface RoomList {
    readonly rooms: readonly RoomSummary[];
    /** `after` of the next page; null on the last page. */
    readonly next: number | null;
}
/** A user in a room. */
export interface RoomMember {
    readonly userId: UserId;
    readonly joinedAt: number;
    readonly presence: UserRecord;
    /** Data that the member set with JOIN or SET_MEMBER. */
    readonly data?: unknown;
}
/** A room, and one page of its members in the order of their ids. */
export interface RoomPage {
    readonly room: string;
    /** Mode in which watchers are notified about the room. */
    readonly mode: RoomMode;
    /** Number of members. */
    readonly count: number;
    readonly members: readonly RoomMember[];
    /** `after` of the next page; null on the last page. */
    readonly next: string | null;
}
/** A room without its members. */
export interface RoomSummary {
    readonly room: string;
    /** Mode in which watchers are notified about the room. */
    readonly mode: RoomMode;
    /**
     * Number of members. All of them are shown as anything but offline, because a user who goes offline or becomes
     * invisible leaves.
     */
    readonly count: number;
}
/** One page of all current sessions, those of one user together. */
export interface SessionList {
    readonly sessions: readonly SessionListEntry[];
    /** `after` of the next page; null on the last page. */
    readonly next: number | null;
}
/** A session that is connected or in its grace period, with the id of its user. */
export interface SessionListEntry {
    readonly protocol: "classic" | "presenced.v1";
    /** Whether it has a connection. On another node, one in its grace period counts as connected. */
    readonly connected: boolean;
    /** Whether the person is active; false: idle. */
    readonly active: boolean;
    /** Omitted while the session has no connection. */
    readonly connectionId?: string;
    readonly device?: string;
    /** When the connection opened. */
    readonly openedAt?: number;
    /** When the client last sent anything, a pong included. */
    readonly heardAt?: number;
    /** Seconds for which the session keeps the user online; omitted while it has a connection. */
    readonly graceEndsIn?: number;
    readonly rooms?: readonly string[];
    /**
     * Name of the node that has the session, in a cluster; omitted if it is the one that responds. Only that node knows
     * the connection.
     */
    readonly node?: string;
    readonly userId: UserId;
}
/** A ticket. */
export interface Ticket {
    readonly ticket: string;
    readonly userId: UserId;
    /** Seconds in which the ticket can be used, once. */
    readonly expiresIn: number;
}
/** Changes of a user, newest first. */
export interface UserHistory {
    readonly changes: readonly PastChange[];
    /** `after` of the next page; null if this is the last page. */
    readonly next: string | null;
}
/** Users that a query is about. */
export interface UsersQuery {
    /** User ids, as strings or whole numbers. An invalid item is listed in `errors`. */
    users: readonly UserId[];
}
/** Data of an event of `/watch`. */
export interface WatchEvent {
    readonly users: readonly UserRecord[];
    /** Another part of the snapshot, or of the changes, follows. */
    readonly more?: boolean;
}
/**
 * Arguments and result of each endpoint, by its `operationId`. An absent key means that there is none. No name is both
 * in `path` and in `query` or `body`, and no endpoint has both a `query` and a `body`, so a method can take all of them
 * as one object.
 */
export interface Operations {
    /**
     * The presence of one user. A user without known presence, or one that the viewer may not see, is offline, with
     * `since` 0 and the newest version of all users. Scope: read.
     */
    getUser: {
        path: {
            /** User id. */
            userId: UserId;
        };
        query?: {
            /** User whose view restricts the response. Without it, the response contains everything. */
            viewer?: UserId;
        };
        response: UserRecord;
    };
    /**
     * The presence of up to 1,000 users. An invalid user id is listed in `errors`. The response still contains the other
     * users. Scope: read.
     */
    queryUsers: {
        body: PresenceQuery;
        response: QueryUsersResult;
    };
    /**
     * All online users. A user who is online all the time appears exactly once. To complete the list and keep it current,
     * apply the changes after the `position` of the first page. Of two records of one user, the one with the higher
     * version counts. Scope: read.
     */
    listOnline: {
        query?: {
            /** Only users that this user may see. A page may then have fewer users than `limit`, or none. */
            viewer?: UserId;
            /** `next` of the previous page. */
            after?: number;
            /** Maximum number of users. */
            limit?: number;
        };
        response: OnlineUsers;
    };
    /**
     * The numbers of online users and of rooms. Invisible users are not counted. `/stats` and `/metrics` count
     * connections. Scope: read.
     */
    getCounts: {
        query?: {
            /** User whose view restricts the response. Without it, the response contains everything. */
            viewer?: UserId;
        };
        response: OnlineCounts;
    };
    /**
     * All rooms with the number of their members. A room that has members all the time appears exactly once. There is no
     * parameter `viewer`, because a client learns only of rooms that it names. Scope: read.
     */
    listRooms: {
        query?: {
            /** `next` of the previous page. */
            after?: number;
            /** Maximum number of rooms. */
            limit?: number;
        };
        response: RoomList;
    };
    /**
     * A room and its members. A room that does not exist, or that the viewer may not enter, has no members. Scope: read.
     */
    getRoom: {
        path: {
            /** Name of the room. */
            room: string;
        };
        query?: {
            /** User whose view restricts the response. Without it, the response contains everything. */
            viewer?: UserId;
            /** `next` of the previous page. */
            after?: string;
            /** Maximum number of members. */
            limit?: number;
        };
        response: RoomPage;
    };
    /**
     * All changes after a cursor, in order. Returns every change of every user, once and in order. Without `after`, the
     * feed starts now. With `Accept: text/event-stream`, the response is a stream of Server-Sent Events, `change` and
     * `digest`. The id of each `change` is a cursor. The header `Last-Event-ID` takes precedence over `after`. A stream
     * that falls too far behind gets the event `restart` and ends. Scope: read.
     */
    followChanges: {
        query?: {
            /**
             * `next` of the previous response, or `position` of the first page of `/online`. Without it, the feed starts now.
             */
            after?: string;
            /** Seconds to wait for a change if there is none yet. */
            wait?: number;
            /** Maximum number of changes. */
            limit?: number;
        };
        response: Changes;
    };
    /**
     * Watch users over Server-Sent Events. Takes a key of scope read, or a user's token or ticket as the WebSocket takes
     * it. With a token or ticket, the response shows only the users that that user may see. Events are one or several
     * `snapshot`, the last with `"more": false`, then `changes`, each user once with their last state. If the server
     * loses the store that it shares with others, it sends the event `certainty` with `{"certainty": "stale", "since":
     * TIME}`. When it is current again, it sends `{"certainty": "live"}`, which ends the marks of all records.
     * `Last-Event-ID` continues a lost stream. With it, a ticket reopens the stream that it opened first, for an hour
     * after each loss (docs/explanation/security-model.md). Scope: read.
     */
    watch: {
        query?: {
            /** Users to watch. Repeat the parameter for each: `users=7&users=ada`. */
            users?: readonly UserId[];
            /** Watch all visible users. */
            everyone?: boolean;
            /** A user's token or ticket, for the `EventSource` of browsers, which cannot set a header. Proxies log URLs. */
            token?: string;
            /**
             * Id of the last event, from clients that cannot send the `Last-Event-ID` header. The header takes precedence.
             */
            lastEventId?: string;
        };
        response: ReadableStream<Uint8Array>;
    };
    /**
     * Announce a user known from elsewhere. An announcement holds until the opposite is announced. It adds presence and
     * never removes it: with `false`, a user with an open connection stays online. Scope: write.
     */
    announce: {
        path: {
            /** User id. */
            userId: UserId;
        };
        body: Announcement;
        response: AnnounceResult;
    };
    /**
     * Close all connections of a user. The close code 4410 stops automatic reconnects of the clients. Event streams that
     * the user's tokens opened end, too, and the stream of a ticket does not return. An announcement stays in force.
     * Scope: write.
     */
    disconnect: {
        path: {
            /** User id. */
            userId: UserId;
        };
        response: ClosedConnections;
    };
    /**
     * Choose a status for a user. Has the same effect as a choice on one of the user's devices. The choice of an absent
     * user is remembered. The response is what others see now. Scope: write.
     */
    setStatus: {
        path: {
            /** User id. */
            userId: UserId;
        };
        body: NewStatus;
        response: UserRecord;
    };
    /**
     * Clear the status that a user chose. From now on the status is as detected, the same as after choosing `auto`. The
     * response is what others see now. Scope: write.
     */
    clearStatus: {
        path: {
            /** User id. */
            userId: UserId;
        };
        response: UserRecord;
    };
    /** The claims about a user. The claims are in the order in which they were set. Scope: read. */
    listClaims: {
        path: {
            /** User id. */
            userId: UserId;
        };
        response: Claims;
    };
    /**
     * Set a claim about a user. Replaces the previous claim of this source. A claim counts while the user is present and
     * not invisible. The response is what others see now. Scope: write.
     */
    setClaim: {
        path: {
            /** User id. */
            userId: UserId;
            /** Source of the claim, such as a calendar, a call or an agent. */
            source: string;
        };
        body: NewClaim;
        response: UserRecord;
    };
    /** Clear a claim about a user. Clearing a claim again has no effect. Scope: write. */
    clearClaim: {
        path: {
            /** User id. */
            userId: UserId;
            /** Source of the claim, such as a calendar, a call or an agent. */
            source: string;
        };
        response: ClearClaimResult;
    };
    /** When a user was last seen. For a user who is present, this is the current time. Scope: read. */
    getLastSeen: {
        path: {
            /** User id. */
            userId: UserId;
        };
        response: LastSeen;
    };
    /**
     * When up to 1,000 users were last seen. An invalid user id is listed in `errors`. The response still contains the
     * other users. Scope: read.
     */
    queryLastSeen: {
        body: UsersQuery;
        response: QueryLastSeenResult;
    };
    /**
     * The changes of a user, with their true causes. The setting `history_age` limits how long changes are stored. Scope:
     * admin.
     */
    listHistory: {
        path: {
            /** User id. */
            userId: UserId;
        };
        query?: {
            /** `next` of the previous page. */
            after?: string;
            /** Maximum number of entries. */
            limit?: number;
        };
        response: UserHistory;
    };
    /**
     * The stored sessions of a user. Includes open sessions as last stored, normally less than a second ago. Scope:
     * admin.
     */
    listPastSessions: {
        path: {
            /** User id. */
            userId: UserId;
        };
        query?: {
            /** `next` of the previous page. */
            after?: string;
            /** Maximum number of entries. */
            limit?: number;
        };
        response: PastSessions;
    };
    /**
     * The current sessions of all users. Sessions that have a connection, or are in their grace period, including those
     * of invisible users. A user who has one all the time appears exactly once, with all current sessions. Scope: admin.
     */
    listAllSessions: {
        query?: {
            /** `next` of the previous page. */
            after?: number;
            /**
             * Maximum number of sessions. A page exceeds it only if its first user has more sessions, because the sessions of
             * a user are never divided.
             */
            limit?: number;
        };
        response: SessionList;
    };
    /** The current sessions of a user. Sessions that have a connection, or are in their grace period. Scope: admin. */
    listSessions: {
        path: {
            /** User id. */
            userId: UserId;
        };
        response: LiveSessions;
    };
    /**
     * Why a user has this status, for everyone or for one viewer. The truth, including that of invisible users. `why` is
     * a sentence. Scope: admin.
     */
    explainUser: {
        path: {
            /** User id. */
            userId: UserId;
        };
        query?: {
            /** User whose view restricts the response. Without it, the response contains everything. */
            viewer?: UserId;
        };
        response: ExplainUserResult;
    };
    /**
     * Erase a user. Revokes the user's tokens, closes the connections, and deletes the announcement, the status, the
     * claims, the display data, the time last seen and everything in the database. Clients that follow changes, and
     * receivers of webhooks, learn that the user is offline. Of the changes, only the statuses, causes and times stay in
     * memory for a while. Erasing a user again has no effect. Scope: admin.
     */
    erase: {
        path: {
            /** User id. */
            userId: UserId;
        };
        response: EraseResult;
    };
    /**
     * Webhooks that could not be delivered. Webhooks that no attempt delivered within a day, or that their receiver
     * refused permanently. Scope: admin.
     */
    listDeadLetters: {
        query?: {
            /** `next` of the previous page. */
            after?: string;
            /** Maximum number of dead letters. */
            limit?: number;
        };
        response: DeadLetters;
    };
    /**
     * Send undelivered webhooks again. The webhooks keep their ids, so a receiver can recognise duplicates. Scope: admin.
     */
    retryDeadLetters: {
        body?: DeadLetterRetry;
        response: RetryDeadLettersResult;
    };
    /**
     * Make a ticket with which a client of a user can connect once. Needs the setting auth = ticket
     * (docs/explanation/security-model.md). Scope: write.
     */
    newTicket: {
        body: NewTicket;
        response: Ticket;
    };
    /**
     * Revoke tokens of a user. Closes the connections that the tokens opened, and refuses the tokens from now on. Scope:
     * admin.
     */
    revoke: {
        path: {
            /** User id. */
            userId: UserId;
        };
        body?: Revocation;
        response: ClosedConnections;
    };
}
/** Method and path below `/api/v1` of each endpoint. */
export declare const ENDPOINTS: {
    readonly [K in keyof Operations]: Endpoint;
};
export interface Endpoint {
    readonly method: string;
    /** With the names of parameters in braces. Percent-encode their values. */
    readonly path: string;
}
