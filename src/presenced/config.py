"""Where the values of settings come from, and what is said of one that can't be used.

A value comes from the first of these that has it: a flag (`--heartbeat-interval 10`), the environment
(`PRESENCED_HEARTBEAT_INTERVAL=10`), the file (`heartbeat_interval = 10`), the default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from presenced.errors import ConfigError
from presenced.settings import Settings

ENV_PREFIX = "PRESENCED_"
CONFIG_ENV = "PRESENCED_CONFIG"
DEFAULT_FILE = Path("presenced.toml")

_KUBERNETES = re.compile(r"PRESENCED_(SERVICE_(HOST|PORT)(_.*)?|PORT_\d+_(TCP|UDP)(_.*)?)")
"""Kubernetes puts these into every pod when a Service is called `presenced`; they are not meant for us."""


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that helps: it is told what it needs, and the settings have secrets among them."""
    return {name: value for name, value in environ.items() if not name.startswith(ENV_PREFIX)}


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
    schema = _schemas()[name]
    if "enum" in schema:
        return "one of " + ", ".join(value or "nothing" for value in schema["enum"])
    if schema.get("format") == "password":
        return "a text, not as a flag"
    if schema["type"] == "array":
        return "texts, with commas between them, or a list"
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}
    low, above, high = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    bounds = f" from {low:g}" if low is not None else f" above {above:g}" if above is not None else ""
    if schema["type"] == "integer" and low is not None:
        bounds = f" from {low}"
    return kind[schema["type"]] + bounds + (f" to {high:.12g}" if high is not None else "")


@cache  # to make it for each setting takes 0.24 s of every start
def _schemas() -> dict[str, Any]:
    return dict(Settings.model_json_schema()["properties"])


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
    if Settings.model_fields[name].annotation is SecretStr:  # what was given may be nearly the secret
        return f"{name} (from {origins[name]}) can't be used: expected {expected(name)}"
    hint = ""
    if str(fault["input"]).startswith("tcp://"):
        hint = " (Kubernetes sets it for a Service called presenced: set enableServiceLinks: false in the pod)"
    return f"{name} can't be {fault['input']!r} (from {origins[name]}): expected {expected(name)}{hint}"
