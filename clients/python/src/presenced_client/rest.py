"""The server's HTTP API, for backends. It needs the extra `api`: `pip install 'presenced-client[api]'`.

Methods have the names of the operations in openapi.json, in Python's spelling, and return the JSON of the response.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx2

from presenced_client.errors import PresenceError
from presenced_client.presence import UserId
from presenced_client.url import http_address

Json = Any
"""Decoded JSON. docs/reference/http-api.md describes each response."""

MAX_TRIES = 3
"""Number of tries of a request that the server refuses for now. Then the refusal is raised."""

LONGEST_WAIT_S = 10.0
"""Longest wait between two tries, even if the server asks for more. A caller who can wait for longer tries again."""

REQUEST_TIMEOUT_S = 10.0
"""Seconds for a request. Then the server counts as unreachable. A long poll adds its `wait`."""

LONG_POLL_S = 30
"""Seconds for which `changes` waits in one request."""


class PresenceApi:
    """Client of the HTTP API: `async with PresenceApi("http://localhost:3001", api_key) as api`.

    Requests that the server refuses for now are repeated after its `Retry-After`. Other refusals are PresenceErrors.

    Args:
        url: `http(s)://` or `ws(s)://` and the server's host.
        api_key: Key with the scope that the methods need; empty on a server without keys.
        ssl: Context for `https://`; None for the default.
        trust_env: Whether to use the proxy that the environment names.
    """

    def __init__(
        self, url: str, api_key: str = "", *, ssl: tls.SSLContext | None = None, trust_env: bool = True
    ) -> None:
        self._http = httpx2.AsyncClient(
            base_url=f"{http_address(url)}/api/v1",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            verify=ssl if ssl is not None else True,
            timeout=REQUEST_TIMEOUT_S,
            trust_env=trust_env,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, Json] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Json:
        """Send a request below `/api/v1`, and return the JSON of its response. None in `query` and `body` is omitted.

        Raises:
            PresenceError: The server refuses it, or cannot be reached (`CONNECTION_LOST`).
        """
        for attempt in range(1, MAX_TRIES + 1):
            try:
                response = await self._http.request(
                    method, path, params=_given(query), json=None if body is None else _given(body), timeout=timeout_s
                )
            except httpx2.TransportError as error:
                raise PresenceError("CONNECTION_LOST", str(error) or type(error).__name__, retryable=True) from error
            if response.is_success:
                return response.json()
            refused = PresenceError.from_problem(response.status_code, _json_or_none(response))
            if not refused.retryable or attempt == MAX_TRIES:
                raise refused
            seconds = response.headers.get("Retry-After", "")
            await asyncio.sleep(min(LONGEST_WAIT_S, float(seconds) if seconds.isdigit() else 2.0**attempt / 4))
        raise AssertionError("the last try returns or raises")

    # Presence.

    async def get_user(self, user_id: UserId, *, viewer: UserId | None = None) -> Json:
        """Return the record of a user, as `viewer` sees it."""
        return await self.request("GET", _user(user_id), {"viewer": viewer})

    async def query_users(self, user_ids: Iterable[UserId], *, viewer: UserId | None = None) -> Json:
        """Return the records of up to 1,000 users."""
        return await self.request("POST", "/users/query", body={"users": list(user_ids), "viewer": viewer})

    async def list_online(self, *, viewer: UserId | None = None, after: str = "", limit: int | None = None) -> Json:
        """Return one page of the users who are online, and the position of the feed."""
        return await self.request("GET", "/online", {"viewer": viewer, "after": after or None, "limit": limit})

    async def get_counts(self, *, viewer: UserId | None = None) -> Json:
        """Return the numbers of users online, and of rooms."""
        return await self.request("GET", "/counts", {"viewer": viewer})

    async def list_rooms(self, *, after: str = "", limit: int | None = None) -> Json:
        """Return one page of the rooms."""
        return await self.request("GET", "/rooms", {"after": after or None, "limit": limit})

    async def get_room(
        self, room: str, *, viewer: UserId | None = None, after: str = "", limit: int | None = None
    ) -> Json:
        """Return one page of the members of a room."""
        query = {"viewer": viewer, "after": after or None, "limit": limit}
        return await self.request("GET", f"/rooms/{quote(room, safe='')}", query)

    async def explain_user(self, user_id: UserId, *, viewer: UserId | None = None) -> Json:
        """Return why a user is shown as they are."""
        return await self.request("GET", f"{_user(user_id)}/explain", {"viewer": viewer})

    async def follow_changes(self, after: str = "", *, wait: int | None = None, limit: int | None = None) -> Json:
        """Return the changes after a position, at once or after waiting up to `wait` seconds for some."""
        query = {"after": after or None, "wait": wait, "limit": limit}
        return await self.request("GET", "/changes", query, timeout_s=REQUEST_TIMEOUT_S + (wait or 0))

    async def changes(self, after: str = "") -> AsyncIterator[Json]:
        """Yield all changes after a position, and then each new one. A lost connection is repeated from the last one.

        Raises:
            PresenceError: CURSOR_TOO_OLD if some of them are no longer available. Read everyone again.
        """
        while True:
            try:
                page = await self.follow_changes(after, wait=LONG_POLL_S)
            except PresenceError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(1)
                continue
            for change in page["changes"]:
                yield change
            after = page["next"]

    # Commands.

    async def announce(self, user_id: UserId, online: bool) -> Json:
        """Announce a user online who has no connection, or withdraw the announcement."""
        return await self.request("POST", f"{_user(user_id)}/announce", body={"online": online})

    async def disconnect(self, user_id: UserId) -> Json:
        """Close all connections of a user."""
        return await self.request("POST", f"{_user(user_id)}/disconnect")

    async def set_status(
        self,
        user_id: UserId,
        status: Literal["auto", "online", "away", "busy", "invisible"],
        *,
        text: str | None = None,
        emoji: str | None = None,
        data: Json = None,
        expires_in: float | None = None,
    ) -> Json:
        """Choose a status for a user. Return the record."""
        body = {"status": status, "text": text, "emoji": emoji, "data": data, "expiresIn": expires_in}
        return await self.request("PUT", f"{_user(user_id)}/status", body=body)

    async def clear_status(self, user_id: UserId) -> Json:
        """Delete the choice of a user. Return the record."""
        return await self.request("DELETE", f"{_user(user_id)}/status")

    async def list_claims(self, user_id: UserId) -> Json:
        """Return the claims about a user."""
        return await self.request("GET", f"{_user(user_id)}/claims")

    async def set_claim(
        self,
        user_id: UserId,
        source: str,
        status: Literal["online", "away", "busy"],
        *,
        text: str | None = None,
        emoji: str | None = None,
        data: Json = None,
        priority: int | None = None,
        expires_in: float | None = None,
    ) -> Json:
        """Set the claim of a source, such as a calendar, about a user. Return the record."""
        body = {"status": status, "text": text, "emoji": emoji, "data": data}
        body |= {"priority": priority, "expiresIn": expires_in}
        return await self.request("PUT", f"{_user(user_id)}/claims/{quote(source, safe='')}", body=body)

    async def clear_claim(self, user_id: UserId, source: str) -> Json:
        """Delete the claim of a source about a user."""
        return await self.request("DELETE", f"{_user(user_id)}/claims/{quote(source, safe='')}")

    async def erase(self, user_id: UserId) -> Json:
        """Forget everything about a user, in memory and in the database."""
        return await self.request("DELETE", _user(user_id))

    async def new_ticket(
        self, user_id: UserId, *, lasts: float | None = None, presence: Mapping[str, Json] | None = None
    ) -> Json:
        """Return a ticket, with which a client of this user can connect once.

        Args:
            lasts: Seconds for which the connection may last; None for the server's bound.
            presence: Rights of the client.
        """
        return await self.request("POST", "/tickets", body={"userId": user_id, "lasts": lasts, "presence": presence})

    async def revoke(self, user_id: UserId, *, session_id: str | None = None, token_id: str | None = None) -> Json:
        """Revoke the tokens of a user: all, or those of one session or id."""
        body = {"sessionId": session_id, "tokenId": token_id}
        return await self.request("POST", f"{_user(user_id)}/revoke", body=body)

    # Sessions, and what the database knows.

    async def list_sessions(self, user_id: UserId) -> Json:
        """Return the sessions of a user."""
        return await self.request("GET", f"{_user(user_id)}/sessions")

    async def list_all_sessions(self, *, after: str = "", limit: int | None = None) -> Json:
        """Return one page of all sessions."""
        return await self.request("GET", "/sessions", {"after": after or None, "limit": limit})

    async def list_past_sessions(self, user_id: UserId, *, after: str = "", limit: int | None = None) -> Json:
        """Return one page of the ended sessions of a user."""
        return await self.request("GET", f"{_user(user_id)}/sessions/past", {"after": after or None, "limit": limit})

    async def list_history(self, user_id: UserId, *, after: str = "", limit: int | None = None) -> Json:
        """Return one page of the changes of a user."""
        return await self.request("GET", f"{_user(user_id)}/history", {"after": after or None, "limit": limit})

    async def get_last_seen(self, user_id: UserId) -> Json:
        """Return when a user was last seen."""
        return await self.request("GET", f"{_user(user_id)}/last-seen")

    async def query_last_seen(self, user_ids: Iterable[UserId]) -> Json:
        """Return when up to 1,000 users were last seen."""
        return await self.request("POST", "/users/last-seen", body={"users": list(user_ids)})

    async def list_dead_letters(self, *, after: str = "", limit: int | None = None) -> Json:
        """Return one page of the webhook events that could not be delivered."""
        return await self.request("GET", "/webhooks/dead", {"after": after or None, "limit": limit})

    async def retry_dead_letters(self, ids: Iterable[str] | None = None) -> Json:
        """Deliver dead letters again: all, or those with these ids."""
        return await self.request("POST", "/webhooks/dead/retry", body={} if ids is None else {"ids": list(ids)})


def _user(user_id: UserId) -> str:
    return f"/users/{quote(str(user_id), safe='')}"


def _given(values: Mapping[str, Json] | None) -> dict[str, Json]:
    """Return the values that are not None. The server refuses unknown and empty ones."""
    return {name: value for name, value in (values or {}).items() if value is not None}


def _json_or_none(response: httpx2.Response) -> Json:
    try:
        return response.json()
    except ValueError:
        return None  # from a proxy
