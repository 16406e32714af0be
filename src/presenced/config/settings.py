"""All settings, declared once.

Flags, environment, TOML file, `config show` and docs/reference/settings.md derive from them.

    class StorageSettings(Section, title="Storage"):     a section: its fields, and the checks between them
    class Settings(..., StorageSettings, ...):           all sections, and the checks between sections

Sections exist for the reader of this file and of `--help`. At run time a setting is a plain attribute (`settings.port`)
and its name is the same everywhere: flag, environment variable, TOML file.

To add a setting, declare a field in its section. A type such as `Seconds` names the value in `--help`. `ValueName`
names it for a single setting.
"""

import ipaddress
import socket
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from presenced.config.types import (
    Bytes,
    FileName,
    Rate,
    Seconds,
    Secret,
    Section,
    Texts,
    Url,
    Urls,
    ValueName,
    checked_backend_url,
)

WEBSOCKET_PATH = "/ws-online-status"
"""Path of the WebSocket. Not a setting, because existing clients of the classic protocol have it built in."""

DATABASE_SCHEMES = ("postgresql://", "postgres://", "mysql://", "mariadb://", "sqlite:///")
"""Allowed beginnings of a database URL. An application's own URL of the same database begins with one of the first
four."""

BACKEND_SCHEMES = (
    "redis://",
    "rediss://",
    "redis+sentinel://",
    "rediss+sentinel://",
    "redis+cluster://",
    "rediss+cluster://",
)
"""Allowed beginnings of the URL of a backend."""

_NOT_WITH_TLS = "{0} can't be used with tls_key: let a proxy do TLS, or remove {0}"


class ListeningSettings(Section, title="Listening"):
    """Address to listen on."""

    host: Annotated[str, ValueName("HOST")] = Field(
        "localhost", min_length=1, max_length=253, description="Host name or address to listen on."
    )
    port: Annotated[int, ValueName("PORT")] = Field(
        3001, ge=0, le=65535, description="TCP port to listen on. 0: a free one."
    )
    insecure: bool = Field(
        False,
        description="Allow other machines to connect although authentication is off. "
        "Anyone who can connect may then claim any user id.",
    )


