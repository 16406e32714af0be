/** Records and messages of presenced.v1. Times are epoch milliseconds, durations are seconds. */
/** Id of a user: `7` and `"7"` are the same user. Compare ids as strings. */
export type UserId = string | number;
/** Id that a client gives a request, and that its answer repeats: at most 64 characters, or an integer. */
export type RequestId = string | number;
/** Status as others see it. */
export type Status = "online" | "away" | "busy" | "offline";
/** Status that a user chooses; `auto` detects it. */
export type Chosen = "auto" | "online" | "away" | "busy" | "invisible";
/** How much of a room the server sends. `counts`: only the number of members. */
export type RoomMode = "full" | "coalesced" | "counts";
/** Why a state changed. Later versions may add causes. */
export type Cause = "connect" | "close" | "grace" | "timeout" | "idle" | "choice" | "claim" | "expiry" | "kick" | "display" | "drain" | "announcement";
/** Limits for one client. */
export interface Limits {
    /** Maximum size of one message in bytes. */
    readonly maxMessageSize: number;
    /** Maximum number of users that one session watches by id. */
    readonly maxWatchedUsers: number;
    /** Maximum number of rooms that one session joins or watches. */
    readonly maxRooms: number;
    /** Maximum size in bytes of the `data` of a status as JSON. */
    readonly maxDataSize: number;
    /** Maximum number of characters of the `text` of a status. */
    readonly maxTextLength: number;
    /** Maximum number of requests per second, on average. */
    readonly requestsPerSecond: number;
    /** Maximum number of requests at once. */
    readonly requestBurst: number;
}
/** State of one user, as others see it. Omitted fields are empty. */
export interface UserRecord {
    readonly userId: UserId;
    readonly status: Status;
    /** Time at which the status began; 0 for a user without known presence, who is offline. */
    readonly since: number;
    /**
     * Strictly increasing for one user. Ignore a record whose version is not above the known one. The record of a user
     * without known presence has the newest number of all.
     */
    readonly version: number;
    /** Time at which the user was last known to be there; omitted for users who are online or busy. */
    readonly lastSeen?: number;
    readonly text?: string;
    readonly emoji?: string;
    readonly data?: unknown;
    /** Time at which the chosen status ends. */
    readonly until?: number;
    /** Kinds of connected devices. */
    readonly devices?: readonly string[];
    /** Display data from the user's token, such as a name; omitted for users who are offline. */
    readonly display?: Readonly<Record<string, unknown>>;
    /** Why the state changed, for clients that may know it. */
    readonly cause?: Cause;
    /**
     * `stale` if the user may have changed unnoticed, because the server has lost the store that it shares with other
     * servers. The rest is the last known state. It holds until a newer record, or until the server is certain again.
     */
    readonly certainty?: "stale";
}
/** A member of a room. */
export interface MemberRecord {
    readonly userId: UserId;
    /** Time of joining. */
    readonly joinedAt: number;
    /** State of the user, as others see it. */
    readonly presence: UserRecord;
    /** Data from JOIN or SET_MEMBER. */
    readonly data?: unknown;
}
/** Text, emoji and end of a choice that a claim overrides. */
export interface OverruledChoice {
    readonly text?: string;
    readonly emoji?: string;
    readonly until?: number;
}
/** The first message on every connection. */
export interface ConnectionEstablished {
    readonly type: "CONNECTION_ESTABLISHED";
    readonly userId: UserId;
    /** Time of opening: ISO 8601, UTC, milliseconds, `Z`. */
    readonly timestamp: string;
    readonly connectionId: string;
    /** Put it as `session` into the URL of the next connection, together with the last `position`. */
    readonly sessionId: string;
    /** Whether the session named in the URL continues. Then everything that was missed follows, otherwise a snapshot. */
    readonly resumed: boolean;
    /**
     * Name of this start of the server or, with several nodes, of the cluster. Positions of different epochs cannot be
     * compared.
     */
    readonly epoch: string;
    /** Time of opening in epoch milliseconds. */
    readonly serverTime: number;
    /** Seconds between two pings of the server. */
    readonly heartbeatInterval: number;
    /** Seconds for which the session can be resumed after a loss. */
    readonly resumeWindow: number;
    /**
     * Seconds for which a server that has just started does not know yet which users will reconnect. Meanwhile a client
     * that has reconnected continues to show the users that it knew to be online.
     */
    readonly settling: number;
    readonly limits: Limits;
    /** Time since when the server has been stale, as in CERTAINTY; omitted if it is not. */
    readonly staleSince?: number;
    /**
     * Names of features that this server has beyond this version of the protocol; omitted if there are none. A client
     * sends a field or request of a later version only if the server lists its feature.
     */
    readonly features?: readonly string[];
}
/** One page of the users who are online. All pages show the same moment; PRESENCE_CHANGES continue from there. */
export interface PresenceSnapshot {
    readonly type: "PRESENCE_SNAPSHOT";
    /** `everyone`: users in no page are offline. `users`: the pages contain every requested user. */
    readonly watch: "everyone" | "users";
    /** 1, 2, 3, ... */
    readonly page: number;
    readonly pages: number;
    readonly users: readonly UserRecord[];
}
/**
 * Users who changed, each once, in their latest state. It is the only message with a position, and the last of each
 * write. A client that has received it has everything before it, snapshots and rooms included.
 */
