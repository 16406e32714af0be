"""Every setting, declared once: flags, environment, TOML file, `config show` and docs/settings.md derive from it."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

WEBSOCKET_PATH = "/ws-online-status"
"""Not a setting: the first users' clients have it built in."""


DATABASE_SCHEMES = ("postgresql://", "postgres://", "mysql://", "mariadb://", "sqlite:///")
"""The first four are what an application's own URL of the same database begins with."""


def _split(value: object) -> object:
    """A list may be given as one text, for flags and the environment know nothing else."""
    return tuple(filter(None, re.split(r"[\s,]+", value))) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_split), Field(max_length=1000)]


class Settings(BaseModel):
    """The settings of one server. Immutable; checked when made, also against each other.

    Raises:
        pydantic.ValidationError: A value is out of bounds, or two contradict each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("localhost", min_length=1, max_length=253, description="Name or address to listen on.")
    port: int = Field(3001, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    insecure: bool = Field(
        False,
        description="Listen on other than loopback addresses although authentication is off: "
        "whoever can connect may claim any user id.",
    )
    auth: Literal["none", "jwt", "ticket", "callback", "callable"] = Field(
        "none",
        description="How clients show who they are: none (whoever connects may claim any user id), "
        "jwt (a JSON Web Token of your application), ticket (one your backend asked for), "
        "callback (anything your backend knows, which is asked), callable (a function of your Python program says).",
    )
    jwt_key: SecretStr = Field(
        SecretStr(""),
        description="What tokens are verified with: a shared secret of at least 32 bytes, public keys as PEM, "
        "or a JWK Set. Not a flag, for everyone on the machine sees those.",
    )
    jwt_key_file: str = Field("", max_length=4096, description="A file with the same; both together may be used.")
    jwt_jwks_url: str = Field(
        "", max_length=2048, description="Where a JWK Set is to be had, which is asked again for keys not known."
    )
    jwt_jwks_refresh: float = Field(
        600, ge=1, le=86_400, description="Seconds after which the JWK Set is asked for again."
    )
    callback_url: str = Field("", max_length=2048, description="Where your backend says whose a token is.")
    callback_secret: SecretStr = Field(
        SecretStr(""), description="What requests to it are signed with, for it to know them by. Not a flag."
    )
    callback_timeout: float = Field(5, gt=0, le=60, description="Seconds for one such request.")
    callback_concurrency: int = Field(50, ge=1, le=1000, description="Such requests at a time.")
    callback_cache: float = Field(
        0, ge=0, le=3600, description="Seconds for which its answer for a token is remembered."
    )
    outgoing_private: bool = Field(
        False, description="Requests of the server's own may go to private addresses, and without TLS."
    )
    jwt_algorithms: Texts = Field(
        (), description="Algorithms that tokens may be signed with; empty: those that the keys are for."
    )
    jwt_issuer: str = Field("", max_length=1024, description="What a token's iss has to be; empty: anything.")
    jwt_audience: Texts = Field(
        (), description="One of these has to be in a token's aud; empty: a token may not have any."
    )
    jwt_required_claims: Texts = Field(("exp",), description="Claims a token has to have, besides sub.")
    jwt_leeway: float = Field(
        10, ge=0, le=300, description="Seconds by which the clock of who makes tokens may be off."
    )
    token_lifetime: float = Field(
        86_400,
        gt=0,
        le=31_536_000,
        description="Seconds from now in which a token has to expire at most; a revocation is remembered for so long.",
    )
    auth_timeout: float = Field(
        10, gt=0, le=600, description="Seconds a client may take, once connected, to show who it is."
    )
    auth_warning: float = Field(
        60, ge=0, le=3600, description="Seconds before a token expires at which clients of presenced.v1 are told."
    )
    max_unauthenticated: int = Field(
        1000, ge=1, le=1_000_000, description="Connections at a time that have still to show who they are."
    )
    api_keys: Texts = Field(
        (),
        description="Keys of your backends for the HTTP API, as `presenced api-key` prints them: scope and digest. "
        "Without any the API is open, but to this machine only.",
    )
    origins: Texts = Field(
        (),
        description="Origins whose pages may connect, like https://app.example.com or https://*.example.com, "
        "or * for all; empty: the host connected to, on any port, and pages of this machine.",
    )
    tls_certificate: str = Field(
        "", max_length=4096, description="File with the certificate, and those that lead to a known one, as PEM."
    )
    tls_key: str = Field("", max_length=4096, description="File with its private key, as PEM, without a password.")
    trusted_proxies: Texts = Field(
        (),
        description="Addresses or networks of proxies whose word on the address of a client is taken.",
    )
    proxy_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for",
        description="The header in which they name the client. The other is not looked at: proxies pass it on.",
    )
    proxy_protocol: bool = Field(
        False, description="Connections begin with a PROXY protocol header, version 2, by a trusted proxy."
    )
    address_rate: float = Field(
        20, gt=0, le=1_000_000, description="Handshakes per second from one address in the long run."
    )
    address_burst: int = Field(1_000, ge=1, le=10_000_000, description="Handshakes from one address at once at most.")
    address_connections: int = Field(
        2_000, ge=1, le=10_000_000, description="Open connections from one address at most."
    )
    address_failure_rate: float = Field(
        0.5,
        gt=0,
        le=1_000_000,
        description="Failures per second, in the long run, to show who one is, from one address; then it gets 429.",
    )
    address_failure_burst: int = Field(
        50, ge=1, le=1_000_000, description="Such failures from one address at once at most."
    )
    user_connections: int = Field(200, ge=1, le=10_000_000, description="Open connections of one user at most.")
    input_rate: int = Field(
        65_536,
        ge=1024,
        le=1_073_741_824,
        description="Bytes per second that a client may send in the long run; each frame counts as 128 at least.",
    )
    input_burst: int = Field(
        1_048_576, ge=1024, le=1_073_741_824, description="Bytes that a client may send at once, counted so."
    )
    visibility: Literal["everyone", "rooms", "claims", "callback"] = Field(
        "everyone",
        description="Whom users may see: everyone; only those they share a room with; these and those their token "
        "names; these and those your backend names when it is asked.",
    )
    visibility_url: str = Field("", max_length=2048, description="Where your backend says whom a user may see.")
    database: Literal["", "sqlite", "url"] = Field(
        "",
        description="Where is kept what is to outlast the server: empty for nowhere, sqlite for a file in data_dir, "
        "url for the database that database_url names.",
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        description="postgresql://, mysql://, mariadb:// or sqlite:/// and the rest, as your application has it. "
        "Not a flag, for it may hold a password.",
    )
    data_dir: str = Field(
        "presenced-data", min_length=1, max_length=4096, description="Directory of the file presenced.db."
    )
    node: str = Field(
        "",
        max_length=64,
        pattern=r"^[!-~]*$",
        description="Name of this server among those that use one database; empty: the host's name and the port.",
    )
    keep_addresses: bool = Field(False, description="Keep the addresses that sessions came from.")
    history_age: float = Field(
        2_592_000,
        ge=0,
        le=315_360_000,
        description="Seconds for which changes and ended sessions are kept; 0: no changes, and sessions for a day.",
    )
    webhook_urls: Texts = Field(
        (), description="Where your backends are told of changes, by signed webhooks; needs a database."
    )
    webhook_secrets: SecretStr = Field(
        SecretStr(""),
        description="What webhooks are signed with, as `presenced webhook secret` prints it; two, with a space between "
        "them, while you change it. Not a flag.",
    )
    webhook_events: Texts = Field((), description="Events that are told; empty: all.")
    webhook_timeout: float = Field(10, gt=0, le=60, description="Seconds for one such request.")
    loop: Literal["auto", "uvloop", "asyncio"] = Field(
        "auto", description="Event loop of the command: auto takes uvloop where it is installed."
    )
    writers: int = Field(
        0,
        ge=0,
        le=64,
        description="Further processes that help to write to watchers, for a core each; 0 for none.",
    )
    compression: bool = Field(
        False,
        description="Compress larger messages for clients of presenced.v1 that offer it (permessage-deflate): "
        "less traffic, more work for both sides.",
    )
    max_connections: int = Field(
        0,
        ge=0,
        le=10_000_000,
        description="Open connections at most, of any kind; further ones get 503. "
        "0 means as many as the limit of open files leaves room for.",
    )
    heartbeat_interval: float = Field(30, gt=0, le=3600, description="Seconds between two pings of a connection.")
    pong_timeout: float = Field(
        10, gt=0, le=3600, description="Seconds a client may stay silent after a ping before it is dropped."
    )
    grace_going_away: float = Field(
        3,
        ge=0,
        le=3600,
        description="Seconds a user has to return after their page went away (codes 1001 and 4001), or closed the "
        "connection while it was opening; 0 for none.",
    )
    grace_lost: float = Field(
        15, ge=0, le=3600, description="Seconds a user has to return after an abrupt loss; 0 for none."
    )
    stats_interval: float = Field(30, ge=0, le=86400, description="Seconds between two statistics lines; 0 for none.")
    head_timeout: float = Field(10, gt=0, le=600, description="Seconds for the head of an HTTP request to arrive.")
    max_head_size: int = Field(
        16_384, ge=1024, le=1_048_576, description="Bytes of the head of an HTTP request at most."
    )
    message_timeout: float = Field(
        10, gt=0, le=600, description="Seconds for a message to arrive, from its first byte to its last."
    )
    max_message_size: int = Field(
        65_536, ge=125, le=16_777_216, description="Bytes of a message from a client at most."
    )
    max_message_fragments: int = Field(
        1024, ge=1, le=65_536, description="Fragments of a message from a client at most."
    )
    close_timeout: float = Field(
        5, gt=0, le=60, description="Seconds a client may take to answer a close frame before it is cut off."
    )
    behind_timeout: float = Field(
        30, gt=0, le=3600, description="Seconds a client may read too slowly before it is closed."
    )
    write_buffer: int = Field(
        65_536, ge=1024, le=16_777_216, description="Bytes not yet taken by a client from which on it counts as slow."
    )
    log_size: int = Field(50_000, ge=2, le=10_000_000, description="Changes kept for watchers that are behind.")
    log_age: float = Field(120, gt=0, le=86400, description="Seconds for which changes are kept at most.")
    journal_size: int = Field(
        20_000, ge=1, le=10_000_000, description="Changes, each of them, kept for backends that follow them all."
    )
    max_announced: int = Field(
        100_000, ge=0, le=10_000_000, description="Users at most that a backend may announce online at a time."
    )
    max_choices: int = Field(
        100_000, ge=0, le=10_000_000, description="Users who are not there at most whose chosen status is remembered."
    )
    resume_window: float = Field(
        120, ge=0, le=86_400, description="Seconds in which a session of presenced.v1 can be resumed after a loss."
    )
    show_causes: bool = Field(
        False, description="Tell everyone, not only a user's own devices, why a user's status changed."
    )
    snapshot_page: int = Field(500, ge=1, le=10_000, description="Users in one page of a snapshot at most.")
    room_members: int = Field(100_000, ge=1, le=10_000_000, description="Members of a room at most.")
    room_coalesced: int = Field(
        500, ge=2, le=10_000_000, description="Members from which on a room's changes are told once a second."
    )
    room_counts: int = Field(
        5_000, ge=2, le=10_000_000, description="Members from which on only the number of a room's members is told."
    )
    request_rate: float = Field(
        10, gt=0, le=10_000, description="Requests of a client of presenced.v1 per second at most, in the long run."
    )
    request_burst: int = Field(50, ge=1, le=100_000, description="Requests of a client at once at most.")
    status_pause: float = Field(
        0.5,
        ge=0,
        le=60,
        description="Seconds after a client of presenced.v1 changed its status, or became idle or active, before "
        "it changes again; of what it says in between, the last wins.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines.")
    log_anonymous: bool = Field(False, description="Log lines name no users: a dash stands in place of each id.")
    log_burst: int = Field(
        100,
        ge=0,
        le=100_000,
        description="Lines about single connections logged per second at most; the rest is summed up in one line.",
    )

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.pong_timeout > self.heartbeat_interval:
            raise ValueError(
                f"pong_timeout ({self.pong_timeout:g} s) must not exceed "
                f"heartbeat_interval ({self.heartbeat_interval:g} s)"
            )
        if self.room_coalesced > self.room_counts:
            raise ValueError(f"room_coalesced ({self.room_coalesced}) must not exceed room_counts ({self.room_counts})")
        if self.input_burst < self.max_message_size:
            raise ValueError(
                f"input_burst ({self.input_burst}) must not be below max_message_size ({self.max_message_size})"
            )
        return self

    @model_validator(mode="after")
    def _safety(self) -> Self:
        if bool(self.tls_certificate) is not bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key belong together: set both, or none")
        if self.tls_key and (self.writers or self.proxy_protocol):
            which = "writers" if self.writers else "proxy_protocol"
            raise ValueError(f"{which} can't be used with TLS of the server's own: let a proxy do TLS, or leave it out")
        return self

    @model_validator(mode="after")
    def _storage(self) -> Self:
        url = self.database_url.get_secret_value()
        if bool(url) is not (self.database == "url"):
            raise ValueError("database_url belongs to database = url: set both, or none")
        if url and not url.startswith(DATABASE_SCHEMES):
            raise ValueError(f"database_url has to begin with one of {', '.join(DATABASE_SCHEMES)}")
        return self

    @model_validator(mode="after")
    def _telling(self) -> Self:
        if self.webhook_urls and not self.webhook_secrets.get_secret_value():
            raise ValueError(
                "webhook_urls needs webhook_secrets: make one with `presenced webhook secret`, and set it in the "
                "environment or the settings file"
            )
        if self.webhook_urls and not self.database:
            raise ValueError("webhook_urls needs a database, which keeps what is still to be told: set database")
        return self

    @model_validator(mode="after")
    def _trust(self) -> Self:
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError("proxy_protocol needs trusted_proxies: whoever else connects could claim any address")
        if self.auth == "jwt" and not (self.jwt_key.get_secret_value() or self.jwt_key_file or self.jwt_jwks_url):
            raise ValueError(
                "auth is jwt, which needs a key: set jwt_key_file or jwt_jwks_url, or jwt_key in the environment"
            )
        if self.visibility == "callback" and not self.visibility_url:
            raise ValueError("visibility is callback, which needs visibility_url")
        if self.auth == "callback" and not self.callback_url:
            raise ValueError("auth is callback, which needs callback_url")
        if self.auth == "none" and self.visibility != "everyone":
            raise ValueError(f"visibility is {self.visibility}, which needs auth: whoever may claim any id may see all")
        if self.auth == "ticket" and not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                "auth is ticket, and a backend asks for tickets with a key: make one with `presenced api-key`, "
                "and set api_keys"
            )
        if self.auth == "none" and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, and authentication is off: whoever reaches it may "
                "claim any user id. Set auth (docs/security.md), or listen on localhost, or add --insecure where "
                "everyone who can connect is trusted"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable from this machine alone: `localhost` or an address of 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
