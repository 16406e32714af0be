"""Read-only watching over Server-Sent Events, for networks where WebSockets are blocked.

A stream begins with a snapshot, or with the changes since `Last-Event-ID`. Then it repeats these steps until the client
disconnects or its token is no longer accepted:

| position of the client | step |
|---|---|
| none, or older than the journal | events `snapshot` in pages, which lead to the current position |
| before the newest change | events `changes` in pages: each user once, with the last state |
| current | nothing |

After each step the stream waits for the next multiple of `WRITE_PERIOD_S`, and then for a change. All streams write at
the same moments, so `SpanCache` computes each span of changes once for all of them. Each change is encoded once, too,
in the cache that is shared with WebSocket clients.

A position is in the id of the last page only. A client that loses the stream between two pages gets all pages again.

Steps of a request:

1. Check the origin and the address.
2. Authenticate with an API key, a user's token, or a ticket that opens or reopens its stream.
3. Validate the users to watch.
4. Take a place among the waiting requests (`http.waiting`).
5. Register the connection as the only one of the ticket's stream (`auth.resumable_streams`).
6. Stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import TypeVar

from msgspec import Raw
from starlette.responses import Response

from presenced.auth.authenticator import UNAVAILABLE, AuthResult
from presenced.auth.gatekeeper import Gatekeeper
from presenced.auth.grants import visibility_of
from presenced.auth.principal import Principal
from presenced.auth.resumable_streams import SEPARATOR, Opening
from presenced.errors import BadToken, BadUserId, Problem
from presenced.http import sse
from presenced.http.api.endpoint import Api, ApiCall, Endpoint
from presenced.http.api.requests import Empty, WatchParams
from presenced.http.api.responses import WatchCertainty, WatchEvent
from presenced.http.auth import bearer_of
from presenced.http.errors import ProblemError, unavailable
from presenced.http.waiting import WaitingRequest
from presenced.node.service import PresenceService
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Change, Status
from presenced.presence.subscriptions import Selection
from presenced.presence.visibility import EVERYTHING
from presenced.runtime.instant import Instant

T = TypeVar("T")

WRITE_PERIOD_S = 0.25
"""Seconds between the moments at which streams write, the same for all streams. Of the changes in between, a client
gets the last state of each user."""

TOKEN_CHECK_S = 5.0
"""Maximum number of seconds between two checks whether the token is still accepted."""

PAGE_USERS = 500
"""Maximum number of users in one event."""

SCAN_PAGE_USERS = 5_000
"""Number of users that a snapshot of everyone looks up at a time. Each look-up goes through all users."""


class _WatchedUsers:
    """Users that one stream watches, as far as its viewer may see them.

    Args:
        principal: The viewer; None for a backend, or for anyone if `auth` is none.
        opening: Opening of the stream, if a ticket opens it.

    Raises:
        ProblemError: The request names no users, or an invalid id.
    """

    def __init__(self, api: Api, principal: Principal | None, opening: Opening | None, query: WatchParams) -> None:
        self._service = api.service
        self._gatekeeper = api.gatekeeper
        self._principal = principal
        self.suffix = "" if opening is None else SEPARATOR + opening.secret
        """End of each event id, after the cursor."""
        try:
            placeholders = api.settings.placeholder_ids
            self._requested = frozenset(parse_user_id(user_id, placeholders) for user_id in query.users)
        except BadUserId as error:
            raise ProblemError(Problem.BAD_PARAMETER, str(error)) from None
        if not self._requested and not query.everyone:
            raise ProblemError(
                Problem.BAD_PARAMETER, "name the users to watch: users=ID, once for each, or everyone=true"
            )
        self._everyone = query.everyone
        visibility = visibility_of(api.settings, principal) if principal else EVERYTHING
        self._encoder = api.service.encoder_for(visibility)
        self.record = self._encoder.record
        """Function that encodes a change."""
        self._visible = visibility.visible_part(Selection(query.everyone, set(self._requested)))
        """Watched users that the viewer may see. Everyone means everyone except `_blocked`."""
        self._blocked = visibility.blocked

    def snapshot(self) -> Iterator[list[Raw]]:
        """Return the pages of a snapshot. It contains visible users who are not offline, or all requested users.

        Their records are not cached, because they would evict the newest changes from the cache.
        """
        if self._visible.everyone:
            yield from self._pages_of_everyone()
            return
        visible = self._visible.users
        wanted = sorted(visible if self._everyone else self._requested)
        records: list[Raw] = []
        for user_id, change in zip(wanted, self._service.last_changes(wanted), strict=True):
            if change and user_id in visible:
                if change.status is not Status.OFFLINE or not self._everyone:
                    records.append(self._encoder.uncached(change))
            elif not self._everyone:
                records.append(self._encoder.unknown(user_id, self._service.unknown_version(user_id)))
        for start in range(0, max(len(records), 1), PAGE_USERS):
            yield records[start : start + PAGE_USERS]

    def _pages_of_everyone(self) -> Iterator[list[Raw]]:
        """Return the pages of a snapshot of everyone, each looked up when it is sent.

        Users who change meanwhile are part of the next event `changes`, too.
        """
        after = 0
        while found := self._service.online(after, SCAN_PAGE_USERS):
            after = found[-1].serial
            seen = [change for _, change in found if change.user_id not in self._blocked]
            for start in range(0, len(seen), PAGE_USERS):
                yield [self._encoder.uncached(change) for change in seen[start : start + PAGE_USERS]]

    def event_id(self, position: int) -> str:
        """Return the id of an event that leaves the client at `position`."""
        return self._service.position_text(position) + self.suffix

    def visible_changes(self, latest: Mapping[str, Change]) -> list[Change]:
        """Return the changes of watched users that the viewer may see."""
        if self._visible.everyone:
            return [latest[user_id] for user_id in latest if user_id not in self._blocked]
        return [latest[user_id] for user_id in latest.keys() & self._visible.users]

    def is_allowed(self, now: Instant) -> bool:
        """Return whether the viewer's token is still accepted."""
        gatekeeper, principal = self._gatekeeper, self._principal
        return principal is None or gatekeeper is None or gatekeeper.still_holds(principal, now)