class AuthenticationSettings(Section, title="Authentication"):
    """Authentication of clients, and API keys of backends."""

    auth: Annotated[Literal["none", "jwt", "ticket", "callback", "callable"], ValueName("METHOD")] = Field(
        "none",
        description="How clients authenticate. none: a client may claim any user id. jwt: by a JSON Web Token of your "
        "application. ticket: by a ticket that your backend requested. callback: by a token that your backend "
        "verifies. callable: by a function of your Python program.",
    )
    jwt_key: Secret = Field(
        SecretStr(""),
        description="Key that verifies tokens: a shared secret of at least 32 bytes, public keys as PEM, or a JWK Set.",
    )
    jwt_key_file: FileName = Field(
        "", description="File with keys, as in jwt_key. If both are set, tokens may use the keys of either."
    )
    jwt_jwks_url: Url = Field(
        "", description="URL of a JWK Set. It is fetched again when a signature matches no known key."
    )
    jwt_jwks_refresh: Seconds = Field(600, ge=1, le=86_400, description="Seconds between two fetches of the JWK Set.")
    jwt_algorithms: Texts = Field((), description="Algorithms that tokens may use. Empty: those of the keys.")
    jwt_issuer: Annotated[str, ValueName("ISSUER")] = Field(
        "", max_length=1024, description="Required value of the claim iss. Empty: any issuer."
    )
    jwt_audience: Texts = Field((), description="Accepted values of the claim aud. Empty: a token must not have it.")
    jwt_required_claims: Texts = Field(("exp",), description="Claims that a token must have, besides sub.")
    jwt_leeway: Seconds = Field(10, ge=0, le=300, description="Seconds by which the issuer's clock may be wrong.")
    token_lifetime: Seconds = Field(
        86_400,
        gt=0,
        le=31_536_000,
        description="Seconds from now within which a token must expire. The server remembers a revocation for as long.",
    )
    callback_url: Url = Field("", description="URL of your backend that verifies the token of a client.")
    callback_secret: Secret = Field(SecretStr(""), description="Secret that signs the requests to your backend.")
    callback_timeout: Seconds = Field(5, gt=0, le=60, description="Timeout of one request to your backend in seconds.")
    callback_concurrency: int = Field(
        50, ge=1, le=1000, description="Maximum number of simultaneous requests to your backend."
    )
    callback_cache: Seconds = Field(0, ge=0, le=3600, description="Seconds for which the server reuses an answer.")
    outgoing_private: bool = Field(False, description="Allow outgoing requests to private addresses, and without TLS.")
    auth_timeout: Seconds = Field(10, gt=0, le=600, description="Seconds that a client has to authenticate.")
    auth_warning: Seconds = Field(
        60,
        ge=0,
        le=3600,
        description="Seconds before the expiry of a token at which the server warns clients of presenced.v1. A quarter "
        "of the token's time passes first, so a token may be shorter than this.",
    )
    max_unauthenticated: int = Field(
        1000, ge=1, le=1_000_000, description="Maximum number of unauthenticated connections."
    )
    api_keys: Texts = Field(
        (),
        description="Keys of your backends for the HTTP API, as `presenced api-key` prints them: scope and digest. "
        "Without keys, the API is open to this machine if `auth` is `none`, and closed otherwise.",
    )

    @model_validator(mode="after")
    def _check_authentication(self) -> Self:
        if self.auth == "jwt" and not (self.jwt_key.get_secret_value() or self.jwt_key_file or self.jwt_jwks_url):
            raise ValueError("auth is jwt, which needs a key: set PRESENCED_JWT_KEY, jwt_key_file or jwt_jwks_url")
        if self.auth == "callback" and not self.callback_url:
            raise ValueError("auth is callback, which needs callback_url: set the URL of your backend")
        return self


class NetworkSettings(Section, title="Origins, TLS and proxies"):
    """Origins, host names, TLS, and proxies in front of the server."""

    origins: Texts = Field(
        (),
        description="Origins whose pages may connect, such as https://app.example.com, https://*.example.com or "
        "capacitor://localhost. file:// is for pages from files. * is for all, with authentication only. Empty: the "
        "host of the request, on any port, and pages of this machine.",
    )
    allowed_hosts: Texts = Field(
        (),
        description="Host names that clients use for this server, such as presence.example.com or *.example.com. "
        "Without authentication the server accepts only these names, names in origins, localhost and IP addresses. "
        "With authentication, empty allows every name.",
    )
    tls_certificate: FileName = Field("", description="PEM file with the certificate and its chain.")
    tls_key: FileName = Field("", description="PEM file with the certificate's private key, without a password.")
    trusted_proxies: Texts = Field((), description="Addresses or networks of proxies that name the client's address.")
    proxy_header: Annotated[Literal["x-forwarded-for", "forwarded"], ValueName("HEADER")] = Field(
        "x-forwarded-for",
        description="Header in which the trusted proxies name the client. The server ignores the other one, because "
        "proxies pass it on unchanged.",
    )
    proxy_protocol: bool = Field(False, description="Expect a PROXY protocol header (version 2) on every connection.")

    @model_validator(mode="after")
    def _check_network(self) -> Self:
        if bool(self.tls_certificate) is not bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together: set both, or none")
        if self.tls_key and self.proxy_protocol:
            raise ValueError(_NOT_WITH_TLS.format("proxy_protocol"))
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError("proxy_protocol needs trusted_proxies: without it, anyone could claim any address")
        return self


