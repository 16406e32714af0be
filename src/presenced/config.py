"""Every setting, declared once: flags, environment, TOML file, `config show` and docs/settings.md derive from it.

A value comes from the first of these that has it: a flag (`--heartbeat-interval 10`), the environment
(`PRESENCED_HEARTBEAT_INTERVAL=10`), the file (`heartbeat_interval = 10`), the default.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from presenced.errors import ConfigError

ENV_PREFIX = "PRESENCED_"
CONFIG_ENV = "PRESENCED_CONFIG"
DEFAULT_FILE = Path("presenced.toml")

WEBSOCKET_PATH = "/ws-online-status"
"""Not a setting: the first users' clients have it built in."""

_KUBERNETES = re.compile(r"PRESENCED_(SERVICE_(HOST|PORT)(_.*)?|PORT_\d+_(TCP|UDP)(_.*)?)")
"""Kubernetes puts these into every pod when a Service is called `presenced`; they are not meant for us."""


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
        3, ge=0, le=3600, description="Seconds a user may take to return after their page went away; 0 for none."
    )
    grace_lost: float = Field(
        15, ge=0, le=3600, description="Seconds a user may take to return after an abrupt loss; 0 for none."
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
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines.")
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
        if not self.insecure and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, and authentication is off: whoever reaches it may "
                "claim any user id. Listen on localhost (and put a proxy that authenticates in front), "
                "or add --insecure where everyone who can connect is trusted"
            )
        return self


def is_loopback(host: str) -> bool:
    """Whether `host` is reachable from this machine alone: `localhost` or an address of 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Effective(NamedTuple):
    """Settings, and where each value came from (`default`, `--port`, `PRESENCED_PORT`, a file's name)."""

    settings: Settings
    origins: dict[str, str]


def load(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Effective:
    """Merge the sources of settings.

    Args:
        flags: Values given on the command line, by name of the setting.
        environ: The environment; names that start with `PRESENCED_` are ours.
        file: The TOML file. None: the one `PRESENCED_CONFIG` names, else `presenced.toml` here, if there is one.

    Raises:
        ConfigError: A name is unknown, a value can't be used, or the file can't be read.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    faults: list[str] = []
    named = {f"{ENV_PREFIX}{name.upper()}": name for name in Settings.model_fields}
    in_environ = {k: v for k, v in environ.items() if k.startswith(ENV_PREFIX) and not _KUBERNETES.fullmatch(k)}
    path = _file(in_environ.pop(CONFIG_ENV, None) if file is None else file)
    for name, value in (_read(path) if path else {}).items():
        if name in Settings.model_fields:
            values[name], origins[name] = value, str(path)
        else:
            faults.append(_unknown(name, f"in {path}"))
    for key, text in in_environ.items():
        if key in named:
            values[named[key]], origins[named[key]] = text, key
        elif key != CONFIG_ENV:
            faults.append(_unknown(key, "in the environment", ENV_PREFIX))
    for name, value in flags.items():
        values[name], origins[name] = value, f"--{name.replace('_', '-')}"
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults += [_explain(fault, origins) for fault in error.errors()]
    if faults:
        raise ConfigError("\n".join(faults))
    return Effective(settings, origins)


def expected(name: str) -> str:
    """What values the setting takes, in words: `a whole number from 0 to 65535`."""
    schema = Settings.model_json_schema()["properties"][name]
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}
    low, above, high = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    bounds = f" from {low:g}" if low is not None else f" above {above:g}" if above is not None else ""
    if schema["type"] == "integer" and low is not None:
        bounds = f" from {low}"
    return kind[schema["type"]] + bounds + (f" to {high:.12g}" if high is not None else "")


def _file(given: str | Path | None) -> Path | None:
    if given is not None:
        return Path(given)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read the settings file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the settings file {path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the settings file {path} is not valid TOML: {error}") from None


def _unknown(name: str, where: str, prefix: str = "") -> str:
    known = [field.upper() if prefix else field for field in Settings.model_fields]
    near = difflib.get_close_matches(name.removeprefix(prefix), known, n=1)
    advice = f"did you mean {prefix}{near[0]}?" if near else "`presenced config show` lists all settings"
    return f"unknown setting {name} {where}: {advice}"


def _explain(fault: ErrorDetails, origins: Mapping[str, str]) -> str:
    if not fault["loc"]:  # a relation between settings: the validator wrote the whole sentence
        return str(fault["ctx"]["error"])
    name = str(fault["loc"][0])
    hint = ""
    if str(fault["input"]).startswith("tcp://"):
        hint = " (Kubernetes sets it for a Service called presenced: set enableServiceLinks: false in the pod)"
    return f"{name} can't be {fault['input']!r} (from {origins[name]}): expected {expected(name)}{hint}"
