"""Queries that the storage worker answers, as JSON that the HTTP API passes on unchanged (`storage.answers`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.protocols.ids import wire_user_id
from presenced.storage.answers import PastChange, PastSession, PastSessions, StoredLastSeen, UserHistory
from presenced.storage.records import ChangeDetails
from presenced.storage.schema import changes, sessions, users

MAX_PAGE_ROWS = 1_000
"""Maximum number of rows in one answer. A request for more gets this many, and `next`."""


async def last_seen(connection: AsyncConnection, user_ids: Sequence[str]) -> bytes:
    """Return a list of `StoredLastSeen` for the users that have a row, in any order."""
    wanted = select(users.c.user_id, users.c.seen_ms, users.c.active_ms).where(
        users.c.user_id.in_(user_ids[:MAX_PAGE_ROWS])
    )
    found = (await connection.execute(wanted)).all()
    return msgspec.json.encode([StoredLastSeen(wire_user_id(row[0]), row[1], row[2]) for row in found])


async def history(connection: AsyncConnection, user_id: str, before: int, limit: int) -> bytes:
    """Return a page of `UserHistory`, newest first: changes with versions below `before`, or the newest if it is 0."""
    limit = min(limit, MAX_PAGE_ROWS)
    wanted = select(changes).where(changes.c.user_id == user_id)
    if before:
        wanted = wanted.where(changes.c.version < before)
    # One row more than wanted shows whether there is a next page.
    rows = (await connection.execute(wanted.order_by(changes.c.version.desc()).limit(limit + 1))).mappings().all()
    found = [_past_change(row) for row in rows[:limit]]
    return msgspec.json.encode(UserHistory(found, str(found[-1].version) if len(rows) > limit else None))


async def past_sessions(connection: AsyncConnection, user_id: str, before: tuple[int, str] | None, limit: int) -> bytes:
    """Return a page of `PastSessions`, newest first.

    Args:
        before: Opening time and key of the last session of the previous page; None for the first page. The key makes
            the order total, because several sessions may open in the same millisecond.
    """
    limit = min(limit, MAX_PAGE_ROWS)
    opened, key = sessions.c.opened_ms, sessions.c.session_key
    wanted = select(sessions).where(sessions.c.user_id == user_id)
    if before is not None:
        wanted = wanted.where(or_(opened < before[0], and_(opened == before[0], key < before[1])))
    rows = (await connection.execute(wanted.order_by(opened.desc(), key.desc()).limit(limit + 1))).mappings().all()
    found = [_past_session(row) for row in rows[:limit]]
    next_page = f"{rows[limit - 1]['opened_ms']}-{rows[limit - 1]['session_key']}" if len(rows) > limit else None
    return msgspec.json.encode(PastSessions(found, next_page))


def _past_change(row: Any) -> PastChange:
    details = msgspec.json.decode(row["details"], type=ChangeDetails) if row["details"] else ChangeDetails()
    return PastChange(row["version"], row["status"], row["was"], row["cause"], row["at_ms"], *structs.astuple(details))


def _past_session(row: Any) -> PastSession:
    return PastSession(
        row["connection_id"],
        row["protocol"],
        row["opened_ms"],
        row["closed_ms"] or 0,
        row["reason"],
        row["device"],
        row["address"] or "",
        row["node"],
    )
