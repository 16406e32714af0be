"""Details of a status with every field filled, so that a place that forgets a field fails a test."""

from __future__ import annotations

from typing import Any

from msgspec import json, structs

from presenced.presence.model import StatusDetails
from presenced.testing import FakeClock

LASTS_S = 3600.0
"""Seconds from the start of a fake clock to the end of filled details."""

END_MS = FakeClock().now().epoch_ms + int(LASTS_S * 1000)


def filled_details(seed: int = 1) -> StatusDetails:
    """Return details with a value in every field, which differs for another seed, except for the end."""
    values: dict[type, Any] = {str: f"text {seed}", bytes: b'{"number":%d}' % seed, int: END_MS}
    fields = structs.fields(StatusDetails)
    assert {field.type for field in fields} <= values.keys(), "add a value of the new type to tests/support/details.py"
    assert [field.name for field in fields if field.type is int] == ["until_ms"], "END_MS is for the end alone"
    return StatusDetails(**{field.name: values[field.type] for field in fields})


def as_record(details: StatusDetails) -> dict[str, Any]:
    """Return the details by the names that they have in messages, in records and in URLs, as decoded JSON."""
    found = {name.removesuffix("_ms"): value for name, value in structs.asdict(details).items()}
    return {name: json.decode(value or b"null") if isinstance(value, bytes) else value for name, value in found.items()}


def as_request(details: StatusDetails) -> dict[str, Any]:
    """Return the details as arguments of a request about them, which has seconds instead of an end."""
    return {name: value for name, value in as_record(details).items() if name != "until"}


def part_of(record: Any, details: StatusDetails) -> dict[str, Any]:
    """Return the fields of a record that are details; None for those that it lacks."""
    return {name: record.get(name) for name in as_record(details)}
