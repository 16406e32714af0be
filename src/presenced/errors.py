"""Exceptions of the package, and the codes that peers receive.

    PresencedError
    ├── ConfigError      a setting is unknown, out of bounds, contradicts another or does not allow a call
    ├── PortInUse        another program listens on the wanted address
    ├── ListenError      listening on the address fails for another reason
    ├── BadUserId        a user id is missing, too long, or contains a refused character
    ├── BadParameter     another parameter of a client's URL, or another argument of a call, is invalid
    ├── BadToken         a token or ticket is not accepted
    ├── BadClaim         a backend's claim about a user is invalid
    ├── CapacityError    a documented bound is reached
    ├── ChangesLost      a follower of changes missed some of them
    ├── BackendError     the store that the nodes share cannot be used as it is
    ├── StorageError     the database cannot be used as it is
    └── StorageUnavailable   the database does not respond at the moment

`Close`, `ClientClose`, `Fault` and `Problem` are the only tables of codes. `docs/reference/codes.md` and
`spec/codes.json` are generated from them.
"""

from __future__ import annotations

from enum import Enum


class PresencedError(Exception):
    """Base of every exception that presenced raises on purpose."""


class ConfigError(PresencedError):
    """A setting is invalid, or a call needs another one.

    `str()` has one line for each error: the setting, its origin, and the expected value.
    """


class ListenError(PresencedError):
    """Listening on `host`:`port` fails because of `cause`."""

    def __init__(self, host: str, port: int, cause: OSError | UnicodeError) -> None:
        self.host = host
        self.port = port
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else cause
        super().__init__(f"can't listen on {host}:{port}: {reason}; choose another --host or --port")