class LimitSettings(Section, title="Limits for each address and user"):
    """Limits that keep one address or user from using up the server."""

    address_rate: Rate = Field(
        20, gt=0, le=1_000_000, description="Maximum number of handshakes per second from one address, on average."
    )
    address_burst: int = Field(
        1_000, ge=1, le=10_000_000, description="Maximum number of handshakes from one address at once."
    )
    address_connections: int = Field(
        2_000, ge=1, le=10_000_000, description="Maximum number of open connections from one address."
    )
    address_failure_rate: Rate = Field(
        0.5,
        gt=0,
        le=1_000_000,
        description="Maximum number of failed authentications per second from one address, on average. More get 429. "
        "Genuine tokens that have expired do not count.",
    )
    address_failure_burst: int = Field(
        50, ge=1, le=1_000_000, description="Maximum number of failed authentications from one address at once."
    )
    placeholder_ids: bool = Field(
        False,
        description="Accept user ids that nearly always come from a variable without a value, such as undefined, null, "
        "NaN and [object Object].",
    )
    user_connections: int = Field(
        200, ge=1, le=10_000_000, description="Maximum number of open connections of one user."
    )
    input_rate: Annotated[int, ValueName("BYTES_PER_SECOND")] = Field(
        65_536,
        ge=1024,
        le=1_073_741_824,
        description="Maximum number of bytes per second that a client may send, on average. "
        "Each frame counts as at least 128.",
    )
    input_burst: Bytes = Field(
        1_048_576, ge=1024, le=1_073_741_824, description="Maximum number of bytes that a client may send at once."
    )


class VisibilitySettings(Section, title="Visibility"):
    """Which users a user may see."""

    visibility: Annotated[Literal["everyone", "rooms", "claims", "callback"], ValueName("RULE")] = Field(
        "everyone",
        description="Users that a user may see. everyone: all. rooms: those in a common room. claims: these, and those "
        "that the token names. callback: these, and those that your backend names.",
    )
    visibility_url: Url = Field("", description="URL of your backend that returns which users a user may see.")

    @model_validator(mode="after")
    def _check_visibility(self) -> Self:
        if self.visibility == "callback" and not self.visibility_url:
            raise ValueError("visibility is callback, which needs visibility_url: set the URL of your backend")
        return self


class StorageSettings(Section, title="Storage"):
    """Database, and what is stored in it."""

    database: Annotated[Literal["", "sqlite", "url"], ValueName("KIND")] = Field(
        "",
        description="Where the server stores what must survive a restart. Empty: nowhere. sqlite: in a file in "
        "data_dir. url: in the database at database_url.",
    )
    database_url: Secret = Field(
        SecretStr(""),
        description="URL of the database, in the format your application uses: postgresql://, mysql://, mariadb:// or "
        "sqlite:///. It is a secret, because it may hold a password. Special characters in the user and the password "
        "are percent-encoded: @ as %40, / as %2F.",
    )
    data_dir: Annotated[str, ValueName("DIRECTORY")] = Field(
        "presenced-data", min_length=1, max_length=4096, description="Directory of the file presenced.db."
    )
    node: Annotated[str, ValueName("NAME")] = Field(
        "",
        max_length=64,
        pattern=r"^[!-~]*$",
        description="Name of this server in a cluster, and of its rows in the database. It must be unique, and stay "
        "the same across restarts. Empty: the host name and the port.",
    )
    keep_addresses: bool = Field(
        False,
        description="Store the client addresses of sessions, and log the addresses of clients that guess tokens. An "
        "IPv6 address is stored and logged as its /64.",
    )
    history_age: Seconds = Field(
        2_592_000,
        ge=0,
        le=315_360_000,
        description="Seconds for which the server stores changes and ended sessions. 0: no changes, and sessions for a "
        "day.",
    )

    @model_validator(mode="after")
    def _check_storage(self) -> Self:
        url = self.database_url.get_secret_value()
        if self.database == "url" and not url:
            raise ValueError(
                "database is url, which needs database_url: set PRESENCED_DATABASE_URL or PRESENCED_DATABASE_URL_FILE"
            )
        if url and self.database != "url":
            raise ValueError("database_url is set, and database is not url: set it to url, or remove database_url")
        if url and not url.startswith(DATABASE_SCHEMES):
            raise ValueError(f"database_url has to begin with one of {', '.join(DATABASE_SCHEMES)}")
        return self


