"""Check of messages against `spec/asyncapi.yaml`."""

from __future__ import annotations

from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from tools.docs.asyncapi import asyncapi

DOCUMENT: dict[str, Any] = msgspec.yaml.decode(asyncapi())


def check(message: dict[str, Any], channel: str) -> None:
    """Raise ValidationError if the document does not describe the message or one of its fields."""
    schemas = {name: {**schema, "additionalProperties": False} for name, schema in schemas_of().items()}
    found = DOCUMENT["channels"][channel]["messages"][message["type"]]["payload"]
    Draft202012Validator({**found, "components": {"schemas": schemas}}).validate(message)


def schemas_of() -> dict[str, dict[str, Any]]:
    """Return the schemas of all records, by name."""
    found: dict[str, dict[str, Any]] = DOCUMENT["components"]["schemas"]
    return found