export interface PresenceChanges {
    readonly type: "PRESENCE_CHANGES";
    /** Put it into the URL of the next connection. */
    readonly position: string;
    readonly users: readonly UserRecord[];
}
/** Number of online users among those watched with `"mode":"count"`: as a response, and at most once a second. */
export interface PresenceCount {
    readonly type: "PRESENCE_COUNT";
    readonly watch: "everyone" | "room" | "users";
    /** Number of users who are not shown as offline. */
    readonly online: number;
    readonly room?: string;
}
/** The server has lost the store that it shares with other servers, or has caught up with it again. */
export interface Certainty {
    readonly type: "CERTAINTY";
    /**
     * `stale`: users of other servers may change unnoticed from now on. `live`: all users are current again, including
     * those whose last record is marked as stale.
     */
    readonly certainty: "live" | "stale";
    /** With `stale`: time at which the server lost the store. */
    readonly since?: number;
}
/** One page of the members of a room. All pages show the same moment. */
export interface RoomSnapshot {
    readonly type: "ROOM_SNAPSHOT";
    readonly room: string;
    /** `full`: every change is sent immediately. `coalesced`: once a second. `counts`: only the number of members. */
    readonly mode: RoomMode;
    /** Number of members. */
    readonly count: number;
    readonly page: number;
    readonly pages: number;
    /** Empty in mode `counts`. */
    readonly members: readonly MemberRecord[];
}
/** Changes in a room, each member once. */
export interface RoomChanges {
    readonly type: "ROOM_CHANGES";
    readonly room: string;
    /** Number of members now. */
    readonly count: number;
    readonly mode: RoomMode;
    /** Members who joined, or whose data changed. */
    readonly members?: readonly MemberRecord[];
    /** Ids of users who left. Some may have joined since the last message about the room. */
    readonly left?: readonly UserId[];
}
/** True state of the user, for their own devices. */
export interface SelfMessage {
    readonly type: "SELF";
    /** May be `invisible`. */
    readonly status: "online" | "away" | "busy" | "invisible" | "offline";
    /** Chosen status; `auto` if the status is detected. */
    readonly chosen: Chosen;
    readonly text?: string;
    readonly emoji?: string;
    readonly data?: unknown;
    /** Time at which the chosen status ends. Put it into the URL of the next connection, together with the status. */
    readonly until?: number;
    readonly devices?: readonly string[];
    /** Display data, which others see unless the status is `invisible`. */
    readonly display?: Readonly<Record<string, unknown>>;
    /** Why the state changed. The user's own devices always receive it. */
    readonly cause?: Cause;
    /** Whether a backend's claim determines the status, instead of the user's choice or detection. */
    readonly claimed?: boolean;
    /** With `claimed`: text, emoji and end of the chosen status. Put these, not the fields above, into the next URL. */
    readonly choice?: OverruledChoice;
}
/** The token expires soon. Send AUTH with a newer one, or the connection will be closed (4401). */
export interface AuthExpiring {
    readonly type: "AUTH_EXPIRING";
    /** Time at which the token expires. */
    readonly expiresAt: number;
}
/** The server stops. A close frame (1001) follows. */
export interface GoingAway {
    readonly type: "GOING_AWAY";
    /** Seconds to wait before connecting again. Each client receives a different number. */
    readonly retryAfter: number;
}
/** The server accepted the request with this id. Only a later request replaces it. */
export interface Ack {
    readonly type: "ACK";
    readonly id: RequestId;
}
/**
 * The server refused a request, which has no effect. With `room`, the server ended the membership of the room and the
 * subscription to it, because a newer token does not allow the room.
 */