class ClusterSettings(Section, title="Several nodes"):
    """The store through which several nodes behave like one server."""

    backend: Annotated[str, AfterValidator(checked_backend_url), Field(max_length=2048), ValueName("URL")] = Field(
        "",
        description="Redis or Valkey that the nodes of a cluster share: redis://HOST:6379/0, "
        "redis+sentinel://HOST:26379,HOST:26379/MASTER or redis+cluster://HOST:6379,HOST:6379. rediss, in place of "
        "redis, uses TLS. Empty: this server is alone.",
    )
    backend_password: Secret = Field(SecretStr(""), description="Password of the backend.")
    cluster_name: Annotated[str, ValueName("NAME")] = Field(
        "presenced",
        min_length=1,
        max_length=50,
        pattern=r"^[A-Za-z0-9_.-]*$",
        description="Beginning of all keys in the backend. Nodes with the same name are one server.",
    )
    cluster_lease: Seconds = Field(
        15,
        ge=1,
        le=600,
        description="Seconds without a heartbeat after which the other nodes declare a node dead. Its users are "
        "offline then.",
    )
    cluster_shards: int = Field(
        0,
        ge=0,
        le=16,
        description="Number of parts into which the users are divided in the backend. 0 means 1, or 8 in a Redis "
        "Cluster, which should have at least one part per master. The backend remembers it, and a node with another "
        "number does not start.",
    )

    @model_validator(mode="after")
    def _check_backend(self) -> Self:
        if self.backend and not self.backend.startswith(BACKEND_SCHEMES):
            raise ValueError(f"backend must begin with one of {', '.join(BACKEND_SCHEMES)}")
        if self.backend_password.get_secret_value() and not self.backend:
            raise ValueError("backend_password is set, and backend is not: set both, or none")
        return self


class WebhooksSettings(Section, title="Webhooks"):
    """Delivery of changes to backends."""

    webhook_urls: Urls = Field(
        (), description="URLs of your backends that receive changes as signed webhooks. Needs a database."
    )
    webhook_secrets: Secret = Field(
        SecretStr(""),
        description="Secret that signs webhooks, as `presenced webhook secret` prints it. Two, separated by a space, "
        "while you replace one.",
    )
    webhook_events: Texts = Field((), description="Webhook events to send. Empty: all events.")
    webhook_timeout: Seconds = Field(10, gt=0, le=60, description="Timeout of one webhook request in seconds.")

    @model_validator(mode="after")
    def _check_webhooks(self) -> Self:
        if self.webhook_urls and not self.webhook_secrets.get_secret_value():
            raise ValueError(
                "webhook_urls needs webhook_secrets: make one with `presenced webhook secret`, and set it in the "
                "environment or the settings file"
            )
        return self


class ProcessSettings(Section, title="Process and connections"):
    """Event loop, processes and the number of connections."""

    loop: Annotated[Literal["auto", "uvloop", "asyncio"], ValueName("LOOP")] = Field(
        "auto", description="Event loop of the command. auto: uvloop if it is installed."
    )
    writers: int = Field(
        0, ge=0, le=64, description="Number of additional processes that write to watchers, each for one core."
    )
    compression: bool = Field(
        False,
        description="Compress larger messages for clients of presenced.v1 that offer it (permessage-deflate). "
        "Reduces traffic, but adds work on both sides.",
    )
    max_connections: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Maximum number of open connections of any kind. More get 503. "
        "0: as many as the limit of open files allows.",
    )


