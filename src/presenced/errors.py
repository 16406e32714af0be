"""Everything that can go wrong, in one place: the exceptions, and the codes a peer may be given.

    PresencedError
    ├── ConfigError      a setting is unknown, out of bounds or contradicts another
    ├── PortInUse        another program listens on the wanted address
    ├── ListenError      listening on the address fails for another reason
    ├── BadUserId        a user id is missing, too long, or contains a refused character
    ├── BadParameter     another parameter of a client's URL is invalid
    ├── BadToken         a token or ticket is not accepted
    ├── BadClaim         a backend's claim about a user is invalid
    ├── CapacityError    a written bound is reached and the caller asked for one more
    ├── StorageError     the database is not usable as it is
    └── StorageUnavailable   the database does not respond now

`Close`, `ClientClose`, `Fault` and `Problem` are the only tables of codes: the server, `spec/codes.md`,
`spec/codes.json` and the clients all come from them.
"""

from __future__ import annotations

from enum import Enum


class PresencedError(Exception):
    """Base of every exception that presenced raises on purpose."""


class ConfigError(PresencedError):
    """A setting can't be used as given. `str()` is one line per fault: what, where from, what was expected."""


class ListenError(PresencedError):
    """The address `host`:`port` can't be listened on, because of `cause`."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        self.host = host
        self.port = port
        super().__init__(f"can't listen on {host}:{port}: {cause.strerror or cause}; choose another --host or --port")


class PortInUse(PresencedError):
    """Another program already listens on `host`:`port`."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"port {port} on {host} is already in use: stop the program that holds it "
            f"(`ss -ltnp 'sport = :{port}'` names it), or choose another port with --port"
        )


class BadUserId(PresencedError, ValueError):
    """A user id breaks the rules of `presence.identity`. `str()` fits into the reason of a close frame (123 bytes)."""


class BadParameter(PresencedError, ValueError):
    """Another parameter of the URL can't be used. `str()` fits into the reason of a close frame (123 bytes)."""


class BadToken(PresencedError, ValueError):
    """A token or ticket is not accepted. `str()` says why, fits into the reason of a close frame, and contains nothing
    of the token.

    Args:
        kind: The fault, one of a small fixed set.
        key_id: Id of the unknown key, if that is the fault.
        is_genuine: The issuer created this token or ticket, and it is expired, revoked, used or meant for something
            else. It is not a guess, so it does not count against its address.
    """

    def __init__(self, kind: str, detail: str, key_id: object = "", is_genuine: bool = False) -> None:
        self.kind = kind
        self.key_id = key_id if isinstance(key_id, str) else ""
        self.is_genuine = is_genuine
        super().__init__(detail)


class BadClaim(PresencedError, ValueError):
    """What a backend claims of a user can't be used. `str()` says what was expected."""


class CapacityError(PresencedError):
    """A written bound is reached; nothing was changed. `str()` names the bound."""


class StorageError(PresencedError):
    """The database can't be used as it is: another schema, a broken file. `str()` says what to do, and no password."""


class StorageUnavailable(PresencedError):
    """The database does not answer now: it is gone, slow, or asked too much. `str()` says which, for whoever asked."""


class Close(Enum):
    """The WebSocket close codes the server sends (RFC 6455 section 7.4).

    1000 to 1011 are registered by the RFC; 4400 and above are ours. `reconnect` says whether the same client,
    unchanged, should come back, with back-off and jitter. A client takes a code it does not know as one that
    says: come back.
    """

    NORMAL = 1000, "The connection did what it was opened for.", False
    GOING_AWAY = 1001, "The server is stopping or restarting.", True
    PROTOCOL_ERROR = 1002, "The client broke the rules of WebSocket framing.", False
    INVALID_DATA = 1007, "A text message was not valid UTF-8.", False
    MESSAGE_TOO_BIG = 1009, "A message exceeded the size or the number of fragments allowed.", False
    INTERNAL_ERROR = 1011, "The server met a fault of its own.", True
    TRY_AGAIN_LATER = 1013, "Too many connections wait to be let in.", True
    BAD_USER_ID = 4400, "The userId in the URL is missing or not usable; the reason says why.", False
    UNAUTHORIZED = 4401, "The token is missing, not accepted, expired or revoked; the reason says which.", False
    BAD_PARAMETER = 4402, "Another parameter of the URL can't be used; the reason says which.", False
    FORBIDDEN = 4403, "The userId in the URL is another than the token's.", False
    TIMED_OUT = 4408, "No answer to a ping, or a message left unfinished, for too long.", True
    REPLACED = 4409, "A newer connection of the same session took its place.", False
    DISCONNECTED = 4410, "The application closed all connections of this user.", False
    FELL_BEHIND = 4420, "The client read too slowly, for too long, to be kept up to date.", True
    TOO_MANY_CONNECTIONS = 4421, "The user has as many open connections as a user may have.", True
    TOO_MANY_REQUESTS = 4429, "The client sent or asked more, or faster, than allowed.", True

    def __init__(self, code: int, meaning: str, reconnect: bool) -> None:
        self.code = code
        self.meaning = meaning
        self.reconnect = reconnect


