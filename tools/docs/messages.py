"""`docs/reference/messages.md`: every message with its fields, bounds and an example from the test vectors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from tools.docs.asyncapi import schemas
from tools.docs.markdown import bullets, table, wrapped

from presenced.protocols.classic import messages as classic_messages
from presenced.protocols.v1 import messages

_VECTORS = Path(__file__).parents[2] / "spec/vectors"

_MAX_EXAMPLE_CHARACTERS = 600
"""Length above which a message in the vectors is not used as an example."""


def message_tables() -> str:
    """Return the document."""
    described, examples = schemas(), _examples()
    parts = {
        "Records": (messages.UserRecord, messages.MemberRecord, messages.LimitsV1, messages.Overruled),
        "presenced.v1, from the server": get_args(messages.ServerMessageV1),
        "presenced.v1, from the client": get_args(messages.Request),
        "Classic, from the server": get_args(classic_messages.ClassicMessage),
    }
    sections = [
        f"## {title}\n\n" + "\n\n".join(_section(type_, described, examples) for type_ in types)
        for title, types in parts.items()
    ]
    return "\n\n".join([_HEAD, bullets(_index(parts)), *sections]) + "\n"


COMMON = {
    "userId": "Id of the user: a number if it is a canonical whole number up to 2^53 - 1, otherwise a string.",
    "timestamp": "Time of the event: ISO 8601, UTC, milliseconds, `Z`.",
    "connectionId": "User id, hyphen, milliseconds. Unique for the user.",
    "serverTime": "The server's clock.",
    "heartbeatInterval": "Seconds between two pings.",
    "limits": "Limits for this client.",
    "status": "Status of the user.",
    "text": "Text of the status.",
    "emoji": "Emoji of the status.",
    "data": "Data of the status.",
    "until": "Time at which the status ends.",
    "devices": "Kinds of connected devices.",
    "position": "Position of the client after this message.",
    "users": "Ids of users, or their records.",
    "rooms": "Names of rooms.",
    "room": "Name of the room.",
    "mode": "How the room reports changes.",
    "count": "Number of members.",
    "page": "Number of this page, from 1.",
    "pages": "Number of pages.",
    "joinedAt": "Time at which the user joined the room.",
    "everyone": "All visible users.",
    "state": "Whether the person uses this device.",
    "watch": "The users that are counted.",
    "code": "Number of the error.",
    "name": "Name of the error.",
    "expiresAt": "Time at which the token expires.",
    "id": "Id of the request, which the answer repeats.",
    "maxWatchedUsers": "Maximum number of users that one session watches by id.",
    "requestsPerSecond": "Requests per second on average.",
    "requestBurst": "Requests at once.",
    "maxRooms": "Maximum number of rooms of one session.",
}
"""Meaning of fields that have no description of their own in the code, by name."""


CLASSIC = "classic-"
"""Beginning of the anchors of classic messages: one of them has the name of a message of presenced.v1."""


def _index(parts: Mapping[str, Iterable[Any]]) -> list[str]:
    """Return links to the sections."""
    return [
        f"{title}: {', '.join(f'[{_tag(type_)}](#{_anchor(type_)})' for type_ in types)}"
        for title, types in parts.items()
    ]


def _tag(type_: Any) -> str:
    return str(type_.__struct_config__.tag or type_.__name__)


def _anchor(type_: Any) -> str:
    prefix = CLASSIC if type_ in get_args(classic_messages.ClassicMessage) else ""
    return f"{prefix}{_tag(type_).lower()}"


_HEAD = """# Messages

*Generated from `src/presenced/protocols/v1/messages.py` and `spec/vectors/` by `make docs`. Do not
edit this file.*

The pages about [the classic protocol](websocket-classic.md) and [presenced.v1](websocket-v1.md)
explain the messages. [`asyncapi.yaml`](../../spec/asyncapi.yaml) is the machine-readable form.