@Endpoint(
    "GET",
    "/watch",
    scope="read",
    reply=WatchEvent,
    problems=(Problem.UNAUTHORIZED, Problem.UNAVAILABLE),
    streams=True,
    checks_access=False,
    example_query="users=7&users=ada",
)
async def watch(api: Api, call: ApiCall[WatchParams, Empty]) -> Response:
    """Watch users over Server-Sent Events.

    Takes a key of scope read, or a user's token or ticket as the WebSocket takes it. With a token or ticket, the
    response shows only the users that that user may see. Events are one or several `snapshot`, the last with `"more":
    false`, then `changes`, each user once with their last state. If the server loses the store that it shares with
    others, it sends the event `certainty` with `{"certainty": "stale", "since": TIME}`. When it is current again, it
    sends `{"certainty": "live"}`, which ends the marks of all records. `Last-Event-ID` continues a lost stream. With
    it, a ticket reopens the stream that it opened first, for an hour after each loss
    (docs/explanation/security-model.md).
    """
    given = call.request.headers.get("last-event-id", "") or call.query.last_event_id
    cursor, _, secret = given.partition(SEPARATOR)
    principal, opening = await _authenticate(api, call, secret)
    watched = _WatchedUsers(api, principal, opening, call.query)
    if opening is not None:
        api.resumable_streams.take_over(opening.key)  # before the new connection takes one of the user's places
    waiting = api.waiting.enter(call.request.receive, principal.user_id if principal else None)
    if opening is not None:
        _register(api, call, waiting, opening)
    position = api.service.parse_cursor(cursor) if cursor else None
    return sse.EventStream(waiting, _stream(api, waiting, watched, position), api.settings.behind_timeout)


async def _authenticate(
    api: Api, call: ApiCall[WatchParams, Empty], secret: str
) -> tuple[Principal | None, Opening | None]:
    """Authenticate a request. Return its principal, None for an API key, and the opening if a ticket opens a stream.

    Args:
        secret: Secret from the id of the last event, with which a ticket's stream returns.

    Raises:
        ProblemError: The request has neither an API key nor an accepted token or ticket.
    """
    api.access.check_source(call.request, call.now)
    gatekeeper = api.gatekeeper
    if gatekeeper is None or (not call.query.token and api.access.allows(call.request, "read")):
        return None, None
    token = call.query.token or bearer_of(call.request)
    if not token:
        detail = "send Authorization: Bearer and a user's token, a ticket or an API key"
        raise api.access.unauthorized(call.request, detail, call.now, is_guess=False)
    opening: Opening | None = None
    try:
        await _fetch_ticket(api, token, call.now)
        opening = api.resumable_streams.begin(token, secret, call.now)
    except BadToken as error:
        result: AuthResult = error
        gatekeeper.count(error)
    else:
        result = await _verify(gatekeeper, opening.ticket if opening else token, api.settings.auth_timeout, call.now)
    if isinstance(result, Principal):
        return result, opening
    if result.kind == "unavailable":
        raise unavailable(str(result))
    raise api.access.unauthorized(call.request, str(result), api.clock.now(), is_guess=not result.is_genuine)


