"""Texts about settings for `--help`, docs/reference/settings.md and errors: section, value, default.

They come from the fields themselves, because creating a JSON Schema for them took 20 ms of every start.
"""

from __future__ import annotations

import json
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr

from presenced.config.settings import Settings
from presenced.config.types import Section, ValueName

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
_WORDS = {"FILE": "the name of a file", "DIRECTORY": "the name of a directory", "URL": "a URL without a user name"}
_PATTERNS = {
    "node": "at most 64 visible ASCII characters without spaces",
    "cluster_name": "1 to 50 letters, digits, dots, hyphens and underscores",
}
_UNITS = {"SECONDS": " of seconds", "BYTES": " of bytes"}


def is_secret(name: str) -> bool:
    """Return whether the value of the setting is secret: never shown, and not accepted as a flag."""
    return Settings.model_fields[name].annotation is SecretStr


def sections() -> dict[str, list[str]]:
    """Return the names of the settings in each section, by the section's title, in order of declaration."""
    bases = [base for base in reversed(Settings.__bases__) if issubclass(base, Section)]
    return {str(base.model_config["title"]): list(base.model_fields) for base in bases}


def value_name(name: str) -> str:
    """Return the name of the setting's value in `--help`; without a `ValueName`, one derived from its type."""
    field = Settings.model_fields[name]
    names = [item.text for item in field.metadata if isinstance(item, ValueName)]
    if names:
        return names[-1]  # the setting's own name follows that of its type
    return "NUMBER" if field.annotation in (int, float) else "TEXT"


def expected(name: str) -> str:
    """Return a description of the allowed values: `a whole number from 0 to 65535`."""
    annotation = Settings.model_fields[name].annotation
    if choices := _choices(name):
        listed = f"one of {', '.join(filter(None, choices))}"
        return f"{listed}, or an empty string" if "" in choices else listed
    if is_secret(name):
        return "one string, not a list and not a flag"
    if get_origin(annotation) is tuple:
        return "strings with commas between them, or a list"
    if name in _PATTERNS:
        return _PATTERNS[name]
    if value_name(name) in _WORDS:
        return _WORDS[value_name(name)]
    assert annotation in _KINDS, "the other types are handled above"
    bounds = _bounds(name)
    from_ = " from" if bounds[:1].isdigit() else ""
    return _KINDS[annotation] + _UNITS.get(value_name(name), "") + (f"{from_} {bounds}" if bounds else "")


def default_text(name: str) -> str:
    """Return the default as written in the environment: `3001`, `exp`; empty for an empty string or list."""
    default = Settings.model_fields[name].default
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, tuple):
        return ",".join(default)
    return default if isinstance(default, str) else json.dumps(default)


def help_text(name: str) -> str:
    """Return the description of a flag, with its allowed values and its default."""
    field = Settings.model_fields[name]
    description = field.description or ""
    if field.annotation is bool:
        return description
    allowed = expected(name) if _choices(name) else _bounds(name)
    default = default_text(name)
    notes = [*([allowed] if allowed else []), *([f"default {default}"] if default else [])]
    return f"{description} [{'; '.join(notes)}]" if notes else description


def _choices(name: str) -> tuple[str, ...]:
    """Return the allowed strings of a setting that accepts only certain ones."""
    annotation = Settings.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _bounds(name: str) -> str:
    """Return the bounds, as `0 to 65535` or `above 0 to 60`; empty if there are none."""
    start = end = ""
    for item in Settings.model_fields[name].metadata:
        match item:
            case Ge(ge=low):
                start = f"{low:.12g}"
            case Gt(gt=low):
                start = f"above {low:.12g}"
            case Le(le=high):
                end = f" to {high:.12g}"
    return start + end