class HeartbeatsSettings(Section, title="Heartbeats and grace periods"):
    """Detection of lost connections, and the time they have to come back."""

    heartbeat_interval: Seconds = Field(30, gt=0, le=3600, description="Seconds between two pings of a connection.")
    pong_timeout: Seconds = Field(
        10, gt=0, le=3600, description="Seconds within which a client must respond to a ping."
    )
    grace_going_away: Seconds = Field(
        3,
        ge=0,
        le=3600,
        description="Grace period in seconds after a page went away (codes 1001 and 4001), or closed the connection "
        "while it was opening. 0: none.",
    )
    grace_lost: Seconds = Field(15, ge=0, le=3600, description="Grace period in seconds after an abrupt loss. 0: none.")
    settling: Seconds = Field(
        35,
        ge=0,
        le=3600,
        description="Seconds after the start of the server in which users who were online before may return unnoticed. "
        "Clients wait up to 30 s before they reconnect. 0: none.",
    )

    @model_validator(mode="after")
    def _check_heartbeats(self) -> Self:
        if self.pong_timeout > self.heartbeat_interval:
            raise ValueError(
                f"pong_timeout ({self.pong_timeout:g} s) must not exceed "
                f"heartbeat_interval ({self.heartbeat_interval:g} s)"
            )
        return self


class RequestsSettings(Section, title="Requests and messages"):
    """Timeouts and sizes of HTTP requests, WebSocket messages and buffers."""

    head_timeout: Seconds = Field(
        10, gt=0, le=600, description="Seconds within which the head of an HTTP request must arrive."
    )
    keep_alive: Seconds = Field(
        130,
        gt=0,
        le=86_400,
        description="Seconds for which an HTTP connection may be idle between two requests. Use a longer time "
        "than a proxy in front of the server does.",
    )
    max_head_size: Bytes = Field(
        16_384, ge=1024, le=1_048_576, description="Maximum size in bytes of the head of a request."
    )
    message_timeout: Seconds = Field(
        10, gt=0, le=600, description="Seconds within which a message must arrive, from its first byte to its last."
    )
    max_message_size: Bytes = Field(
        65_536, ge=125, le=16_777_216, description="Maximum size in bytes of a message from a client."
    )
    max_message_fragments: int = Field(1024, ge=1, le=65_536, description="Maximum number of fragments of a message.")
    close_timeout: Seconds = Field(
        5, gt=0, le=60, description="Seconds within which a client must answer a close frame. Then it is cut off."
    )
    behind_timeout: Seconds = Field(
        30, gt=0, le=3600, description="Seconds after which the server closes a client that reads too slowly."
    )
    write_buffer: Bytes = Field(
        65_536, ge=1024, le=16_777_216, description="Number of unread bytes above which a client counts as slow."
    )


class MemorySettings(Section, title="State in memory"):
    """Sizes of what the server remembers in memory."""

    log_size: int = Field(
        50_000, ge=2, le=10_000_000, description="Maximum number of changes stored for watchers that are behind."
    )
    log_age: Seconds = Field(
        120, gt=0, le=86400, description="Maximum age in seconds of changes stored for watchers that are behind."
    )
    journal_size: int = Field(
        20_000, ge=1, le=10_000_000, description="Maximum number of changes stored for backends that follow them."
    )
    max_announced: int = Field(100_000, ge=0, le=10_000_000, description="Maximum number of users announced online.")
    max_choices: int = Field(
        100_000, ge=0, le=10_000_000, description="Maximum number of absent users whose chosen status is remembered."
    )