class ClientClose(Enum):
    """WebSocket close codes with which a client states why it leaves.

    Every other code from 3000 to 4999 is a deliberate close, like 1000. The rest counts as a loss. `resumable` says
    whether a session of presenced.v1 can be resumed afterwards.
    """

    NORMAL = 1000, "The user leaves deliberately: others are notified immediately, and the session ends.", False
    GOING_AWAY = 1001, "The page is unloaded: a grace period follows. Browsers send it; a script cannot.", True
    KEEP_SESSION = (
        4001,
        "The page enters the back/forward cache, or is frozen, and may return: the grace period of 1001 follows.",
        True,
    )

    def __init__(self, code: int, meaning: str, resumable: bool) -> None:
        self.code = code
        self.meaning = meaning
        self.resumable = resumable


class Fault(Enum):
    """Why a request of presenced.v1 was not carried out: `code` and `name` of the message ERROR."""

    BAD_JSON = 100, "The message is not JSON, or not text."
    BAD_REQUEST = 101, "The message is not a request, or one of its fields can't be used."
    TOO_MANY_WATCHED = 110, "The session would watch more users than allowed."
    TOO_MANY_ROOMS = 111, "The session would be in or watch more rooms than allowed."
    NOT_A_MEMBER = 112, "The session is not in this room."
    ROOM_FULL = 113, "The room has as many members as a room may have."
    NOT_ALLOWED = 114, "What was asked for is not among what the client's token allows."
    NOT_AUTHENTICATED = 115, "The token given with AUTH is not accepted."
    RATE_LIMITED = 120, "Requests come faster than allowed; wait a moment."

    def __init__(self, code: int, meaning: str) -> None:
        self.code = code
        self.meaning = meaning


class Problem(Enum):
    """The ways in which an HTTP request is refused (RFC 9110 section 15); `net.problems` makes the body.

    The name is the member `code` of the body. `retry` says whether the same request, unchanged, may succeed later.
    """

    BAD_REQUEST = 400, "The request is not valid HTTP/1.1.", False
    BAD_HANDSHAKE = 400, "The WebSocket handshake breaks RFC 6455.", False
    BAD_PARAMETER = 400, "A query parameter has a value that can't be used.", False
    BAD_BODY = 400, "The request's body or path holds something that can't be used.", False
    UNAUTHORIZED = 401, "The request needs an API key.", False
    FORBIDDEN = 403, "This may not be done with this API key.", False
    FORBIDDEN_ORIGIN = 403, "Pages of this origin may not connect.", False
    NOT_FOUND = 404, "There is nothing at this path.", False
    TOO_MANY_REQUESTS = 429, "Too much came from this address.", True
    METHOD_NOT_ALLOWED = 405, "This path does not take this method.", False
    CONFLICT = 409, "The server is not set up for this.", False
    CURSOR_TOO_OLD = (
        410,
        "The changes after this cursor are no longer known here: start again from who is online.",
        False,
    )
    BODY_TOO_LARGE = 413, "The request's body is too large.", False
    MISDIRECTED = 421, "The Host header is not a name of this server.", False
    REQUEST_TIMEOUT = 408, "The request did not arrive in time.", True
    UPGRADE_REQUIRED = 426, "This path speaks WebSocket only.", False
    WEBSOCKET_VERSION = 426, "Only version 13 of the WebSocket protocol is spoken.", False
    HEAD_TOO_LARGE = 431, "The head of the request is too large or has too many fields.", False
    INTERNAL_ERROR = 500, "The server met a fault of its own.", True
    UNAVAILABLE = 503, "The server is stopping or full, or does not reach what it depends on.", True
    HTTP_VERSION = 505, "The WebSocket handshake needs HTTP/1.1.", False

    def __init__(self, status: int, meaning: str, retry: bool) -> None:
        self.status = status
        self.meaning = meaning
        self.retry = retry
