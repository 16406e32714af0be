"""The ordered feed of all changes: what followed a cursor, at once, after a while, or as it happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from starlette.responses import Response

from presenced.errors import Problem
from presenced.http import sse as streams
from presenced.http.api.endpoint import Api, Call
from presenced.http.api.followers import Follower
from presenced.http.api.parameters import After, Nothing
from presenced.http.api.records import change_record
from presenced.http.api.responses import Changes, DigestRecord
from presenced.http.errors import ProblemError
from presenced.net.problems import problem_document
from presenced.presence.journal import Digest
from presenced.presence.model import Change

PAUSE = 0.02
"""Seconds between two writes to one follower at least: what happens meanwhile rides in the next."""

PAGE = 500
"""Changes in one write; some milliseconds."""

DIGEST_PERIOD = 10.0
"""Seconds between two digests of a stream, while there are changes; another one ends each silence."""

_CURSOR = re.compile(r"[0-9a-z]{1,40}-[0-9]{1,19}")

_START_AGAIN = (
    "read GET /api/v1/online, all pages, and go on from the position of its first page; "
    "of two records of one user the one with the higher version counts"
)


async def follow_changes(api: Api, call: Call[After, Nothing]) -> Changes | Response:
    """Every change of every user, once, in order. Without `after`: from now on. With `Accept: text/event-stream` it
    goes on for good: events `change`, whose ids are cursors (`Last-Event-ID` goes before `after`), and `digest`; one
    that is too far behind gets the event `restart` and the end."""
    request, query = call.request, call.query
    streaming = streams.MEDIA_TYPE in request.headers.get("accept", "")
    cursor = (request.headers.get("last-event-id", "") if streaming else "") or query.after
    position = parse(api, cursor)
    if api.application.changes_since(position, 1) is None:
        raise _too_old()
    if streaming:
        follower = api.followers.enter(request.receive, None)
        parts = _stream(api, follower, position)
        return streams.EventStream(follower, parts, api.node.settings.behind_timeout)
    return await _poll(api, call, position)


async def _poll(api: Api, call: Call[After, Nothing], position: int) -> Changes:
    found = api.application.changes_since(position, call.query.limit)
    if not found and call.query.wait > 0:
        follower = api.followers.enter(call.request.receive, None)
        try:
            found = await _first(api, follower, position, call.query)
        finally:
            follower.leave()
    if found is None:
        raise _too_old()
    records = [change_record(change) for change in found]
    last = found[-1].position if found else position
    text = api.application.position_text
    if len(found) == call.query.limit:
        return Changes(records, text(last), None)
    if (digest := await _digest(api, last)) is None:
        return Changes(records, text(last), None)
    return Changes(records, text(digest.position), _record(api, digest))


async def _first(api: Api, follower: Follower, position: int, query: After) -> list[Change] | None:
    """The changes after `position`, as soon as there are any; none when there were none for so long."""
    ends = api.node.clock.monotonic() + query.wait
    while True:
        found = api.application.changes_since(position, query.limit)
        left = ends - api.node.clock.monotonic()
        if found or found is None or left <= 0 or follower.gone:
            return found
        await follower.wait(left)


async def _stream(api: Api, follower: Follower, position: int) -> AsyncGenerator[bytes, None]:
    clock = api.node.clock
    yield streams.comes_back()
    digest_at = clock.monotonic()
    told: int | None = None
    while not follower.gone:
        found = api.application.changes_since(position, PAGE)
        if found is None:
            yield streams.event("restart", problem_document(Problem.CURSOR_TOO_OLD, _START_AGAIN))
            return
        if found:
            position = found[-1].position
            yield _events(api, found)
            await asyncio.sleep(PAUSE)
            continue
        if position != told and clock.monotonic() >= digest_at and (digest := await _digest(api, position)):
            told = position = digest.position
            digest_at = clock.monotonic() + DIGEST_PERIOD
            yield streams.event("digest", _record(api, digest), api.application.position_text(position))
            continue
        silent = streams.HEARTBEAT if position == told else min(streams.HEARTBEAT, digest_at - clock.monotonic())
        if not await follower.wait(max(silent, PAUSE)) and position == told:
            yield streams.COMMENT


def _events(api: Api, found: list[Change]) -> bytes:
    text = api.application.position_text
    return b"".join(streams.event("change", change_record(change), text(change.position)) for change in found)


async def _digest(api: Api, position: int) -> Digest | None:
    """Of the state after the changes up to `position`; None when others have followed meanwhile."""
    while (digest := api.application.digest()) is None:  # noqa: ASYNC110  # the rest of the work, not a wait
        await asyncio.sleep(0)
    return digest if not api.application.changes_since(position, 1) else None


def _record(api: Api, digest: Digest) -> DigestRecord:
    return DigestRecord(api.application.position_text(digest.position), digest.users, f"{digest.value:016x}")


def parse(api: Api, cursor: str) -> int:
    """The position of a cursor; of none, now.

    Raises:
        ProblemError: It is none, or of another start of the server.
    """
    if not cursor:
        return api.application.position
    position = api.application.parse_cursor(cursor)
    if position is not None:
        return position
    if _CURSOR.fullmatch(cursor):
        raise _too_old()
    raise ProblemError(Problem.BAD_PARAMETER, "this is no cursor: give after, or Last-Event-ID, as it was answered")


def _too_old() -> ProblemError:
    return ProblemError(Problem.CURSOR_TOO_OLD, _START_AGAIN)