class PortInUse(PresencedError):
    """Another program listens on `host`:`port` already."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"port {port} on {host} is already in use: stop the program that uses it "
            f"(`ss -ltnp 'sport = :{port}'` names it), or choose another port with --port"
        )


class BadUserId(PresencedError, ValueError):
    """A user id is missing, too long, or contains a refused character.

    `presence.identity` has the rules. `str()` fits into the reason of a close frame (123 bytes).
    """


class BadParameter(PresencedError, ValueError):
    """Another argument of a call, or another parameter of a client's URL, is invalid. `str()` says which.

    For a parameter of a connection, it fits into the reason of a close frame (123 bytes).
    """


class BadToken(PresencedError, ValueError):
    """A token or ticket is not accepted.

    `str()` is the reason. It fits into the reason of a close frame, and contains no part of the token but the name of
    a claim.

    Args:
        kind: Kind of the error, one of a small fixed set.
        is_genuine: The issuer created this token or ticket, but it is expired, revoked, used or meant for something
            else. It is not a guess, so it does not count against its address.
    """

    def __init__(self, kind: str, detail: str, is_genuine: bool = False) -> None:
        self.kind = kind
        self.is_genuine = is_genuine
        super().__init__(detail)


class BadClaim(PresencedError, ValueError):
    """A claim about a user is invalid. `str()` names the expected value."""


class CapacityError(PresencedError):
    """A documented bound is reached, and nothing was changed. `str()` names the bound."""


class ChangesLost(PresencedError):
    """The changes after a cursor are no longer available. Read all online users again, and follow from there."""

    def __init__(self) -> None:
        super().__init__("the changes after this cursor are no longer available; read all online users again")


class BackendError(PresencedError):
    """The store that the nodes share cannot be used as it is. `str()` is one line that says why, and what helps."""


class StorageError(PresencedError):
    """The database cannot be used as it is, for example because of another schema version or a broken file.

    `str()` says what to do, and contains no password.
    """


class StorageUnavailable(PresencedError):
    """The database does not respond now: it is down, slow or overloaded. `str()` says which."""


class Close(Enum):
    """WebSocket close codes that the server sends (RFC 6455 section 7.4).

    The RFC registers 1000 to 1011, and IANA 1013. Codes from 4400 are our own. `reconnect` says whether the same
    client, unchanged, should reconnect with back-off and jitter. `hint` is the advice that clients give to their
    developers. With `is_slow` the back-off starts at seconds instead of half a second, because the server is
    overloaded or the client asks for too much. A client also reconnects after a code that it does not know.
    """

    NORMAL = 1000, "The connection has served its purpose.", False, "Connect again when presence is needed."
    GOING_AWAY = 1001, "The server is stopping or restarting.", True, "Wait: the client reconnects."
    PROTOCOL_ERROR = 1002, "The client violated the WebSocket protocol.", False, "Update the WebSocket library."
    INVALID_DATA = 1007, "A text message was not valid UTF-8.", False, "Send text messages in UTF-8."
    MESSAGE_TOO_BIG = (
        1009,
        "A message is too large, or has too many fragments.",
        False,
        "Split requests at maxMessageSize of CONNECTION_ESTABLISHED.",
    )
    INTERNAL_ERROR = 1011, "An error occurred in the server.", True, "Look into the log of the server."
    TRY_AGAIN_LATER = (
        1013,
        "Authentication is not possible now: too many connections wait for it, or the token cannot be verified.",
        True,
        "Check that the key set or callback that verifies tokens responds.",
        True,
    )
    BAD_USER_ID = (
        4400,
        "The userId in the URL is missing or invalid. The reason says why.",
        False,
        "Set userId, or connect only after the user has signed in.",
    )
    UNAUTHORIZED = (
        4401,
        "The token is missing, invalid, expired or revoked. The reason says which.",
        False,
        "Fetch a new token, sign in again, or check the setup with presenced verify-token.",
    )
    BAD_PARAMETER = (
        4402,
        "Another parameter of the URL is invalid. The reason says which.",
        False,
        "Correct the parameter that the reason names.",
    )
    FORBIDDEN = (
        4403,
        "The userId in the URL is not the user of the token.",
        False,
        "Leave userId out: the token has it.",
    )
    TIMED_OUT = (
        4408,
        "The client did not answer a ping, or did not finish a message, in time.",
        True,
        "Wait: the client reconnects.",
    )
    REPLACED = (
        4409,
        "A newer connection of the same session has replaced this one.",
        False,
        "Start a new session: another tab or process has this one.",
    )
    DISCONNECTED = 4410, "The application has disconnected this user.", False, "Let the user sign in again."
    FELL_BEHIND = (
        4420,
        "The client was too slow for too long to receive all changes.",
        True,
        "Watch fewer users, or spend less time on each message.",
    )
    TOO_MANY_CONNECTIONS = (
        4421,
        "The user has the maximum number of open connections.",
        True,
        "Share one connection among tabs, or close those not in use.",
        True,
    )
    TOO_MANY_REQUESTS = 4429, "The client has exceeded a rate limit.", True, "Send and connect less often.", True

    def __init__(self, code: int, meaning: str, reconnect: bool, hint: str, is_slow: bool = False) -> None:
        self.code = code
        self.meaning = meaning
        self.reconnect = reconnect
        self.hint = hint
        self.is_slow = is_slow


class ClientClose(Enum):
    """WebSocket close codes with which a client says why it disconnects.

    Every other code from 3000 to 4999 is a deliberate close, like 1000. All others count as a loss. `resumable` says
    whether a session of presenced.v1 can be resumed afterwards.
    """

    NORMAL = 1000, "The user disconnects deliberately. Others are notified immediately, and the session ends.", False
    GOING_AWAY = 1001, "The page is unloaded. A grace period follows. Browsers send this code; a script cannot.", True
    KEEP_SESSION = (
        4001,
        "The page enters the back/forward cache or is frozen, and may return. The grace period of 1001 follows.",
        True,
    )

    def __init__(self, code: int, meaning: str, resumable: bool) -> None:
        self.code = code
        self.meaning = meaning
        self.resumable = resumable


class Fault(Enum):
    """Errors of requests of presenced.v1: `code` and `name` of the message ERROR. The connection stays open.

    `retry` says whether the same request, unchanged, may succeed later. The message says how to fix the request.
    """

    BAD_JSON = 100, "The message is not JSON, or not a text message.", False
    BAD_REQUEST = 101, "The message is not a request, or one of its fields is invalid.", False
    TOO_MANY_WATCHED = 110, "The session would watch more users than allowed.", False
    TOO_MANY_ROOMS = 111, "The session would be in or watch more rooms than allowed.", False
    NOT_A_MEMBER = 112, "The session is not in this room.", False
    ROOM_FULL = 113, "The room has the maximum number of members.", True
    NOT_ALLOWED = 114, "The client's token does not allow this request.", False
    NOT_AUTHENTICATED = 115, "The token in AUTH is not accepted.", False
    RATE_LIMITED = 120, "The client sends requests faster than allowed. Wait a moment.", True

    def __init__(self, code: int, meaning: str, retry: bool) -> None:
        self.code = code
        self.meaning = meaning
        self.retry = retry


class Problem(Enum):
    """Reasons for refusing an HTTP request (RFC 9110 section 15). `net.problems` creates the body.

    The name is the member `code` of the body, and `meaning` is its `title`. `retry` says whether the same request,
    unchanged, may succeed later.
    """

    BAD_REQUEST = 400, "The request is not valid HTTP/1.1.", False
    BAD_HANDSHAKE = 400, "The WebSocket handshake violates RFC 6455.", False
    BAD_PARAMETER = 400, "A query parameter is invalid.", False
    BAD_BODY = 400, "The body or the path of the request is invalid.", False
    UNAUTHORIZED = 401, "The request needs a valid API key or token.", False
    FORBIDDEN = 403, "This API key does not allow the request.", False
    FORBIDDEN_ORIGIN = 403, "Pages of this origin may not connect.", False
    NOT_FOUND = 404, "There is nothing at this path.", False
    METHOD_NOT_ALLOWED = 405, "This path does not support this method.", False
    REQUEST_TIMEOUT = 408, "The request did not arrive in time.", True
    CONFLICT = 409, "The server is not configured for this request.", False
    CURSOR_TOO_OLD = (
        410,
        "The changes after this cursor are no longer available. Start again with the list of online users.",
        False,
    )
    BODY_TOO_LARGE = 413, "The body of the request is too large.", False
    MISDIRECTED = 421, "The Host header is not a name of this server.", False
    UPGRADE_REQUIRED = 426, "This path supports only WebSocket.", False
    WEBSOCKET_VERSION = 426, "The server supports only version 13 of the WebSocket protocol.", False
    TOO_MANY_REQUESTS = 429, "This address has exceeded a limit.", True
    HEAD_TOO_LARGE = 431, "The head of the request is too large or has too many fields.", False
    INTERNAL_ERROR = 500, "An error occurred in the server.", True
    UNAVAILABLE = 503, "The server is stopping or full, or a service that it needs does not respond.", True
    HTTP_VERSION = 505, "The WebSocket handshake needs HTTP/1.1.", False

    def __init__(self, status: int, meaning: str, retry: bool) -> None:
        self.status = status
        self.meaning = meaning
        self.retry = retry
