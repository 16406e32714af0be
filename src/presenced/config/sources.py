"""Sources of settings, and error messages about invalid values.

A value comes from the first source that has it: a flag (`--heartbeat-interval 10`), the environment
(`PRESENCED_HEARTBEAT_INTERVAL=10`), the settings file (`heartbeat_interval = 10`), the default. If `PRESENCED_PORT` is
not set, `PORT` replaces it, because hosting platforms set that.

A secret may also come from a file, as Docker and Kubernetes provide secrets. `callback_secret_file` names the file, in
each of these sources. (`jwt_key_file` is a setting of its own.)
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from presenced.config.help import expected, is_secret
from presenced.config.settings import Settings
from presenced.config.text_files import read_text
from presenced.config.types import checked_file_name, secret_text
from presenced.errors import ConfigError

ENV_PREFIX = "PRESENCED_"
"""Prefix of the environment variables that are settings."""

CONFIG_ENV = "PRESENCED_CONFIG"
"""Environment variable with the name of the settings file."""

PORT_ENV = "PORT"
"""Environment variable in which hosting platforms set the port."""

DEFAULT_FILE = Path("presenced.toml")
"""Settings file that is read if none is named and it exists."""

SECRET_FILES = {
    f"{name}_file": name
    for name in Settings.model_fields
    if is_secret(name) and f"{name}_file" not in Settings.model_fields
}
"""Names of settings for a file with a secret, mapped to the setting that receives the secret."""

MAX_SHOWN_CHARACTERS = 100
"""Maximum number of characters of an invalid value in an error message. The rest is cut off."""

_ENVIRONMENT_OF_SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

_KUBERNETES = re.compile(r"PRESENCED_(SERVICE_(HOST|PORT)(_.*)?|PORT_\d+_(TCP|UDP)(_.*)?)")
"""Variables that Kubernetes sets in every pod when a Service is called `presenced`. They are not settings."""

_ASSIGNMENT = re.compile(r"""\s*["']?(\w+)["']?\s*=""")
"""Beginning of a line of TOML that sets a value."""


def without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a helper process: without our settings, because some are secrets.

    The variables of systemd are omitted as well, because only the server itself reports its state.
    """
    return {
        name: value for name, value in environ.items() if not name.startswith((ENV_PREFIX, *_ENVIRONMENT_OF_SYSTEMD))
    }


class EffectiveSettings(NamedTuple):
    """Settings, and where each value came from (`default`, `--port`, `PRESENCED_PORT`, a file's name)."""

    settings: Settings
    origins: dict[str, str]
    secret_files: Mapping[str, Path]
    """Files that secrets were read from, by name of the setting."""


class _Given(NamedTuple):
    """One value from one source."""

    name: str
    value: Any
    origin: str


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None = None,
    only: Collection[str] = tuple(Settings.model_fields),
) -> EffectiveSettings:
    """Merge the sources of settings.

    Args:
        flags: Values from the command line, by name of the setting.
        environ: The environment. Names that start with `PRESENCED_` are ours.
        file: The TOML file. None for the file that `PRESENCED_CONFIG` names, or `presenced.toml` if it exists.
        only: Names of the settings that the caller uses. The others keep their defaults, so that a secret which belongs
            to them, and which this user may not read, is not missed.

    Raises:
        ConfigError: A name is unknown, a value is invalid, or a file cannot be read.
    """
    values: dict[str, _Given] = {}
    files: dict[str, _Given] = {}
    faults: list[str] = []
    for source in (_read_file(file, environ, faults), _read_environment(environ, faults), _read_flags(flags, faults)):
        _merge(source, values, files, faults)
    values = {name: one for name, one in values.items() if name in only}
    files = {name: one for name, one in files.items() if name in only}
    origins = dict.fromkeys(Settings.model_fields, "default") | {one.name: one.origin for one in values.values()}
    given = {one.name: one.value for one in values.values() if not _is_switch_for_number(one, faults)}
    paths, unread = {}, []
    for name, one in files.items():
        origins[name], paths[name] = one.origin, Path(one.value)
        try:
            given[name] = _read_secret(name, one)
        except ConfigError as error:
            unread.append(str(error))
            given.pop(name, None)
    faults += unread
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        # If the file of a secret could not be read, `auth is jwt, which needs a key` would mislead.
        faults += [_explain(fault, origins) for fault in error.errors() if fault["loc"] or not unread]
    if faults:
        raise ConfigError("\n".join(faults))
    return EffectiveSettings(settings, origins, paths)


def _merge(source: Iterable[_Given], values: dict[str, _Given], files: dict[str, _Given], faults: list[str]) -> None:
    """Override the values of earlier sources with those of this source, and add the errors in them to `faults`."""
    given = {one.name: one for one in source}
    for name, one in given.items():
        if name not in SECRET_FILES:
            values[name] = one
            files.pop(name, None)
    for name, one in given.items():
        setting = SECRET_FILES.get(name)
        if setting is None or one.value == "":  # Compose sets `${NAME:-}` to an empty string
            continue
        if setting in given and given[setting].value != "":
            both = " and ".join(dict.fromkeys((_name_in_source(given[setting]), _name_in_source(one))))
            faults.append(f"{setting} is set twice, by {both}: remove one of them")
        elif not isinstance(one.value, str):
            faults.append(f"{name} (from {one.origin}) can't be used: expected the name of a file")
        else:
            files[setting] = one


def _name_in_source(one: _Given) -> str:
    """Return the name of a setting as its variable or flag spells it, or the name with the settings file."""
    return one.origin if one.origin.startswith(("--", ENV_PREFIX)) else f"{one.name} in {one.origin}"


def _read_file(file: Path | None, environ: Mapping[str, str], faults: list[str]) -> Iterator[_Given]:
    path = file
    if path is None and (named := environ.get(CONFIG_ENV, "").rstrip("\r\n")):
        if _is_quoted(named):
            raise ConfigError(_quotes_error("the name of the settings file", CONFIG_ENV))
        path = Path(named)
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    if path is None:
        return
    text = read_text(path, "the settings file")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_explain_toml(path, text, error)) from None
    for name, value in content.items():
        if isinstance(value, dict):
            faults.append(f"[{name}] in {path} is a table: all settings are at the top level, so remove the line")
        elif name in Settings.model_fields or name in SECRET_FILES:
            yield _Given(name, value, str(path))
        else:
            faults.append(_unknown_error(name, f"in {path}"))


