"""Read-only watching by Server-Sent Events, where WebSockets do not pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from msgspec import Raw, Struct
from starlette.responses import Response

from presenced.auth.authenticator import UNAVAILABLE, AuthResult
from presenced.auth.gatekeeper import Gatekeeper
from presenced.auth.grants import visibility_of
from presenced.auth.principal import Principal
from presenced.auth.resumable_streams import SEPARATOR, Opening
from presenced.errors import BadToken, BadUserId, Problem
from presenced.http import sse as streams
from presenced.http.api.endpoint import Api, Call
from presenced.http.api.followers import Follower
from presenced.http.api.parameters import Nothing, Watching
from presenced.http.auth import bearer_of
from presenced.http.errors import ProblemError, without_example
from presenced.presence.identity import parse_user_id
from presenced.presence.model import Change, Status
from presenced.presence.visibility import EVERYTHING
from presenced.protocols.v1 import codec as v1

PAUSE = 0.25
"""Seconds between two moments in which watchers are told, the same for all: of what happens meanwhile each user's last
state is told."""

CHECK = 5.0
"""Seconds after which it is looked at latest whether what was shown still holds."""

PAGE = 500
"""Users in one event at most."""

SCANNED = 5_000
"""Users of a snapshot of everyone that are looked up at a time; each time all are gone through."""


class Told(Struct, frozen=True):
    """`replies.Watched` of encoded records."""

    users: list[Raw]
    more: bool = False


class _Visitor(NamedTuple):
    """The client that requests to watch."""

    principal: Principal | None
    """None for a backend, or for anyone if `auth` is none."""
    opening: Opening | None = None
    """Opening of the stream, if a ticket opens it."""

    @property
    def suffix(self) -> str:
        """End of each event id, after the cursor."""
        return "" if self.opening is None else SEPARATOR + self.opening.secret


class _Watcher:
    """Who watches whom."""

    def __init__(self, api: Api, visitor: _Visitor, query: Watching) -> None:
        self.principal = principal = visitor.principal
        self.suffix = visitor.suffix
        try:
            placeholders = api.node.settings.placeholder_ids
            self._asked = frozenset(parse_user_id(user_id, placeholders) for user_id in query.users)
        except BadUserId as error:
            raise ProblemError(Problem.BAD_PARAMETER, without_example(error)) from None
        if not self._asked and not query.everyone:
            raise ProblemError(Problem.BAD_PARAMETER, "say whom to watch: users=ID, once for each, or everyone=true")
        self._api = api
        self._everyone = query.everyone
        visibility = visibility_of(api.node.settings, principal) if principal else EVERYTHING
        self._with_causes = visibility.causes or api.node.settings.show_causes
        self.record = api.node.encoding.of(visibility).record
        """A change as it is told."""
        self._seen: frozenset[str] | None = None
        """Whom it is told of; None: everyone but those who are blocked."""
        self._blocked = visibility.blocked
        if not query.everyone:
            self._seen = frozenset(visibility.among(self._asked))
        elif not visibility.everyone:
            self._seen = visibility.users

    def snapshot(self) -> Iterator[list[Raw]]:
        """Of everyone: who is not offline, as far as they are seen. Of users: all of them."""
        application = self._api.application
        if self._everyone and self._seen is None:
            yield from self._all()
            return
        wanted = sorted((self._seen or frozenset()) if self._everyone else self._asked)
        records: list[Raw] = []
        for user_id, change in zip(wanted, application.seen(wanted), strict=True):
            if change and (self._seen is None or user_id in self._seen):
                if change.status is not Status.OFFLINE or not self._everyone:
                    records.append(self._fresh(change))
            elif not self._everyone:
                records.append(self._api.node.encoding.unknown(user_id, application.newest_version))
        for start in range(0, max(len(records), 1), PAGE):
            yield records[start : start + PAGE]

    def _all(self) -> Iterator[list[Raw]]:
        """Looked up bit by bit, for there may be many: who changes meanwhile is told of again."""
        after = 0
        while found := self._api.application.online(after, SCANNED):
            after = found[-1][0]
            seen = [change for _, change in found if change.user_id not in self._blocked]
            for start in range(0, len(seen), PAGE):
                yield [self._fresh(change) for change in seen[start : start + PAGE]]

    def _fresh(self, change: Change) -> Raw:
        """As `record`, of which only what is told now is kept encoded."""
        return v1.record(change, self._with_causes)

    def event_id(self, position: int) -> str:
        """Return the id of an event that leaves the client at `position`."""
        return self._api.application.position_text(position) + self.suffix

    def told(self, latest: Mapping[str, Change]) -> list[Change]:
        """What of this it is told."""
        if self._seen is None:
            return [latest[user_id] for user_id in latest if user_id not in self._blocked]
        return [latest[user_id] for user_id in latest.keys() & self._seen]

    def holds(self) -> bool:
        """Whether what it came with still says who it is."""
        gatekeeper, principal = self._api.node.gatekeeper, self.principal
        return principal is None or gatekeeper is None or gatekeeper.still_holds(principal)


async def watch(api: Api, call: Call[Watching, Nothing]) -> Response:
    """Takes a key of scope read, or a user's token or ticket as the WebSocket takes it. With a token or ticket, the
    response shows only the users whom that user may see. Events are one or several `snapshot`, the last with `"more":
    false`, then `changes`, each user once with their last state. `Last-Event-ID` continues a lost stream. With it, a
    ticket reopens the stream that it opened first, for an hour after each loss: docs/security.md."""
    given = call.request.headers.get("last-event-id", "") or call.query.last_event_id
    cursor, _, secret = given.partition(SEPARATOR)
    visitor = await _who(api, call, secret)
    watcher = _Watcher(api, visitor, call.query)
    if visitor.opening is not None:
        api.resumable_streams.take_over(visitor.opening.key)  # before the new connection takes one of the user's places
    follower = api.followers.enter(call.request.receive, visitor.principal.user_id if visitor.principal else None)
    if visitor.opening is not None:
        _register(api, call, follower, visitor.opening)
    position = api.application.parse_cursor(cursor) if cursor else None
    parts = _stream(api, follower, watcher, position)
    return streams.EventStream(follower, parts, api.node.settings.behind_timeout)


async def _who(api: Api, call: Call[Watching, Nothing], secret: str) -> _Visitor:
    """Authenticate a request.

    Args:
        secret: Secret from the id of the last event, with which a ticket's stream returns.

    Raises:
        ProblemError: It has neither an API key nor an accepted token or ticket.
    """
    api.access.check_source(call.request)
    gatekeeper = api.node.gatekeeper
    if gatekeeper is None or (not call.query.token and api.access.allows(call.request, "read")):
        return _Visitor(None)
    token = call.query.token or bearer_of(call.request)
    if not token:
        detail = "send Authorization: Bearer and a user's token, a ticket or an API key"
        raise api.access.refused(call.request, detail, is_guess=False)
    opening: Opening | None = None
    try:
        opening = api.resumable_streams.begin(token, secret, api.node.clock.now())
    except BadToken as error:
        answer: AuthResult = gatekeeper.refused(error)
    else:
        answer = await _identify(gatekeeper, opening.ticket if opening else token, api.node.settings.auth_timeout)
    if isinstance(answer, Principal):
        return _Visitor(answer, opening)
    if answer.kind == "unavailable":
        raise ProblemError(Problem.UNAVAILABLE, str(answer), {"retry-after": "5"})
    raise api.access.refused(call.request, str(answer), is_guess=not answer.is_genuine)


def _register(api: Api, call: Call[Watching, Nothing], follower: Follower, opening: Opening) -> None:
    """Make this connection the only one of the ticket's stream.

    Raises:
        ProblemError: The user was disconnected while the ticket was being checked.
    """
    end = partial(_replace, follower)
    if not api.resumable_streams.opened(opening.key, end):
        follower.leave()
        raise api.access.refused(call.request, "the application closed this user's connections", is_guess=False)
    follower.on_leave = lambda: api.resumable_streams.closed(opening.key, end, api.node.clock.monotonic())


def _replace(follower: Follower) -> None:
    """End a connection and free its place immediately, for the connection that replaces it."""
    follower.end()
    follower.leave()


async def _identify(gatekeeper: Gatekeeper, token: str, patience: float) -> AuthResult:
    answered: asyncio.Future[AuthResult] = asyncio.get_running_loop().create_future()
    answer = gatekeeper.ask(token, lambda late: None if answered.done() else answered.set_result(late))
    if answer is not None:
        return answer
    try:
        async with asyncio.timeout(patience):
            return await answered
    except TimeoutError:
        return UNAVAILABLE


async def _stream(api: Api, follower: Follower, watcher: _Watcher, position: int | None) -> AsyncGenerator[bytes, None]:
    yield streams.comes_back(watcher.suffix)
    text, record = watcher.event_id, watcher.record
    silent = 0.0
    while not follower.gone and watcher.holds():
        span = None if position is None else api.spans.since(position)
        if span is None:
            position = api.application.position
            last: list[Raw] = []
            for page in watcher.snapshot():
                if last:
                    yield streams.event("snapshot", Told(last, more=True))
                last = page
            yield streams.event("snapshot", Told(last), text(position))
        elif span.latest:
            position, changes = span.until, watcher.told(span.latest)
            for start in range(0, len(changes), PAGE):
                page = [record(change) for change in changes[start : start + PAGE]]
                more = start + PAGE < len(changes)
                # The id comes with the last one alone: who lost that is told all of them again.
                yield streams.event("changes", Told(page, more), "" if more else text(position))
                silent = 0.0
        await asyncio.sleep(PAUSE - api.node.clock.monotonic() % PAUSE)
        if not await follower.wait(CHECK):
            silent += CHECK
            if silent >= streams.HEARTBEAT:
                silent = 0.0
                yield streams.COMMENT