async def _fetch_ticket(api: Api, token: str, now: Instant) -> None:
    """Bring a ticket that another node may have issued to this one. No-op for everything else.

    Raises:
        BadToken: It is a ticket, and is not accepted.
    """
    answer: asyncio.Future[BadToken | None] = asyncio.get_running_loop().create_future()
    if api.resumable_streams.fetch(token, now, lambda found: None if answer.done() else answer.set_result(found)):
        refusal = await _within(api.settings.auth_timeout, answer)
        if refusal is not None:
            raise refusal


async def _verify(gatekeeper: Gatekeeper, token: str, timeout_s: float, now: Instant) -> AuthResult:
    """Return the authenticator's result for a token; `UNAVAILABLE` if there is none within `timeout_s` seconds."""
    answer: asyncio.Future[AuthResult] = asyncio.get_running_loop().create_future()
    result = gatekeeper.authenticate(token, lambda found, _: None if answer.done() else answer.set_result(found), now)
    return await _within(timeout_s, answer) if result is None else result


async def _within(timeout_s: float, answer: asyncio.Future[T]) -> T | BadToken:
    """Return the result of a future; `UNAVAILABLE` if there is none within `timeout_s` seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            return await answer
    except TimeoutError:
        return UNAVAILABLE


def _register(api: Api, call: ApiCall[WatchParams, Empty], waiting: WaitingRequest, opening: Opening) -> None:
    """Make this connection the only one of the ticket's stream.

    Raises:
        ProblemError: The user was disconnected while the ticket was being checked.
    """
    end = partial(_replace, waiting)
    if not api.resumable_streams.opened(opening.key, end):
        waiting.leave()
        detail = "the application closed this user's connections"
        raise api.access.unauthorized(call.request, detail, call.now, is_guess=False)
    waiting.on_leave = lambda: api.resumable_streams.closed(opening.key, end, api.clock.monotonic())


def _replace(waiting: WaitingRequest) -> None:
    """End a connection and free its place immediately, for the connection that replaces it."""
    waiting.end()
    waiting.leave()


class _CertaintyEvents:
    """Events of one stream about the certainty of the server. A client assumes that the server is live when a stream
    begins."""

    def __init__(self, service: PresenceService) -> None:
        self._service = service
        # Last transition that the client knows of; -1 if the server was stale when the stream began.
        self._known_transitions = -1 if service.stale_since_ms else service.certainty_transitions

    def if_stale(self) -> Iterator[bytes]:
        """Return an event if the server is stale and the client does not know."""
        if since_ms := self._service.stale_since_ms:
            yield from self._unless_known(WatchCertainty("stale", since_ms))

    def if_live(self) -> Iterator[bytes]:
        """Return an event if the server is current and the client does not know."""
        if not self._service.stale_since_ms:
            yield from self._unless_known(WatchCertainty("live"))

    def _unless_known(self, certainty: WatchCertainty) -> Iterator[bytes]:
        if self._known_transitions != self._service.certainty_transitions:
            self._known_transitions = self._service.certainty_transitions
            yield sse.event("certainty", certainty)


async def _stream(
    api: Api, waiting: WaitingRequest, watched: _WatchedUsers, position: int | None
) -> AsyncGenerator[bytes, None]:
    yield sse.retry_field(watched.suffix)
    clock, certainty = api.clock, _CertaintyEvents(api.service)
    written_at = clock.monotonic()
    while not waiting.is_ending and watched.is_allowed(clock.now()):
        latest = None if position is None else api.latest_changes.since(position)
        if position is None or latest != {}:
            position = api.service.position
        # The event `live` comes last, because the changes before it are from the time in which the server was stale.
        for part in chain(certainty.if_stale(), _events(watched, latest, position), certainty.if_live()):
            yield part
            written_at = clock.monotonic()
        # Compared with the clock, because on a busy server changes of users that this stream does not watch wake it up.
        if clock.monotonic() - written_at >= sse.HEARTBEAT_S:
            yield sse.COMMENT
            written_at = clock.monotonic()
        await asyncio.sleep(WRITE_PERIOD_S - clock.monotonic() % WRITE_PERIOD_S)
        await waiting.wait(TOKEN_CHECK_S)


def _events(watched: _WatchedUsers, latest: Mapping[str, Change] | None, position: int) -> Iterator[bytes]:
    """Return the events that bring a stream to a position: a snapshot if `latest` is None, otherwise these changes."""
    if latest is None:
        last: list[Raw] = []
        for page in watched.snapshot():
            if last:
                yield sse.event("snapshot", WatchEvent(last, more=True))
            last = page
        yield sse.event("snapshot", WatchEvent(last), watched.event_id(position))
        return
    changes = watched.visible_changes(latest)
    for start in range(0, len(changes), PAGE_USERS):
        page = [watched.record(change) for change in changes[start : start + PAGE_USERS]]
        more = start + PAGE_USERS < len(changes)
        yield sse.event("changes", WatchEvent(page, more), "" if more else watched.event_id(position))
