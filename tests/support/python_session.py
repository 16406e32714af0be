"""Sessions of `presenced_client` without a connection, and messages that they receive."""

from __future__ import annotations

from typing import Any

from presenced_client.session import Session

LIMITS = {
    "maxMessageSize": 65_536,
    "maxWatchedUsers": 1000,
    "maxRooms": 100,
    "requestsPerSecond": 10,
    "requestBurst": 50,
}

LONG_AFTER_S = 130.0
"""Longer than the `resumeWindow` of `established`, so that everything known is forgotten."""


def established(session_id: str = "one", **fields: Any) -> dict[str, Any]:
    message = {"type": "CONNECTION_ESTABLISHED", "sessionId": session_id, "resumed": False, "epoch": "e"}
    message |= {"serverTime": 0, "resumeWindow": 120, "settling": 0, "limits": LIMITS}
    return message | fields


def record(user: str, version: int, status: str = "online", **fields: Any) -> dict[str, Any]:
    return {"userId": user, "status": status, "since": 1, "version": version, **fields}


def changes(*users: dict[str, Any], position: str = "p") -> dict[str, Any]:
    return {"type": "PRESENCE_CHANGES", "position": position, "users": list(users)}


def snapshot(*users: dict[str, Any], watch: str = "users", page: int = 1, pages: int = 1) -> dict[str, Any]:
    return {"type": "PRESENCE_SNAPSHOT", "watch": watch, "page": page, "pages": pages, "users": list(users)}


def session_that_watches(*users: str, everyone: bool = False, now: float = 0.0, **limits: int) -> Session:
    """Return a session whose requests are accepted."""
    session = Session()
    for user in users:
        session.desired.users.acquire(user)
    if everyone:
        session.desired.everyone.acquire(None)
    session.received(established(limits=LIMITS | limits), now)
    session.received({"type": "SELF", "status": "online", "chosen": "auto"}, now)
    accept(session, now)
    return session


def accept(session: Session, now: float = 0.0) -> list[dict[str, Any]]:
    requests = session.outgoing(now)
    for request in requests:
        session.received({"type": "ACK", "id": request["id"]}, now)
    return requests