- Messages are JSON objects. The field `type` has the name of the message.
- A field marked with ? is optional. If it is missing, it is empty.
- Times are epoch milliseconds by the server's clock. Durations are seconds.
- Examples are from the [test vectors](../../spec/vectors/README.md). A string that begins with `$`
  stands for a value that the server creates.

All messages:"""


def _section(type_: Any, described: dict[str, dict[str, Any]], examples: dict[str, str]) -> str:
    name, tag, anchor = type_.__name__, _tag(type_), _anchor(type_)
    schema = described[name]
    required = set(schema["required"])
    rows = [
        [f"`{key}`{'' if key in required else ' ?'}", type_text(field), field.get("description") or COMMON[key]]
        for key, field in schema["properties"].items()
        if key != "type"
    ]
    own_anchor = f'<a id="{anchor}"></a>\n\n' if anchor.startswith(CLASSIC) else ""
    lines = [f"{own_anchor}### {tag}", wrapped(schema["description"])]
    if rows:
        lines.append(table(["field", "type", "meaning"], rows))
    if name in examples:
        lines.append(f"```json\n{examples[name]}\n```")
    return "\n\n".join(lines)


ID = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
"""Schema of a user id, for lists whose items are checked one by one."""


def type_text(field: dict[str, Any], elsewhere: Mapping[str, str] | None = None) -> str:
    """Return a JSON Schema in words.

    Args:
        elsewhere: Pages of records that are not on this page, by name.
    """
    if "anyOf" in field:
        return " or ".join(type_text(kind, elsewhere) for kind in field["anyOf"] if kind != {"type": "null"})
    if "$ref" in field:
        return f"[{_name(field)}]({(elsewhere or {}).get(_name(field), '')}#{_name(field).lower()})"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"] if value)
    if field.get("type") == "array":
        return f"list of {type_text(field.get('items', ID), elsewhere)}"
    bounds = [
        f"{word} {field[key]:,}"
        for key, word in (
            ("minLength", "at least"),
            ("minimum", "at least"),
            ("maxLength", "at most"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
        )
        if key in field and abs(field[key]) != 2**63  # the whole range of integers
    ]
    unit = " characters" if "maxLength" in field else ""
    return f"{field.get('type', 'any JSON')}" + (f" ({', '.join(bounds)}{unit})" if bounds else "")


def _name(field: dict[str, Any]) -> str:
    return str(field["$ref"]).rpartition("/")[2]


def _examples() -> dict[str, str]:
    """Return an example by the name of the type: of the messages with the most fields in the vectors, the shortest."""
    found: dict[str, dict[str, Any]] = {}
    names = _names()
    for path in sorted(_VECTORS.glob("v1-*.jsonl")):
        classic: set[str] = set()
        for line in path.read_text("utf-8").splitlines()[1:]:
            event = json.loads(line)
            if event["do"] == "connect":
                (classic.discard if "subprotocol" in event else classic.add)(event["client"])
            name = names.get((event.get("client") in classic, event.get("message", {}).get("type")))
            if name and len(json.dumps(event["message"])) <= _MAX_EXAMPLE_CHARACTERS:
                found[name] = max(found.get(name, {}), event["message"], key=_worth)
    return {name: json.dumps(message, ensure_ascii=False) for name, message in found.items()}


def _worth(message: dict[str, Any]) -> tuple[int, int]:
    entries = [entry for key in ("users", "members") for entry in message.get(key, ()) if isinstance(entry, dict)]
    return len(message) + max((len(entry) for entry in entries), default=0), -len(json.dumps(message))


def _names() -> dict[tuple[bool, str], str]:
    """Return the names of the types, by whether the protocol is classic and by their tags."""
    classic, new = (
        get_args(classic_messages.ClassicMessage),
        [*get_args(messages.ServerMessageV1), *get_args(messages.Request)],
    )
    return {(True, t.__struct_config__.tag): t.__name__ for t in classic} | {
        (False, t.__struct_config__.tag): t.__name__ for t in new
    }
