"""Examples of responses, made from their schemas and the names of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

TEXTS = {
    "status": "busy",
    "was": "online",
    "chosen": "busy",
    "text": "in a meeting",
    "emoji": "📅",
    "device": "web",
    "cause": "claim",
    "position": "b3f2a1c0-17",
    "next": "b3f2a1c0-17",
    "digest": "c4a1f6f0b8a94b1d",
    "room": "lobby",
    "mode": "full",
    "source": "calendar",
    "connectionId": "ada-1767268800000",
    "protocol": "presenced.v1",
    "reason": "closed",
    "address": "203.0.113.7",
    "node": "a1",
    "why": "ada is busy: the claim of calendar says so.",
    "rule": "everybody may see everyone",
    "winner": "calendar",
    "what": "claim",
    "ticket": "ticket_x4nWq0",
    "id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W",
    "endpoint": "https://app.example.com/hooks",
    "error": "status 500",
}
NUMBERS = {"version": 3, "priority": 10, "seconds": 1800.5, "heard": 2.5, "expiresIn": 30.0}
LISTS: dict[str, list[str]] = {"devices": ["web"], "rooms": ["lobby"], "roles": ["causes"], "errors": []}
ANYTHING: Json = {"event": {"type": "user.online"}, "display": {"name": "Ada Lovelace"}}
NULL = {"next", "timed", "graceEndsIn", "resumableFor"}
"""Fields whose example is null where the schema allows it."""

LEFT_OUT = {"certainty", "graceEndsIn", "lastSeen"}
"""Optional fields that examples leave out."""

MOMENT = 1_767_268_800_000


def sample(schema: Json, known: Mapping[str, Json], name: str = "") -> Any:
    """Return an example for a schema.

    Args:
        known: Schemas that references name.
        name: Name of the field that the example is for.
    """
    if "$ref" in schema:
        schema = known[schema["$ref"].rpartition("/")[2]]
        required = schema["required"]
        return {
            key: sample(field, known, key)
            for key, field in schema["properties"].items()
            if key in required or key not in LEFT_OUT
        }
    if "anyOf" in schema:
        if name in NULL and {"type": "null"} in schema["anyOf"]:
            return None
        kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        return "ada" if name == "userId" else sample(kinds[0], known, name)
    match schema.get("type"):
        case "array":
            if name in LISTS and not (LISTS[name] and "$ref" in schema["items"]):  # `rooms` may be names or records
                return LISTS[name]
            return [sample(schema["items"], known)]
        case "integer" | "number":
            is_time = name in ("since", "until", "at") or name.endswith(("At", "Seen", "Active"))
            return MOMENT if is_time else NUMBERS.get(name, 1)
        case "boolean":
            return True
        case "string":
            return _text(name)
        case _:  # any JSON, or one of several texts
            return TEXTS.get(name) or ANYTHING.get(name, {"room": 12})


def _text(name: str) -> str:
    if name not in TEXTS:
        raise LookupError(f"add an example of `{name}` to TEXTS in tools/docs/samples.py")
    return TEXTS[name]
