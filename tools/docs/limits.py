"""`docs/reference/limits.md`: every bound once, with the numbers from the code."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from tools.docs.markdown import table, wrapped

from presenced.config.settings import Settings
from presenced.webhooks.config import WebhookConfig


class Limit(NamedTuple):
    """One row of the page."""

    what: str
    value: str
    setting: str
    """Names of settings, with spaces between them; empty if the limit is fixed."""
    effect: str


USED: set[str] = set()
"""Constants of the code that are on the page: the module without `presenced.`, a full stop and the name."""


def limits() -> str:
    """Return the document."""
    parts = []
    for title, (introduction, rows) in _sections().items():
        cells = [[row.what, row.value, _settings(row.setting), row.effect] for row in rows]
        lines = [f"## {title}", *([wrapped(introduction)] if introduction else [])]
        parts.append("\n\n".join([*lines, table(["what", "limit", "setting", "at the limit"], cells)]))
    return "\n\n".join([_HEAD, *parts]) + "\n"


def _settings(names: str) -> str:
    return ", ".join(f"[`{name}`](settings.md#{name})" for name in names.split())


def _get(name: str) -> Any:
    """Return a constant of the code, and note that the page has it."""
    USED.add(name)
    module, _, constant = name.rpartition(".")
    return getattr(import_module(f"presenced.{module}"), constant)


def _number(name: str) -> str:
    return f"{_get(name):,}"


def _size(name: str) -> str:
    return size(_get(name))


def _time(name: str) -> str:
    return duration(_get(name))


def _set(name: str) -> str:
    """Return the default of a setting in the words of the page."""
    default = Settings.model_fields[name].default
    return f"{default:,g}" if isinstance(default, float) else f"{default:,}"


def _set_size(name: str) -> str:
    return size(Settings.model_fields[name].default)


def _set_time(name: str) -> str:
    return duration(Settings.model_fields[name].default)


def size(number: int) -> str:
    """Return a number of bytes: `64 KiB`."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= factor and number % factor == 0:
            return f"{number // factor:,} {unit}"
    return f"{number:,} bytes"


