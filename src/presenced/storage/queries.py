"""Answers out of what is kept, as JSON that is ready to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.protocols.ids import wire_user_id
from presenced.storage.answers import History, PastChange, PastSession, PastSessions, Seen
from presenced.storage.rows import Details
from presenced.storage.schema import changes, sessions, users

MAX_PAGE = 1_000
"""Rows of one answer."""


async def last_seen(connection: AsyncConnection, user_ids: Sequence[str]) -> bytes:
    """Of those users of whom something is kept, in any order."""
    wanted = select(users.c.user_id, users.c.seen_ms, users.c.active_ms).where(users.c.user_id.in_(user_ids[:MAX_PAGE]))
    found = (await connection.execute(wanted)).all()
    return msgspec.json.encode([Seen(wire_user_id(row[0]), row[1], row[2]) for row in found])


async def history(connection: AsyncConnection, user_id: str, before: int, limit: int) -> bytes:
    """Changes of versions below `before`; 0: the newest."""
    limit = min(limit, MAX_PAGE)
    wanted = select(changes).where(changes.c.user_id == user_id)
    if before:
        wanted = wanted.where(changes.c.version < before)
    rows = (await connection.execute(wanted.order_by(changes.c.version.desc()).limit(limit + 1))).mappings().all()
    found = [_change(row) for row in rows[:limit]]
    return msgspec.json.encode(History(found, str(found[-1].version) if len(rows) > limit else None))


async def past_sessions(connection: AsyncConnection, user_id: str, before: tuple[int, str] | None, limit: int) -> bytes:
    """Sessions that come, newest first, after the one that opened at this time and has this key."""
    limit = min(limit, MAX_PAGE)
    opened, key = sessions.c.opened_ms, sessions.c.session_key
    wanted = select(sessions).where(sessions.c.user_id == user_id)
    if before is not None:
        wanted = wanted.where(or_(opened < before[0], and_(opened == before[0], key < before[1])))
    rows = (await connection.execute(wanted.order_by(opened.desc(), key.desc()).limit(limit + 1))).mappings().all()
    found = [
        PastSession(
            row["connection_id"],
            row["protocol"],
            row["opened_ms"],
            row["closed_ms"] or 0,
            row["reason"],
            row["device"],
            row["address"] or "",
            row["node"],
        )
        for row in rows[:limit]
    ]
    more = f"{rows[limit - 1]['opened_ms']}-{rows[limit - 1]['session_key']}" if len(rows) > limit else None
    return msgspec.json.encode(PastSessions(found, more))


def _change(row: Any) -> PastChange:
    details = msgspec.json.decode(row["details"], type=Details) if row["details"] else Details()
    return PastChange(
        row["version"], row["status"], row["was"], row["cause"], row["at_ms"], details.text, details.emoji,
        details.data or UNSET, details.until, details.devices,
    )  # fmt: skip
