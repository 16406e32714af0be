"""Rows of the tables, made from records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from presenced.presence.model import Change
from presenced.storage.records import (
    Record,
    RoomOccupancy,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
    details_json,
)

Row = dict[str, Any]


class Rows:
    """Rows of a batch of records, by table and primary key. Of two records with the same key the newer one counts.

    Args:
        with_changes: Whether changes are stored.
    """

    def __init__(self, records: Iterable[Record], node: str, epoch: str, with_changes: bool) -> None:
        self.users: dict[str, Row] = {}
        self.sessions: dict[str, Row] = {}
        self.changes: dict[int, Row] = {}
        self.claims: dict[tuple[str, str], Row | None] = {}
        """None: the claim is cleared."""
        self.revocations: dict[tuple[str, str], Row] = {}
        server = {"node": node, "epoch": epoch}
        for record in records:
            match record:
                case StoredUser():
                    self.users[record.user_id] = _row_of(record) | server
                case StoredSession():
                    self.sessions[record.session_key] = _row_of(record) | server
                case Change():
                    if with_changes:
                        self.changes[record.position] = _row_of_change(record, epoch)
                case StoredClaim():
                    self.claims[record.user_id, record.source] = _row_of(record) if record.status else None
                case StoredRevocation():
                    self.revocations[record.kind, record.subject] = _row_of(record)
                case RoomOccupancy():
                    pass  # it has no table: only webhooks use it


def _row_of(record: StoredUser | StoredSession | StoredClaim | StoredRevocation) -> Row:
    """Return the fields as columns. JSON becomes text, or NULL if it is empty."""
    return {name: _text(value) if isinstance(value, bytes) else value for name, value in structs.asdict(record).items()}


def _row_of_change(change: Change, epoch: str) -> Row:
    return {
        "epoch": epoch,
        "position": change.position,
        "user_id": change.user_id,
        "version": change.version,
        "status": change.status.value,
        "was": change.was.value,
        "cause": change.cause.value,
        "at_ms": change.at.epoch_ms,
        "since_ms": change.since_ms,
        "details": _text(details_json(change)),
    }


def _text(json: bytes) -> str | None:
    return json.decode() or None
