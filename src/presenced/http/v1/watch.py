"""Read-only watching by Server-Sent Events, where WebSockets do not pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

from msgspec import Raw, Struct
from starlette.responses import Response

from presenced.admission import Admission
from presenced.auth.allowed import sight_of
from presenced.auth.authenticator import UNAVAILABLE, Answer
from presenced.auth.principal import Principal
from presenced.core.identity import parse_user_id
from presenced.core.model import Change, Status
from presenced.core.sight import EVERYTHING
from presenced.errors import BadUserId, Problem
from presenced.http.answers import ProblemError
from presenced.http.v1 import streams
from presenced.http.v1.endpoint import Api, Call
from presenced.http.v1.followers import Follower
from presenced.http.v1.questions import Nothing, Watching
from presenced.wire import v1

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


class _Watcher:
    """Who watches whom."""

    def __init__(self, api: Api, principal: Principal | None, query: Watching) -> None:
        self.principal = principal
        """None: a backend, or anybody where `auth` is none."""
        try:
            self._asked = frozenset(map(parse_user_id, query.users))
        except BadUserId as error:
            raise ProblemError(Problem.BAD_PARAMETER, str(error)) from None
        if not self._asked and not query.everyone:
            raise ProblemError(Problem.BAD_PARAMETER, "say whom to watch: users=ID, once for each, or everyone=true")
        self._api = api
        self._everyone = query.everyone
        sight = sight_of(api.engine.settings, principal) if principal else EVERYTHING
        self._with_causes = sight.causes or api.engine.settings.show_causes
        self.record = api.engine.encoding.of(sight).record
        """A change as it is told."""
        self._seen: frozenset[str] | None = None
        """Whom it is told of; None: everyone but those who are blocked."""
        self._blocked = sight.blocked
        if not query.everyone:
            self._seen = frozenset(sight.among(self._asked))
        elif not sight.everyone:
            self._seen = sight.users

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
                records.append(self._api.engine.encoding.unknown(user_id, application.position))
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
        return v1.record(change, self._with_causes, self._api.engine.directory.origin)

    def told(self, latest: Mapping[str, Change]) -> list[Change]:
        """What of this it is told."""
        if self._seen is None:
            return [latest[user_id] for user_id in latest if user_id not in self._blocked]
        return [latest[user_id] for user_id in latest.keys() & self._seen]

    def holds(self) -> bool:
        """Whether what it came with still says who it is."""
        admission, principal = self._api.engine.admission, self.principal
        return principal is None or admission is None or admission.still_holds(principal)


async def watch(api: Api, call: Call[Watching, Nothing]) -> Response:
    """With a key of scope read, or with a user's token or ticket as the WebSocket takes it: then only those are seen
    whom that user may see. Events: `snapshot`, one or several, of which the last says `"more": false`, then `changes`,
    each user once with their last state. `Last-Event-ID` goes on where a lost stream ended."""
    watcher = _Watcher(api, await _who(api, call), call.query)
    cursor = call.request.headers.get("last-event-id", "")
    follower = api.followers.enter(call.request.receive, watcher.principal.user_id if watcher.principal else None)
    parts = _stream(api, follower, watcher, api.application.parse_cursor(cursor) if cursor else None)
    return streams.EventStream(follower, parts, api.engine.settings.behind_timeout)


async def _who(api: Api, call: Call[Watching, Nothing]) -> Principal | None:
    """Whose token it is; None for a backend's key.

    Raises:
        ProblemError: It is neither.
    """
    api.access.check_source(call.request)
    admission = api.engine.admission
    if admission is None or (not call.query.token and api.access.allows(call.request, "read")):
        return None
    kind, _, bearer = call.request.headers.get("authorization", "").partition(" ")
    token = call.query.token or (bearer.strip() if kind.lower() == "bearer" else "")
    if not token:
        raise api.access.refused(call.request, "send Authorization: Bearer and a user's token, a ticket or an API key")
    answer = await _identify(admission, token, api.engine.settings.auth_timeout)
    if isinstance(answer, Principal):
        return answer
    if answer.kind == "unavailable":
        raise ProblemError(Problem.UNAVAILABLE, str(answer), {"retry-after": "5"})
    raise api.access.refused(call.request, str(answer))


async def _identify(admission: Admission[Any], token: str, patience: float) -> Answer:
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    answer = admission.ask(token, lambda late: None if answered.done() else answered.set_result(late))
    if answer is not None:
        return answer
    try:
        async with asyncio.timeout(patience):
            return await answered
    except TimeoutError:
        return UNAVAILABLE


async def _stream(api: Api, follower: Follower, watcher: _Watcher, position: int | None) -> AsyncGenerator[bytes, None]:
    yield streams.comes_back()
    text, record = api.application.position_text, watcher.record
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
        await asyncio.sleep(PAUSE - api.engine.clock.monotonic() % PAUSE)
        if not await follower.wait(CHECK):
            silent += CHECK
            if silent >= streams.HEARTBEAT:
                silent = 0.0
                yield streams.COMMENT
