"""Read-only watching by Server-Sent Events, where WebSockets do not pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from itertools import islice
from typing import Any

from starlette.responses import Response

from presenced.admission import Admission
from presenced.auth.allowed import sight_of
from presenced.auth.authenticator import UNAVAILABLE, Answer
from presenced.auth.principal import Principal
from presenced.core.identity import parse_user_id
from presenced.core.messages import UserRecord
from presenced.core.model import Change, Status
from presenced.core.sight import EVERYTHING, Sight
from presenced.errors import BadUserId, Problem
from presenced.http.answers import ProblemError
from presenced.http.v1 import streams
from presenced.http.v1.endpoint import Api, Call
from presenced.http.v1.followers import Follower
from presenced.http.v1.questions import MAX_PAGE, Nothing, Watching
from presenced.http.v1.replies import Watched
from presenced.wire import v1
from presenced.wire.classic import wire_user_id

PAUSE = 0.25
"""Seconds between two events of one watcher at least: of what happens meanwhile each user's last state is told."""

CHECK = 5.0
"""Seconds after which it is looked at latest whether what was shown still holds."""

PAGE = 500
"""Users in one event at most."""


class _Watcher:
    """Who watches whom."""

    def __init__(self, api: Api, principal: Principal | None, query: Watching) -> None:
        self.principal = principal
        """None: a backend, or anybody where `auth` is none."""
        sight = sight_of(api.engine.settings, principal) if principal else EVERYTHING
        try:
            asked = frozenset(map(parse_user_id, query.users))
        except BadUserId as error:
            raise ProblemError(Problem.BAD_PARAMETER, str(error)) from None
        if not asked and not query.everyone:
            raise ProblemError(Problem.BAD_PARAMETER, "say whom to watch: users=ID, once for each, or everyone=true")
        self._api = api
        self._sight: Sight = sight
        self._asked = asked
        self._everyone = query.everyone
        self._with_causes = principal is None or api.engine.settings.show_causes

    def record(self, change: Change) -> UserRecord:
        """As it is told to this one."""
        return v1.user_record(change, self._with_causes)

    def wants(self, user_id: str) -> bool:
        """Whether it is told of the user."""
        return (self._everyone or user_id in self._asked) and (self._sight.everyone or user_id in self._sight.users)

    def snapshot(self) -> list[UserRecord]:
        """Of everyone: who is not offline. Of users: all of them. O(users) for everyone."""
        application = self._api.application
        if self._everyone:
            found = application.online(0, application.counts().online_users)
            return [self.record(change) for _, change in found if self.wants(change.user_id)]
        wanted = sorted(self._asked)
        return [
            self.record(change) if change and self.wants(user_id) else _unknown(user_id)
            for user_id, change in zip(wanted, application.seen(wanted), strict=True)
        ]

    def holds(self) -> bool:
        """Whether what it came with still says who it is."""
        admission, principal = self._api.engine.admission, self.principal
        return principal is None or admission is None or admission.still_holds(principal)


def _unknown(user_id: str) -> UserRecord:
    return UserRecord(wire_user_id(user_id), Status.OFFLINE, 0, 0)


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
    silent = 0.0
    while not follower.gone and watcher.holds():
        found = None if position is None else api.application.changes_since(position, MAX_PAGE)
        if found is None:
            position = api.application.position
            for part in _pages(watcher.snapshot(), api.application.position_text(position)):
                yield part
        elif found:
            position = found[-1].position
            latest = {change.user_id: change for change in found if watcher.wants(change.user_id)}
            if latest:
                users = [watcher.record(change) for change in latest.values()]
                yield streams.event("changes", Watched(users), api.application.position_text(position))
                silent = 0.0
            if len(found) == MAX_PAGE:  # it is behind
                await asyncio.sleep(0)
                continue
        await asyncio.sleep(PAUSE)
        if not await follower.wait(CHECK):
            silent += CHECK
            if silent >= streams.HEARTBEAT:
                silent = 0.0
                yield streams.COMMENT


def _pages(users: list[UserRecord], cursor: str) -> list[bytes]:
    """The id comes with the last one alone: who lost the others starts anew."""
    rest = iter(users)
    pages = [list(islice(rest, PAGE)) for _ in range(max(1, -(-len(users) // PAGE)))]
    last = len(pages) - 1
    return [
        streams.event("snapshot", Watched(page, number < last), cursor if number == last else "")
        for number, page in enumerate(pages)
    ]