def _explain_toml(path: Path, text: str, error: tomllib.TOMLDecodeError) -> str:
    if str(error).startswith("Cannot overwrite a value"):  # does not name the setting, nor its first line
        lines: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if (found := _ASSIGNMENT.match(line)) and (name := found[1]) in (*Settings.model_fields, *SECRET_FILES):
                if name in lines:
                    return f"{name} is set twice in {path}, in lines {lines[name]} and {number}: remove one of them"
                lines[name] = number
    return f"the settings file {path} is not valid TOML: {error}"


def _read_environment(environ: Mapping[str, str], faults: list[str]) -> Iterator[_Given]:
    named = {f"{ENV_PREFIX}{name.upper()}": name for name in (*Settings.model_fields, *SECRET_FILES)}
    if environ.get(PORT_ENV) and f"{ENV_PREFIX}PORT" not in environ:
        yield from _checked("port", environ[PORT_ENV], PORT_ENV, faults)
    for key, text in environ.items():
        if not key.startswith(ENV_PREFIX) or key == CONFIG_ENV or _KUBERNETES.fullmatch(key):
            continue
        if key in named:
            yield from _checked(named[key], text, key, faults)
        else:
            faults.append(_unknown_error(key, "in the environment", ENV_PREFIX))


def _read_flags(flags: Mapping[str, Any], faults: list[str]) -> Iterator[_Given]:
    for name, value in flags.items():
        yield from _checked(name, value, f"--{name.replace('_', '-')}", faults)


def _checked(name: str, value: Any, origin: str, faults: list[str]) -> Iterator[_Given]:
    """Return a value from the environment or a flag, without the line break that a CRLF file leaves at its end."""
    if isinstance(value, str) and _is_quoted(value := value.rstrip("\r\n")):
        faults.append(_quotes_error(name, origin))
    else:
        yield _Given(name, value, origin)


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _quotes_error(name: str, origin: str) -> str:
    return (
        f"{name} (from {origin}) has quotation marks around its value: remove them "
        "(docker --env-file and Kubernetes take them as part of the value)"
    )


def _is_switch_for_number(one: _Given, faults: list[str]) -> bool:
    """Return whether the value is true or false although the setting is a number. Pydantic would take it for 1 or 0."""
    is_wrong = isinstance(one.value, bool) and Settings.model_fields[one.name].annotation in (int, float)
    if is_wrong:
        value = str(one.value).lower()
        faults.append(f"{one.name} can't be {value} (from {one.origin}): expected {expected(one.name)}")
    return is_wrong


def _read_secret(name: str, given: _Given) -> str:
    """Return the secret in the file that `given` names.

    Raises:
        ConfigError: The file cannot be read, or its content is unusable. The message does not show the content.
    """
    try:
        path = Path(checked_file_name(given.value))
    except ValueError as error:
        raise ConfigError(f"{given.name} (from {given.origin}) {error}") from None
    what = f"the file for {name} (from {given.origin})"
    text = secret_text(read_text(path, what))
    if not text:
        raise ConfigError(f"{what} {path} is empty: write the secret into it")
    if _is_quoted(text):
        raise ConfigError(f"{what} {path} has quotation marks around the secret: remove them")
    return text


def _unknown_error(name: str, where: str, prefix: str = "") -> str:
    known = [field.upper() if prefix else field for field in (*Settings.model_fields, *SECRET_FILES)]
    near = difflib.get_close_matches(name.removeprefix(prefix), known, n=1)
    advice = f"did you mean {prefix}{near[0]}?" if near else "`presenced config show` lists all settings"
    return f"unknown setting {name} {where}: {advice}"


def _explain(fault: ErrorDetails, origins: Mapping[str, str]) -> str:
    if not fault["loc"]:  # a check between settings: the validator wrote the whole sentence
        return str(fault["ctx"]["error"])
    name = str(fault["loc"][0])
    origin = origins[name]
    if fault["type"] == "value_error":  # our own validator wrote the message, without the value
        return f"{name} (from {origin}) {fault['ctx']['error']}"
    if is_secret(name):  # the invalid value may be nearly the secret
        return f"{name} (from {origin}) can't be used: expected {expected(name)}"
    hint = ""
    if str(fault["input"]).startswith("tcp://"):
        hint = " (Kubernetes sets it for a Service called presenced: set enableServiceLinks: false in the pod)"
    elif origin == PORT_ENV:
        hint = " (hosting platforms set PORT; PRESENCED_PORT and --port take precedence)"
    return f"{name} can't be {_shown(fault['input'])} (from {origin}): expected {expected(name)}{hint}"


def _shown(value: object) -> str:
    """Return a value for an error message. It may be a URL, so passwords and queries are removed."""
    text = re.sub("://.*@", "://...@", repr(value))
    text = re.sub(r"(://[^?]*\?).*", r"\1...", text)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
