"""`spec/asyncapi.yaml`: the messages of both protocols for programs, made from the message types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import msgspec
from msgspec.json import schema_components
from tools.docs.descriptions import descriptions, with_extensions, without_null

from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.protocols.classic import messages as classic_messages
from presenced.protocols.v1 import messages
from presenced.protocols.v1.connect import ACTIVITIES, CHOICES
from presenced.protocols.v1.protocol import V1Protocol
from presenced.version import __version__

V1 = V1Protocol.name

HEAD = "# Made from src/presenced/protocols/v1/messages.py by `make docs`; don't edit it here.\n"

PARAMETERS: dict[str, dict[str, object]] = {
    "userId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Who connects."},
    "device": {"type": "string", "maxLength": 32, "description": "Kind of device; others see it."},
    "watch": {"enum": ["everyone", "none"], "description": "What a new session watches at first."},
    "activity": {
        "enum": [name for name in ACTIVITIES if name],
        "description": "Whether the person is at this device; a new session without it is active.",
    },
    "status": {"enum": list(CHOICES), "description": "The user's choice, for a server that does not know it."},
    "text": {
        "type": "string",
        "maxLength": messages.MAX_TEXT,
        "description": "Text of the choice, as in SELF; URLs are logged.",
    },
    "emoji": {"type": "string", "maxLength": messages.MAX_EMOJI, "description": "Emoji of the choice, as in SELF."},
    "until": {"type": "integer", "description": "When the choice ends: epoch milliseconds, as in SELF."},
    "session": {"type": "string", "maxLength": 64, "description": "The session to resume."},
    "position": {"type": "string", "maxLength": 64, "description": "Where that session is."},
    "token": {"type": "string", "description": "A token or ticket; better shown in another way, for URLs are logged."},
}


def asyncapi() -> str:
    """The document, AsyncAPI 3.0."""
    sent = {"classic": get_args(classic_messages.Message), "v1": get_args(messages.ServerMessageV1)}
    received = {"classic": (messages.Auth,), "v1": get_args(messages.Request)}
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "presenced",
            "version": __version__,
            "description": "Tells people, in real time, who is online. What the messages mean: protocol.md for the "
            "classic protocol, protocol-v1.md for presenced.v1.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": f"localhost:{Settings().port}", "protocol": "ws"}},
        "channels": {
            "classic": _channel(
                "For clients that ask for no subprotocol.", ["userId"], [*sent["classic"], *received["classic"]], {}
            ),
            "v1": _channel(
                f"For clients that ask for the subprotocol {V1}.",
                list(PARAMETERS),
                [*sent["v1"], *received["v1"]],
                {"Sec-WebSocket-Protocol": {"const": V1}},
            ),
        },
        "operations": {
            "classicSend": _operation("classic", "send", sent["classic"]),
            "classicReceive": _operation("classic", "receive", received["classic"]),
            "v1Send": _operation("v1", "send", sent["v1"]),
            "v1Receive": _operation("v1", "receive", received["v1"]),
        },
        "components": {"schemas": schemas()},
    }
    return HEAD + msgspec.yaml.encode(document).decode()


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of every record, by the name of its type; every field is described where the code does."""
    types = [*get_args(classic_messages.Message), *get_args(messages.ServerMessageV1), *get_args(messages.Request)]
    # Records that are encoded apart from the messages they are in.
    types += [messages.UserRecord, messages.Member]
    _, components = schema_components(types, ref_template="#/components/schemas/{name}")
    described = descriptions(classic_messages) | descriptions(messages)
    records: dict[str, Any] = {
        record.__name__: record for record in (*types, *vars(messages).values()) if isinstance(record, type)
    }
    for name, schema in components.items():
        schema["description"] = " ".join(schema["description"].split())
        with_extensions(schema)
        for key, field in schema["properties"].items():
            if records[name].__struct_config__.omit_defaults:
                schema["properties"][key] = field = without_null(field)
            if text := described.get((name, key)):
                schema["properties"][key] = {**field, "description": text}
    return dict(sorted(components.items()))


def _channel(
    summary: str, parameters: list[str], types: Iterable[type], headers: dict[str, dict[str, object]]
) -> dict[str, object]:
    query = {"type": "object", "properties": {name: PARAMETERS[name] for name in (*parameters, "token")}}
    binding: dict[str, object] = {"method": "GET", "query": query}
    if headers:
        binding["headers"] = {"type": "object", "properties": headers, "required": list(headers)}
    return {
        "address": WEBSOCKET_PATH,
        "summary": summary,
        "messages": {_tag(type_): _message(type_) for type_ in types},
        "bindings": {"ws": binding},
    }


def _message(type_: type) -> dict[str, object]:
    return {"name": _tag(type_), "payload": {"$ref": f"#/components/schemas/{type_.__name__}"}}


def _operation(channel: str, action: str, types: Iterable[type]) -> dict[str, object]:
    """`action` is what the server does."""
    references = [{"$ref": f"#/channels/{channel}/messages/{_tag(type_)}"} for type_ in types]
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "messages": references}


def _tag(type_: Any) -> str:
    return str(type_.__struct_config__.tag)