export interface ErrorMessage {
    readonly type: "ERROR";
    readonly code: number;
    readonly name: string;
    /** Reason of the refusal, and how to fix it. */
    readonly message: string;
    readonly id?: RequestId;
    /** Room that the session may no longer enter. */
    readonly room?: string;
}
/** Answer to PING. */
export interface Pong {
    readonly type: "PONG";
    readonly serverTime: number;
    readonly id?: RequestId;
}
/** Authenticate, or renew the token of an open connection. Classic clients may send it, too. */
export interface Auth {
    type: "AUTH";
    /** JSON Web Token or ticket, depending on the server's settings. */
    token: string;
    id?: RequestId;
}
/** Subscribe to everyone, or to these users and rooms, in addition to earlier subscriptions. */
export interface Watch {
    type: "WATCH";
    id?: RequestId;
    everyone?: boolean;
    users?: readonly UserId[];
    rooms?: readonly string[];
    /** `count`: the number of online users, without names. */
    mode?: "count" | "full";
}
/** End the subscription to everyone, or to these users and rooms, in full and by count. */
export interface Unwatch {
    type: "UNWATCH";
    id?: RequestId;
    everyone?: boolean;
    users?: readonly UserId[];
    rooms?: readonly string[];
}
/** Choose a status, with text, emoji and data. Omitted fields become empty. */
export interface SetStatus {
    type: "SET_STATUS";
    status: Chosen;
    id?: RequestId;
    text?: string;
    emoji?: string;
    /** Any JSON of at most 2,048 bytes. */
    data?: unknown;
    /** Seconds from now until the previous permanent choice returns. */
    expiresIn?: number;
}
/** Report that the person at this device is active or idle. */
export interface Activity {
    type: "ACTIVITY";
    state: "active" | "idle";
    id?: RequestId;
}
/** Join a room with this session, and subscribe to it. */
export interface Join {
    type: "JOIN";
    room: string;
    id?: RequestId;
    /** Data that others see of the member: JSON of at most 2,048 bytes. */
    data?: unknown;
}
/** Change the data of this member of a room. */
export interface SetMember {
    type: "SET_MEMBER";
    room: string;
    /** As in JOIN; null removes it. */
    data: unknown;
    id?: RequestId;
}
/** Leave a room with this session, and end the subscription to it. */
export interface Leave {
    type: "LEAVE";
    room: string;
    id?: RequestId;
}
/** Measure the round trip. */
export interface Ping {
    type: "PING";
    id?: RequestId;
}
/** A message that the server sends. */
export type ServerMessage = ConnectionEstablished | PresenceSnapshot | PresenceChanges | PresenceCount | Certainty | RoomSnapshot | RoomChanges | SelfMessage | AuthExpiring | GoingAway | Ack | ErrorMessage | Pong;
/** A message that a client sends. */
export type ClientMessage = Auth | Watch | Unwatch | SetStatus | Activity | Join | SetMember | Leave | Ping;