def duration(seconds: float) -> str:
    """Return a duration: `10 s`, `1 hour`, `30 days`."""
    for unit, factor in (("day", 86_400), ("hour", 3_600)):
        if seconds >= factor and seconds % factor == 0:
            count = int(seconds // factor)
            return f"{count:,} {unit}{'s' if count > 1 else ''}"
    return f"{seconds:,g} s"


def _sections() -> dict[str, tuple[str, list[Limit]]]:
    webhooks = WebhookConfig((), ())
    return {
        "Connections": (
            "An IPv6 address counts as its /64. Addresses of the same machine do not count. If the server listens on "
            "loopback and trusts no proxy, no address counts.",
            [
                Limit(
                    "open connections of any kind",
                    f"open files of the process minus {_number('server.SPARE_FILES')}, at most "
                    f"{_number('server.MAX_CONNECTIONS')}",
                    "max_connections",
                    "503 with `Retry-After`",
                ),
                Limit("open connections of an address", _set("address_connections"), "address_connections", "429"),
                Limit(
                    "handshakes of an address",
                    f"{_set('address_rate')} per second, {_set('address_burst')} at once",
                    "address_rate address_burst",
                    "429 with `Retry-After`",
                ),
                Limit(
                    "failed authentications of an address",
                    f"{_set('address_failure_rate')} per second, {_set('address_failure_burst')} at once",
                    "address_failure_rate address_failure_burst",
                    "429 with `Retry-After`, for handshakes and the HTTP API",
                ),
                Limit("open connections of a user", _set("user_connections"), "user_connections", "4421"),
                Limit(
                    "connections that wait to authenticate",
                    _set("max_unauthenticated"),
                    "max_unauthenticated",
                    "1013",
                ),
                Limit("time to authenticate", _set_time("auth_timeout"), "auth_timeout", "4401"),
                Limit(
                    "delay of the event loop",
                    _time("node.heartbeat.MAX_LAG_S"),
                    "",
                    "new handshakes get 503 with a `Retry-After` of up to "
                    f"{_number('transports.front_door.MAX_RETRY_S')} s",
                ),
                Limit(
                    "addresses that the limits remember",
                    _number("net.throttle.MAX_ADDRESSES"),
                    "",
                    "the least recently active one is evicted",
                ),
                Limit(
                    "entries of a forwarding header that are read",
                    _number("net.addresses.MAX_HOPS"),
                    "",
                    "the first entry read is the client's address",
                ),
                Limit(
                    "header of the PROXY protocol",
                    _size("net.proxy_protocol.MAX_PROXY_HEADER_BYTES"),
                    "",
                    "400",
                ),
                Limit(
                    "connections that the kernel holds until they are accepted",
                    _number("transports.listener.BACKLOG"),
                    "",
                    "the kernel ignores further attempts, and clients retry",
                ),
            ],
        ),
        "HTTP requests": (
            "",
            [
                Limit("head of a request", _set_size("max_head_size"), "max_head_size", "431"),
                Limit("fields in the head", _number("transports.http1.head.MAX_HEADERS"), "", "431"),
                Limit("digits of `Content-Length`", _number("transports.http1.head.MAX_LENGTH_DIGITS"), "", "400"),
                Limit("time for the head to arrive", _set_time("head_timeout"), "head_timeout", "408"),
                Limit("time between two requests", _set_time("keep_alive"), "keep_alive", "the connection is closed"),
                Limit(
                    "pipelined requests that wait",
                    _number("transports.http1.connection.MAX_PIPELINED_REQUESTS"),
                    "",
                    "429",
                ),
                Limit(
                    "input behind an unanswered request",
                    _size("transports.http1.connection.MAX_UNREAD_BYTES"),
                    "",
                    "the server pauses reading",
                ),
                Limit(
                    "input of a body that is not read yet",
                    _size("transports.http1.exchange.MAX_UNREAD_BODY_BYTES"),
                    "",
                    "the server pauses reading",
                ),
                Limit(
                    "body that the server discards",
                    _size("transports.http1.connection.MAX_DISCARDED_BYTES"),
                    "",
                    "the connection ends",
                ),
                Limit("line of a chunk", _size("transports.http1.body.MAX_CHUNK_LINE_BYTES"), "", "400"),
                Limit("trailers after the last chunk", _size("transports.http1.body.MAX_TRAILER_BYTES"), "", "400"),
                Limit(
                    "time in which a client reads nothing of a response",
                    _set_time("behind_timeout"),
                    "behind_timeout",
                    "the connection is aborted",
                ),
            ],
        ),
        "WebSocket messages": (
            "These limits concern both protocols. A frame, even a ping, counts as at least "
            f"{_size('transports.websocket.connection.FRAME_COST_BYTES')} of input.",
            [
                Limit(
                    "input of a client",
                    f"{_set_size('input_rate')} per second, {_set_size('input_burst')} at once",
                    "input_rate input_burst",
                    "4429",
                ),
                Limit("message, even after decompression", _set_size("max_message_size"), "max_message_size", "1009"),
                Limit("fragments of a message", _set("max_message_fragments"), "max_message_fragments", "1009"),
                Limit("time for a message to arrive", _set_time("message_timeout"), "message_timeout", "4408"),
                Limit("time to answer a ping", _set_time("pong_timeout"), "pong_timeout", "4408"),
                Limit(
                    "time to answer a close frame",
                    _set_time("close_timeout"),
                    "close_timeout",
                    "the connection is aborted",
                ),
                Limit("pongs that wait for a client that does not read", "1, the last", "", "earlier ones are dropped"),
                Limit(
                    "input parsed in one turn of the loop",
                    _size("transports.websocket.connection.SLICE_BYTES"),
                    "",
                    "the rest waits, and reading is paused",
                ),
            ],
        ),
        "Clients that read slowly": (
            "",
            [
                Limit(
                    "buffer for a client",
                    f"{_set_size('write_buffer')}, plus one write",
                    "write_buffer",
                    "nothing more is written; later changes replace earlier ones",
                ),
                Limit(
                    "buffer in the kernel, beyond the client's window",
                    _size("transports.listener.MAX_UNSENT_BYTES"),
                    "",
                    "the client counts as slow",
                ),
                Limit("time behind", _set_time("behind_timeout"), "behind_timeout", "4420"),
                Limit(
                    "changes remembered for clients that are behind",
                    f"{_set('log_size')}, for {_set_time('log_age')}",
                    "log_size log_age",
                    "the oldest are dropped. presenced.v1: a snapshot. Classic: 4420",
                ),
                Limit(
                    "requests of a client of presenced.v1 that does not read",
                    _number("protocols.v1.protocol.MAX_UNREAD_ANSWERS"),
                    "",
                    "4420",
                ),
                Limit(
                    "changes that wait for one flush",
                    _number("delivery.broadcaster.MAX_BATCH_EVENTS"),
                    "",
                    "they are written immediately",
                ),
            ],
        ),
        "Requests of presenced.v1": (
            "",
            [
                Limit(
                    "requests of a client",
                    f"{_set('request_rate')} per second, {_set('request_burst')} at once",
                    "request_rate request_burst",
                    f"`RATE_LIMITED`; after {_set('request_burst')} of these in a row 4429",
                ),
                Limit(
                    "newer tokens on a connection, in both protocols",
                    f"{_set('request_rate')} per second, {_set('request_burst')} at once; one at a time",
                    "request_rate request_burst",
                    "`NOT_AUTHENTICATED`; classic: ignored",
                ),
                Limit(
                    "choices of a user that wait for `status_pause`",
                    "2",
                    "status_pause",
                    "the last one replaces the previous one",
                ),
                Limit(
                    "activities of a user that wait",
                    "1 for each session",
                    "status_pause",
                    "the last one replaces the previous one",
                ),
                Limit(
                    "users watched by one session, by id",
                    _number("presence.subscriptions.MAX_WATCHED_USERS"),
                    "",
                    "`TOO_MANY_WATCHED`",
                ),
                Limit(
                    "rooms joined or watched by one session",
                    _number("presence.subscriptions.MAX_ROOMS"),
                    "",
                    "`TOO_MANY_ROOMS`",
                ),
                Limit("`id` of a request", "64 characters, or an integer of 64 bits", "", "`BAD_REQUEST`"),
                Limit(
                    "text of a status",
                    f"{_number('protocols.v1.messages.MAX_TEXT_CHARACTERS')} characters",
                    "",
                    "`BAD_REQUEST`; 4402 in the URL; 400 in the HTTP API",
                ),
                Limit(
                    "emoji of a status",
                    f"{_number('protocols.v1.messages.MAX_EMOJI_CHARACTERS')} characters",
                    "",
                    "the same",
                ),
                Limit(
                    "data of a status or a member, as JSON",
                    f"{_size('protocols.v1.messages.MAX_DATA_BYTES')}, "
                    f"{_number('protocols.v1.codec.MAX_NESTING_LEVELS')} levels",
                    "",
                    "`BAD_REQUEST`; 400 in the HTTP API",
                ),
                Limit(
                    "`expiresIn`",
                    f"{_get('http.api.requests.MAX_DURATION_S') // 86_400} days",
                    "",
                    "`BAD_REQUEST`; 400 in the HTTP API",
                ),
                Limit(
                    "`device` in the URL",
                    f"{_number('protocols.v1.connect.MAX_DEVICE_CHARACTERS')} characters",
                    "",
                    "4402",
                ),
                Limit(
                    "other parameters in the URL",
                    f"{_number('protocols.v1.connect.MAX_VALUE_CHARACTERS')} characters; `until` "
                    f"{_number('protocols.v1.connect.MAX_TIME_DIGITS')} digits",
                    "",
                    "4402",
                ),
                Limit(
                    "`message` of an ERROR",
                    f"{_number('protocols.v1.protocol.MAX_REASON_CHARACTERS')} characters",
                    "",
                    "the rest is omitted",
                ),
            ],
        ),
        "Users, sessions and rooms": (
            "",
            [
                Limit(
                    "user id",
                    f"{_number('presence.identity.MAX_USER_ID_CHARACTERS')} characters",
                    "",
                    "4400; 400 in the HTTP API",
                ),
                Limit(
                    "user id that is a number on the wire",
                    f"{_number('presence.identity.MAX_SAFE_INTEGER')}",
                    "",
                    "it is a string",
                ),
                Limit(
                    "name of a room",
                    f"{_number('protocols.v1.messages.MAX_ROOM_NAME_CHARACTERS')} characters",
                    "",
                    "`BAD_REQUEST`; 400 in the HTTP API",
                ),
                Limit("time to resume a session", _set_time("resume_window"), "resume_window", "a new session"),
                Limit(
                    "sessions of a user without a connection",
                    _number("presence.user.MAX_DETACHED_SESSIONS"),
                    "",
                    "one whose grace period is over is evicted, otherwise the one that ends first",
                ),
                Limit(
                    "absent users with a choice", _set("max_choices"), "max_choices", "the one absent longest loses it"
                ),
                Limit(
                    "absent users with display data",
                    _set("max_choices"),
                    "max_choices",
                    "the one absent longest loses it",
                ),
                Limit(
                    "sources that claim a status of a user",
                    _number("presence.status.MAX_SOURCES"),
                    "",
                    "503",
                ),
                Limit(
                    "name of a source",
                    f"{_number('presence.status.MAX_SOURCE_CHARACTERS')} characters",
                    "",
                    "400",
                ),
                Limit(
                    "priority of a claim",
                    f"-{_number('presence.status.MAX_PRIORITY')} to {_number('presence.status.MAX_PRIORITY')}",
                    "",
                    "400",
                ),
                Limit(
                    "absent users with claims",
                    _number("presence.status.MAX_USERS_WITH_CLAIMS"),
                    "",
                    "the one absent longest loses them",
                ),
                Limit("announced users", _set("max_announced"), "max_announced", "503; in Python `CapacityError`"),
                Limit("members of a room", _set("room_members"), "room_members", "`ROOM_FULL`"),
                Limit(
                    "members of a room that sends each change",
                    f"below {_set('room_coalesced')}",
                    "room_coalesced",
                    "changes are sent once a second",
                ),
                Limit(
                    "members of a room that names them",
                    f"below {_set('room_counts')}",
                    "room_counts",
                    "only their number, once a second",
                ),
                Limit(
                    "former members that a room remembers",
                    _number("presence.rooms.MAX_FORMER_MEMBERS"),
                    "",
                    "clients further behind get the whole room",
                ),
                Limit(
                    "users or members in one page of a snapshot",
                    _set("snapshot_page"),
                    "snapshot_page",
                    "another page",
                ),
                Limit(
                    "decisions remembered until stored data is restored",
                    _number("presence.restore.MAX_NEWER_DECISIONS"),
                    "",
                    "restored data may override a later decision",
                ),
            ],
        ),
        "Tokens and grants": (
            "",
            [
                Limit(
                    "token or ticket", f"{_number('auth.authenticator.MAX_TOKEN_CHARACTERS')} characters", "", "4401"
                ),
                Limit("`jti` of a token", f"{_number('auth.jwt.MAX_TOKEN_ID_CHARACTERS')} characters", "", "4401"),
                Limit("expiry of a token, from now", _set_time("token_lifetime"), "token_lifetime", "4401"),
                Limit(
                    "shared secret",
                    f"at least {_number('auth.keys.MIN_SECRET_BYTES')} bytes",
                    "",
                    "the server does not start",
                ),
                Limit("RSA key", f"at least {_number('auth.keys.MIN_RSA_BITS')} bits", "", "the server does not start"),
                Limit(
                    "keys",
                    _number("auth.keys.MAX_KEYS"),
                    "",
                    "the server does not start; of a JWK Set, the first ones are used",
                ),
                Limit(
                    "tokens that wait for new keys",
                    _number("auth.jwks.MAX_WAITING_TOKENS"),
                    "",
                    "1013",
                ),
                Limit(
                    "requests for keys that tokens cause",
                    f"one in {_time('auth.jwks.MIN_REFETCH_S')}",
                    "",
                    "tokens of unknown keys are refused or wait",
                ),
                Limit(
                    "keys remembered after they left the JWK Set",
                    _number("auth.jwks.MAX_RETIRED_KEYS"),
                    "",
                    "the one that left first is evicted",
                ),
                Limit(
                    "simultaneous requests to a callback",
                    _set("callback_concurrency"),
                    "callback_concurrency",
                    "further ones wait",
                ),
                Limit(
                    "waiting calls of a callback or a function",
                    _number("auth.pending.MAX_PENDING_CALLS"),
                    "",
                    "1013",
                ),
                Limit(
                    "cached results of a callback",
                    _number("auth.callbacks.MAX_CACHED_RESULTS"),
                    "callback_cache",
                    "the oldest is evicted",
                ),
                Limit("unused tickets", _number("auth.tickets.MAX_TICKETS"), "", "503 for one more"),
                Limit("time to use a ticket", _time("auth.tickets.TICKET_LIFETIME_S"), "", "4401"),
                Limit(
                    "revocations",
                    _number("auth.revocations.MAX_REVOCATIONS"),
                    "",
                    "503 for one more; none is evicted",
                ),
                Limit(
                    "`presence.watch`",
                    f"{_get('presence.subscriptions.MAX_WATCHED_USERS'):,} ids",
                    "",
                    "the token is refused",
                ),
                Limit("`presence.rooms`", f"{_get('presence.subscriptions.MAX_ROOMS'):,} rooms", "", "the same"),
                Limit("`presence.block`", f"{_number('presence.visibility.MAX_BLOCKED_USERS')} ids", "", "the same"),
                Limit(
                    "`presence.display`, as JSON",
                    f"{_size('protocols.v1.messages.MAX_DISPLAY_BYTES')}, "
                    f"{_number('protocols.v1.codec.MAX_NESTING_LEVELS')} levels",
                    "",
                    "the same",
                ),
                Limit(
                    "`presence.roles`",
                    f"{_number('auth.grants.MAX_ROLES')} roles of "
                    f"{_number('auth.grants.MAX_ROLE_CHARACTERS')} characters",
                    "",
                    "the same",
                ),
                Limit(
                    "lost event streams of tickets",
                    f"{_number('auth.resumable_streams.MAX_LOST_STREAMS')}, "
                    f"{_number('auth.resumable_streams.MAX_LOST_STREAMS_OF_USER')} of one user",
                    "",
                    "the one lost first needs a new ticket",
                ),
                Limit(
                    "absence of an event stream of a ticket",
                    _time("auth.resumable_streams.RESUME_WINDOW_S"),
                    "",
                    "401: it needs a new ticket",
                ),
                Limit("API keys", _number("auth.api_keys.MAX_API_KEYS"), "api_keys", "the server does not start"),
            ],
        ),
        "HTTP API": (
            "",
            [
                Limit("users in a request", _number("http.api.requests.MAX_USERS"), "", "400"),
                Limit(
                    "entries in a response, sessions in a page of `/stats`",
                    _number("http.api.requests.MAX_PAGE_ENTRIES"),
                    "",
                    "400 for a higher `limit`",
                ),
                Limit(
                    "body of a request",
                    f"{_size('http.api.endpoint.MAX_BODY_BYTES')}; {_size('http.api.endpoint.LARGE_BODY_BYTES')} if it "
                    "lists users",
                    "",
                    "413, and the connection ends",
                ),
                Limit("time for a body to arrive", _time("http.api.dispatch.BODY_TIMEOUT_S"), "", "408"),
                Limit("long poll", f"{_number('http.api.requests.MAX_WAIT_S')} s", "", "400 for a higher `wait`"),
                Limit("waiting and streaming requests with API keys", _number("http.waiting.MAX_BACKENDS"), "", "503"),
                Limit("waiting and streaming requests of all users", _number("http.waiting.MAX_WATCHERS"), "", "503"),
                Limit(
                    "waiting and streaming requests of one user", _number("http.waiting.MAX_WAITING_OF_USER"), "", "503"
                ),
                Limit(
                    "changes for backends that follow them",
                    _set("journal_size"),
                    "journal_size",
                    "the oldest is dropped. 410 for a follower that needs it; `/watch`: a snapshot",
                ),
                Limit(
                    "changes in an explanation", _number("presence.explain.MAX_CHANGES"), "", "older ones are left out"
                ),
                Limit(
                    "requests that wait for the database",
                    f"{_number('worker.calls.MAX_CALLS')}, for {_time('worker.calls.CALL_TIMEOUT_S')}",
                    "",
                    "503",
                ),
            ],
        ),
        "Outgoing requests": (
            "The server sends requests for JWK Sets, callbacks and webhooks.",
            [
                Limit("response", _size("net.http_client.MAX_RESPONSE_BYTES"), "", "the request has failed"),
                Limit(
                    "request to a callback",
                    _set_time("callback_timeout"),
                    "callback_timeout",
                    "clients get 1013",
                ),
                Limit(
                    "request for a JWK Set",
                    _time("auth.factory.JWKS_TIMEOUT_S"),
                    "",
                    "the known keys stay in use",
                ),
                Limit("request of a webhook", _set_time("webhook_timeout"), "webhook_timeout", "a retry"),
                Limit(
                    "addresses of a name that are tried",
                    _number("net.http_client.MAX_ADDRESSES_OF_NAME"),
                    "",
                    "further ones are ignored",
                ),
            ],
        ),
        "Storage": (
            "",
            [
                Limit(
                    "records that wait for the database, of each kind",
                    _number("storage.collected.MAX_WAITING"),
                    "",
                    "changes that a newer one replaces are dropped, then the oldest records",
                ),
                Limit(
                    "one record",
                    _size("worker.rpc.MAX_MESSAGE_BYTES"),
                    "",
                    "it is dropped",
                ),
                Limit("age of changes and ended sessions", _set_time("history_age"), "history_age", "they are deleted"),
                Limit(
                    "token id in a stored revocation",
                    f"{_number('storage.write_behind.MAX_SUBJECT_CHARACTERS')} characters",
                    "",
                    "it is not stored, and ends with the server",
                ),
                Limit(
                    "stored client address",
                    f"{_number('storage.write_behind.MAX_ADDRESS_CHARACTERS')} characters",
                    "",
                    "it is truncated",
                ),
                Limit(
                    "restored claims",
                    _number("storage.store.MAX_RESTORED_CLAIMS"),
                    "",
                    "the newest are restored",
                ),
                Limit(
                    "wait for the storage worker at startup",
                    _time("worker.client.LAUNCH_TIMEOUT_S"),
                    "",
                    "the wait for stored data begins",
                ),
                Limit(
                    "wait for stored data at startup",
                    _time("worker.client.DATABASE_TIMEOUT_S"),
                    "",
                    "the server starts without it, and restores it later",
                ),
                Limit(
                    "wait for storage at shutdown",
                    _time("worker.client.STOP_TIMEOUT_S"),
                    "",
                    f"the storage worker continues alone for up to {_time('worker.program.LAST_TRIES_S')}",
                ),
            ],
        ),
        "Several nodes": (
            "Limits of a cluster. They apply if `backend` is set.",
            [
                Limit("nodes", _number("cluster.backend.MAX_SLOTS"), "", "one more waits for a free place"),
                Limit(
                    "waiting entries of the log that are not about records",
                    _number("cluster.replica.outbox.MAX_CONTROLS"),
                    "",
                    "further ones are dropped: a user who is disconnected on one node stays connected on the others. "
                    "Revocations are not dropped",
                ),
                Limit(
                    "users who are being erased",
                    _number("cluster.commands.pending_erasures.MAX_ERASURES"),
                    "",
                    "rows that are stored about further ones until they are offline stay",
                ),
                Limit(
                    "commands that wait for the other nodes",
                    f"{_number('cluster.commands.waits.MAX_WAITS')}, "
                    f"for {_time('http.api.agreement.AGREEMENT_TIMEOUT_S')}",
                    "",
                    "503 with `Retry-After`",
                ),
                Limit(
                    "tickets that the store is asked for again, because they may be on their way",
                    _number("cluster.commands.tickets.MAX_ASKING_AGAIN"),
                    "",
                    "one more is refused at once",
                ),
                Limit(
                    "difference between the clocks of nodes, for tickets",
                    _time("cluster.commands.tickets.MAX_CLOCK_DIFFERENCE_S"),
                    "",
                    "a ticket has expired too early",
                ),
                Limit(
                    "erased users who are still shown",
                    f"{_number('cluster.commands.erasing_publisher.MAX_ERASED')}, "
                    f"for {_time('cluster.commands.erasing_publisher.ERASED_S')}",
                    "",
                    "details of the user's last change stay in the journal",
                ),
                Limit(
                    "calls about messages and tickets, waiting",
                    _number("cluster.redis.messages.MAX_WAITING_CALLS"),
                    "",
                    "further ones get no answer",
                ),
                Limit(
                    "messages waiting for a node",
                    _number("cluster.redis.messages.MAX_INBOX"),
                    "",
                    "the oldest are dropped",
                ),
                Limit(
                    "sessions that other nodes are asked for at a time",
                    _number("cluster.handover.MAX_SESSION_REQUESTS"),
                    "",
                    "further clients get new sessions",
                ),
                Limit(
                    "seconds to wait for a session of another node",
                    _number("cluster.handover.ASK_TIMEOUT_S"),
                    "",
                    "the client gets a new session",
                ),
                Limit(
                    "users with sessions that have just come from other nodes",
                    _number("cluster.replica.moved_sessions.MAX_MOVED_USERS"),
                    "",
                    "what a stopped node has left of the oldest ends with its other sessions",
                ),
                Limit(
                    "offline users with something that was cleared, in each part of the store",
                    f"{_number('cluster.replica.cleared_records.MAX_CLEARED')}, "
                    f"for {_time('cluster.replica.cleared_records.CLEARED_S')}",
                    "",
                    "a node that was cut off meanwhile may bring it back",
                ),
                Limit(
                    "cleared claims of a user that are remembered as such",
                    _number("cluster.stamps.MAX_CLEARED_CLAIMS"),
                    "",
                    "the same",
                ),
                Limit(
                    "time for a disconnect to reach the other nodes",
                    _time("cluster.commands.commands.COMMAND_S"),
                    "",
                    "it has no effect there",
                ),
                Limit(
                    "parts of the store into which the users are divided",
                    "16",
                    "cluster_shards",
                    "the server does not start",
                ),
                Limit(
                    "items in the log",
                    _number("cluster.backend.LOG_ITEMS"),
                    "",
                    "a node that is further behind reads everything again",
                ),
            ],
        ),
        "Webhooks": (
            "",
            [
                Limit(
                    "receivers", _number("webhooks.config.MAX_ENDPOINTS"), "webhook_urls", "the server does not start"
                ),
                Limit(
                    "secrets", _number("webhooks.config.MAX_SECRETS"), "webhook_secrets", "the server does not start"
                ),
                Limit(
                    "secret",
                    f"{_number('webhooks.signing.MIN_SECRET_BYTES')} to "
                    f"{_number('webhooks.signing.MAX_SECRET_BYTES')} bytes",
                    "webhook_secrets",
                    "the server does not start",
                ),
                Limit(
                    "events in a request",
                    f"{webhooks.batch_size}, about {_size('webhooks.delivery.MAX_REQUEST_BYTES')}",
                    "",
                    "the rest waits for the next request",
                ),
                Limit("simultaneous requests to a receiver", "1", "", "events wait"),
                Limit(
                    "waiting events of a receiver",
                    f"{webhooks.max_waiting:,}, for {duration(webhooks.max_age_s)}",
                    "",
                    "the oldest become dead letters",
                ),
                Limit(
                    "dead letters of a receiver",
                    f"{webhooks.max_dead:,}, for {_time('webhooks.dispatcher.MAX_DEAD_AGE_S')}",
                    "",
                    "the oldest are deleted",
                ),
                Limit(
                    "events of a receiver that are refused alone",
                    _number("webhooks.delivery.MAX_HELD_EVENTS"),
                    "",
                    "all events wait for the next one",
                ),
                Limit("delay before a retry", duration(webhooks.max_retry_s), "", "it no longer grows"),
                Limit(
                    "`Retry-After` of a receiver",
                    _time("webhooks.sender.MAX_RETRY_AFTER_S"),
                    "",
                    "it is shortened",
                ),
                Limit(
                    "stored error",
                    f"{_number('webhooks.queue.MAX_LAST_ERROR_CHARACTERS')} characters",
                    "",
                    "the rest is omitted",
                ),
            ],
        ),
        "Log, settings and processes": (
            "",
            [
                Limit(
                    "lines about individual connections",
                    f"{_set('log_burst')} per second",
                    "log_burst",
                    "one line sums up the rest",
                ),
                Limit(
                    "tracebacks of faults in requests",
                    f"{_number('transports.http1.fault_log.MAX_TRACEBACKS')} in "
                    f"{_time('transports.http1.fault_log.TRACEBACK_PERIOD_S')}",
                    "",
                    "the next one states the number of others",
                ),
                Limit(
                    "lines about failed callbacks and functions",
                    f"{_number('auth.pending.MAX_LOGGED_FAILURES')} per second",
                    "",
                    "further ones are dropped",
                ),
                Limit(
                    "lines that wait for a slow output",
                    _number("runtime.logs.MAX_WAITING_RECORDS"),
                    "",
                    "further ones are dropped and counted",
                ),
                Limit(
                    "text of a client in a line",
                    f"{_number('runtime.text.MAX_QUOTED_CHARACTERS')} characters",
                    "",
                    "the rest is omitted",
                ),
                Limit("entries of a list in the settings", "1,000", "", "the server does not start"),
                Limit(
                    "settings file, file with a secret",
                    _size("config.text_files.MAX_FILE_BYTES"),
                    "",
                    "the server does not start",
                ),
                Limit(
                    "writer processes",
                    f"{Settings.model_fields['writers'].default}, up to 64",
                    "writers",
                    "the server does not start",
                ),
                Limit(
                    "answer of a writer process",
                    _time("transports.fastpath.writer_pool.ANSWER_TIMEOUT_S"),
                    "",
                    "it is killed, and the connections it was writing to are aborted",
                ),
                Limit(
                    "time over which a stop closes connections",
                    _time("node.shutdown.MAX_DRAIN_S"),
                    "",
                    "the remaining ones are closed",
                ),
            ],
        ),
    }


_HEAD = """# Limits

*Generated from `tools/docs/limits.py`, with the constants and settings it names, by `make docs`.
Do not edit this file.*

Everything that can grow has a limit, and this page lists them all. Numbers are defaults. A limit
with a setting can be changed, and the others are fixed. Numbers of four digits are [close
codes](codes.md#close-codes-of-the-websocket), and numbers of three digits are [HTTP
statuses](codes.md#problems-of-http). Names in capitals are [errors of
presenced.v1](codes.md#errors-of-presencedv1). Caches are not listed, because an evicted entry is
computed again. Calls of the Python interface have [their own](python-api.md#bounds)."""
