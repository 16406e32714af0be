"""Calls of the HTTP API of presenced."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

import httpx
from django.conf import settings

logger = logging.getLogger(__name__)

_client = httpx.Client(
    base_url=settings.PRESENCE_API,
    headers={"authorization": f"Bearer {settings.PRESENCE_API_KEY}"},
    timeout=2,
)


CONNECTION_SECONDS = 600
"""Time after which a page needs a new ticket. A session that has ended is noticed by then."""


def new_ticket(user_id: int, name: str) -> str:
    """Return a ticket with which a page of this user connects once, within 30 s.

    Raises:
        httpx.HTTPError: presenced does not respond, or refuses the request.
    """
    body = {"userId": user_id, "lasts": CONNECTION_SECONDS, "presence": {"display": {"name": name}}}
    return _client.post("/tickets", json=body).raise_for_status().json()["ticket"]


def last_seen(user_ids: Iterable[int]) -> dict[int, dict]:
    """Return `status` and `last_seen` of users. Empty if presenced does not respond, because pages work without it."""
    try:
        response = _client.post("/users/last-seen", json={"users": list(user_ids)}).raise_for_status()
    except httpx.HTTPError as error:
        logger.warning("presence is unknown: %s", error)
        return {}
    return {
        user["userId"]: {
            "status": user["status"],
            "last_seen": datetime.fromtimestamp(user["lastSeen"] / 1000, UTC) if "lastSeen" in user else None,
        }
        for user in response.json()["users"]
    }
