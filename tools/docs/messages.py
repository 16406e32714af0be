"""`docs/reference/messages.md`: every message with its fields, bounds and an example from the test vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from tools.docs.asyncapi import schemas
from tools.docs.markdown import table, wrapped

from presenced.protocols.classic import messages as classic_messages
from presenced.protocols.v1 import messages

_VECTORS = Path(__file__).parents[2] / "spec/vectors"

_MAX_EXAMPLE_CHARACTERS = 600
"""Length above which a message in the vectors is not used as an example."""


def message_tables() -> str:
    """Return the document."""
    described, examples = schemas(), _examples()
    parts = {
        "Records": (messages.UserRecord, messages.Member, messages.LimitsV1, messages.Overruled),
        "presenced.v1, from the server": get_args(messages.ServerMessageV1),
        "presenced.v1, from the client": get_args(messages.Request),
        "Classic, from the server": get_args(classic_messages.Message),
    }
    sections = [
        f"## {title}\n\n" + "\n\n".join(_section(type_.__name__, described, examples) for type_ in types)
        for title, types in parts.items()
    ]
    return "\n\n".join([_HEAD, *sections]) + "\n"


_HEAD = """# Messages

*Generated from `src/presenced/protocols/v1/messages.py` and `spec/vectors/` by `make docs`. Do not
edit this file.*

The pages about [the classic protocol](websocket-classic.md) and [presenced.v1](websocket-v1.md)
explain the messages. A field marked with ? is optional. If it is missing, it is empty. Examples are
from the conversations in [the test vectors](../../spec/vectors/README.md), where `$` begins the
name of a value that the server creates. Times are epoch milliseconds, durations are seconds."""


def _section(name: str, described: dict[str, dict[str, Any]], examples: dict[str, str]) -> str:
    schema = described[name]
    tag = schema["properties"].get("type", {}).get("enum", [name])[0]
    required = set(schema["required"])
    rows = [
        [f"`{key}`{'' if key in required else ' ?'}", _type(field), field.get("description", "")]
        for key, field in schema["properties"].items()
        if key != "type"
    ]
    lines = [f"### {tag}", wrapped(schema["description"])]
    if rows:
        lines.append(table(["field", "type", ""], rows))
    if name in examples:
        lines.append(f"```json\n{examples[name]}\n```")
    return "\n\n".join(lines)


def _type(field: dict[str, Any]) -> str:
    """Return a JSON Schema in words."""
    if "anyOf" in field:
        return " or ".join(_type(kind) for kind in field["anyOf"] if kind != {"type": "null"})
    if "$ref" in field:
        return f"[{_name(field)}](#{_name(field).lower()})"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"] if value)
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    bounds = [
        f"{word} {field[key]:,}"
        for key, word in (
            ("minLength", "at least"),
            ("maxLength", "at most"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
        )
        if key in field
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
        get_args(classic_messages.Message),
        [*get_args(messages.ServerMessageV1), *get_args(messages.Request)],
    )
    return {(True, t.__struct_config__.tag): t.__name__ for t in classic} | {
        (False, t.__struct_config__.tag): t.__name__ for t in new
    }