class RoomSettings(Section, title="Sessions and rooms of presenced.v1"):
    """Sessions, rooms and requests of presenced.v1."""

    resume_window: Seconds = Field(
        120, ge=0, le=86_400, description="Seconds within which a client can resume a session after a loss."
    )
    show_causes: bool = Field(False, description="Show everyone, not only the user, why a status changed.")
    snapshot_page: int = Field(500, ge=1, le=10_000, description="Maximum number of users in one page of a snapshot.")
    room_members: int = Field(100_000, ge=1, le=10_000_000, description="Maximum number of members of a room.")
    room_coalesced: int = Field(
        500, ge=2, le=10_000_000, description="Number of members at which a room sends changes once a second."
    )
    room_counts: int = Field(
        5_000, ge=2, le=10_000_000, description="Number of members at which a room sends only their count."
    )
    request_rate: Rate = Field(
        10, gt=0, le=10_000, description="Maximum number of requests per second of one client, on average."
    )
    request_burst: int = Field(50, ge=1, le=100_000, description="Maximum number of requests of a client at once.")
    status_pause: Seconds = Field(
        0.5,
        ge=0,
        le=60,
        description="Seconds between two changes of a user's status or activity by clients. Of the requests in "
        "between, the last one wins.",
    )

    @model_validator(mode="after")
    def _check_rooms(self) -> Self:
        if self.room_coalesced > self.room_counts:
            raise ValueError(f"room_coalesced ({self.room_coalesced}) must not exceed room_counts ({self.room_counts})")
        return self


class LoggingSettings(Section, title="Logging"):
    """Log lines and statistics."""

    log_level: Annotated[Literal["debug", "info", "warning", "error"], ValueName("LEVEL")] = Field(
        "info", description="Lowest level to log."
    )
    log_format: Annotated[Literal["text", "json"], ValueName("FORMAT")] = Field(
        "text", description="Format of the log lines."
    )
    log_time: Annotated[Literal["auto", "always", "never"], ValueName("WHEN")] = Field(
        "auto",
        description="When text lines begin with the time (UTC). auto: unless they go to a terminal or the journal of "
        "systemd, which adds the time itself. JSON lines always have it.",
    )
    log_anonymous: bool = Field(False, description="Log a dash in place of each user id, and no client address.")
    log_burst: int = Field(
        100,
        ge=0,
        le=100_000,
        description="Maximum number of lines about individual connections per second. One line sums up the rest.",
    )
    stats_interval: Seconds = Field(30, ge=0, le=86400, description="Seconds between two statistics lines. 0: none.")


class Settings(
    # Last section first, because pydantic collects fields and runs checks from the last base class to the first.
    LoggingSettings,
    RoomSettings,
    MemorySettings,
    RequestsSettings,
    HeartbeatsSettings,
    ProcessSettings,
    WebhooksSettings,
    ClusterSettings,
    StorageSettings,
    VisibilitySettings,
    LimitSettings,
    NetworkSettings,
    AuthenticationSettings,
    ListeningSettings,
    title="All settings",
):
    """Settings of one server. They are immutable, and checked on creation, including against each other.

    Raises:
        pydantic.ValidationError: A value is out of bounds, or two values contradict each other.
    """

    @property
    def node_name(self) -> str:
        """Name of this server in a cluster and of its rows in the database."""
        return self.node or f"{socket.gethostname()[:58]}:{self.port}"

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.input_burst < self.max_message_size:
            raise ValueError(
                f"input_burst ({self.input_burst}) must not be below max_message_size ({self.max_message_size})"
            )
        if self.tls_key and self.writers:
            raise ValueError(_NOT_WITH_TLS.format("writers"))
        if self.webhook_urls and not self.database:
            raise ValueError(
                "webhook_urls needs a database, which stores events until they are delivered: set database"
            )
        return self

    @model_validator(mode="after")
    def _check_open_server(self) -> Self:
        """Refuse a server that other machines or web pages could use without authentication."""
        if self.auth == "none" and "*" in self.origins:
            raise ValueError("origins is *, which needs auth: without it, every page could use the API and be any user")
        if self.auth == "none" and self.visibility != "everyone":
            raise ValueError(
                f"visibility is {self.visibility}, which needs auth: without it, a client may claim any id"
            )
        if self.auth == "ticket" and not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                "auth is ticket, and a backend needs a key to request tickets: make one with "
                "`presenced api-key --scope write`, and set api_keys"
            )
        if self.auth == "none" and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, and authentication is off: anyone who reaches it "
                "may claim any user id. Set auth (docs/how-to/auth), listen on localhost, or add --insecure if you "
                "trust everyone who can connect"
            )
        return self


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`: `localhost`, or an address in 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
