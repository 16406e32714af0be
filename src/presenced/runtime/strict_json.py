"""Strict decoder for JSON from clients and backends: it refuses unknown fields and names the allowed ones.

A misspelt field (`expires_in`) must not pass for an omitted one, because a status would then last forever. Names that
begin with `x-` belong to the sender and are ignored. `docs/reference/websocket-v1.md` states the rule and its reason.

A decoder of msgspec does the work, so a valid message costs nothing more. If it refuses a message, `read` examines the
message. If the message has fields of the sender, `read` removes them and decodes the rest. Otherwise it explains the
error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Raw, Struct
from msgspec.inspect import LiteralType, type_info
from msgspec.json import Decoder
from msgspec.structs import fields

T = TypeVar("T")

EXTENSION = "x-"
"""Prefix of the names of ignored fields."""

MAX_ERROR_CHARACTERS = 150
"""Maximum number of characters of an error that may repeat input. The middle of a longer one is cut out."""

MAX_FIELD_NAME_CHARACTERS = 40
"""Maximum number of characters of a field name that an error repeats."""

_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`( - at `\$[^`]*`)?", re.DOTALL)
_AT_FIELD = re.compile(r" - at `\$\.(\w+)`$")
_BELOW_FIELD = re.compile(r" - at `\$\.(\w+)[^`]*`$")


def read(data: str | bytes, decoder: Decoder[T], kind: Any) -> T:
    """Decode one object.

    Args:
        kind: Type that `decoder` returns: a record, or a union of records with the field `type` as tag.

    Raises:
        msgspec.ValidationError: It is JSON, but not such an object. The message says why and lists what is allowed.
        msgspec.DecodeError: It is not JSON.
    """
    try:
        return decoder.decode(data)
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None
    except msgspec.ValidationError as error:
        if (rest := _json_without_extensions(data)) is not None:
            return read(rest, decoder, kind)
        raise msgspec.ValidationError(explain_invalid(error, _kind(data, kind))) from None
    except msgspec.DecodeError:
        if (surrogate := lone_surrogate(data)) is None:
            raise
        raise msgspec.ValidationError(f"a string holds {surrogate}, which is half of a surrogate pair") from None


def without_extensions(given: Any) -> Any:
    """Return a decoded object without the sender's own fields; any other value unchanged."""
    if isinstance(given, dict):
        return {name: value for name, value in given.items() if not str(name).startswith(EXTENSION)}
    return given


def explain_invalid(error: Exception, kind: Any) -> str:
    """Return an error message for the sender.

    Args:
        error: Error from msgspec.
        kind: Expected record, or the union of all if `type` does not say which.
    """
    text = str(error)
    if (unknown := _UNKNOWN.fullmatch(text)) is not None and isinstance(kind, type) and not unknown[2]:
        return unknown_name_message(unknown[1], [*_tag_field(kind), *(f.encode_name for f in fields(kind))], "field")
    found = _AT_FIELD.search(text)
    allowed = _choices(kind).get(found[1], ()) if found else ()
    message = text.replace("$.", "").replace("`$`", "the body")
    if len(message) > MAX_ERROR_CHARACTERS:
        message = f"{message[: MAX_ERROR_CHARACTERS - 53]}...{message[-50:]}"
    return f"{message}; allowed values: {', '.join(allowed)}" if allowed else message


def field_at_fault(error: Exception) -> str:
    """Return the field of the record that an error of msgspec is about; empty if it is about the whole record.

    The name of an unknown field is escaped and cut to `MAX_FIELD_NAME_CHARACTERS`.
    """
    text = str(error)
    if (unknown := _UNKNOWN.fullmatch(text)) is not None and not unknown[2]:
        return ascii(unknown[1])[1:-1][:MAX_FIELD_NAME_CHARACTERS]
    found = _BELOW_FIELD.search(text)
    return found[1] if found else ""


def unknown_name_message(name: str, known: Sequence[str], what: str) -> str:
    """Return an error message for an unknown name, with the closest known name and all known names.

    Args:
        what: Kind of the name: `field` or `parameter`.
    """
    shown = ascii(name[:MAX_FIELD_NAME_CHARACTERS])[1:-1]
    if not known:
        return f"unknown {what} {shown}; there are none"
    meant = f" (did you mean {near}?)" if (near := nearest(name, known)) else ""
    return f"unknown {what} {shown}{meant}; known {what}s: {', '.join(known)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name most similar to `name`; empty if none is similar."""
    plain = {_plain(one): one for one in known}
    found = get_close_matches(_plain(name[:MAX_FIELD_NAME_CHARACTERS]), plain, 1)
    return plain[found[0]] if found else ""


def lone_surrogate(data: str | bytes) -> str | None:
    """Return the first lone surrogate in JSON text, as the escape `\\ud83d`; None if there is none.

    The grammar allows it (RFC 8259 section 8.2), but it is not Unicode text, so msgspec calls the JSON malformed.
    """
    try:
        texts = json.dumps(json.loads(data), ensure_ascii=False)
        texts.encode()
    except UnicodeEncodeError as error:
        return ascii(error.object[error.start])[1:-1]
    except (ValueError, RecursionError):
        return None
    return None


def _plain(name: str) -> str:
    """Return `name` without differences in spelling: `expires_in`, `expires-in`, `ExpiresIn`."""
    return name.replace("_", "").replace("-", "").lower()


def _json_without_extensions(data: str | bytes) -> bytes | None:
    """Return the JSON without the sender's own fields; None if it has none."""
    try:
        given = msgspec.json.decode(data, type=dict[str, Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    rest = without_extensions(given)
    return None if len(rest) == len(given) else msgspec.json.encode(rest)


def _kind(data: str | bytes, kind: Any) -> Any:
    """Return the expected record for `data`, by its field `type`; all of `kind` if that does not say which."""
    if isinstance(kind, type):
        return kind
    try:
        return _by_tag(kind).get(msgspec.json.decode(data, type=_Typed).type, kind)
    except (msgspec.MsgspecError, RecursionError):
        return kind


class _Typed(Struct):
    type: str = ""


@cache
def _by_tag(union: Any) -> Mapping[str, type[Struct]]:
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


def _tag_field(kind: type[Struct]) -> tuple[str, ...]:
    """Return the name of the tag field; nothing if the record has none."""
    name = kind.__struct_config__.tag_field
    return (name,) if name else ()


@cache
def _choices(kind: Any) -> Mapping[str, tuple[str, ...]]:
    """Return the allowed values of each field with a literal type; for a union, of the tag field alone."""
    if not isinstance(kind, type):
        return {"type": tuple(_by_tag(kind))}
    types = {f.encode_name: type_info(f.type) for f in fields(kind)}
    return {name: tuple(map(str, t.values)) for name, t in types.items() if isinstance(t, LiteralType)}
