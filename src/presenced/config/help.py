"""Texts about settings for `--help`, docs/settings.md and errors: group, value, default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from presenced.config.settings import Settings
from presenced.config.types import Group, ValueName

_WORDS = {"FILE": "the name of a file", "DIRECTORY": "the name of a directory", "URL": "a URL without a user name"}
_UNITS = {"SECONDS": " of seconds", "BYTES": " of bytes"}


def is_secret(name: str) -> bool:
    """Return whether the value of the setting is secret: never shown, and not accepted as a flag."""
    return Settings.model_fields[name].annotation is SecretStr


def groups() -> dict[str, list[str]]:
    """Return the names of the settings by title of their group, in order of declaration.

    A setting without a `Group` belongs to the group of the setting before it.
    """
    found: dict[str, list[str]] = {}
    title = "Other"
    for name, field in Settings.model_fields.items():
        title = next((one.title for one in _metadata(field) if isinstance(one, Group)), title)
        found.setdefault(title, []).append(name)
    return found


def value_name(name: str) -> str:
    """Return the name of the setting's value in `--help`; without a `ValueName`, one derived from its type."""
    field = Settings.model_fields[name]
    names = [one.text for one in _metadata(field) if isinstance(one, ValueName)]
    if names:
        return names[-1]  # the setting's own name follows that of its type
    return "CHOICE" if "enum" in _schemas()[name] else "NUMBER" if field.annotation in (int, float) else "TEXT"


def expected(name: str) -> str:
    """Return a description of the allowed values: `a whole number from 0 to 65535`."""
    schema = _schemas()[name]
    if "enum" in schema:
        choices = ", ".join(filter(None, schema["enum"]))
        return f"one of {choices}, or an empty text" if "" in schema["enum"] else f"one of {choices}"
    if schema.get("format") == "password":
        return "a text, not as a flag"
    if schema["type"] == "array":
        return "texts with commas between them, or a list"
    kind = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "a text"}
    if schema["type"] == "string" and value_name(name) in _WORDS:
        return _WORDS[value_name(name)]
    bounds = _bounds(schema)
    from_ = " from" if bounds[:1].isdigit() else ""
    return kind[schema["type"]] + _UNITS.get(value_name(name), "") + (f"{from_} {bounds}" if bounds else "")


def default_text(name: str) -> str:
    """Return the default as written in the environment: `3001`, `exp`; empty for an empty text or list."""
    default = Settings.model_fields[name].default
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, tuple):
        return ",".join(default)
    return default if isinstance(default, str) else json.dumps(default)


def help_text(name: str) -> str:
    """Return the description of a flag, with its allowed values and its default."""
    description = Settings.model_fields[name].description or ""
    schema = _schemas()[name]
    takes = expected(name) if "enum" in schema else _bounds(schema)
    default = default_text(name)
    notes = [*([takes] if takes else []), *([f"default {default}"] if default else [])]
    return f"{description} [{'; '.join(notes)}]" if notes and schema["type"] != "boolean" else description


def _bounds(schema: dict[str, Any]) -> str:
    """Return the bounds, as `0 to 65535` or `above 0 to 60`; empty if there are none."""
    low, above, high = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    start = f"above {above:.12g}" if above is not None else "" if low is None else f"{low:.12g}"
    return f"{start} to {high:.12g}" if high is not None else start


def _metadata(field: FieldInfo) -> Iterator[object]:
    yield from field.metadata


@cache  # Creating it for each setting takes 0.24 s of every start.
def _schemas() -> dict[str, Any]:
    return dict(Settings.model_json_schema()["properties"])
