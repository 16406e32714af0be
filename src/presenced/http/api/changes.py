"""The ordered feed of all changes after a cursor: as a page, as a long poll, or as an event stream.

A stream repeats these steps until its client disconnects. The first state that applies decides:

| state | step |
|---|---|
| the journal has evicted changes after the position | event `restart`, and the end |
| there are changes | up to `PAGE_CHANGES` events `change`, then a pause of `MIN_WRITE_PAUSE_S` |
| nothing changed since the last digest | wait; a comment after `HEARTBEAT_S` of silence |
| a digest is due | event `digest` |
| no digest is due yet | wait for a change until one is |

A client proves with a digest that it missed nothing. The digest is of one position, so it is sent only when no newer
change exists. The response to a poll contains it under the same condition.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import Response

from presenced.errors import ChangesLost, Problem
from presenced.http import sse
from presenced.http.api.endpoint import Api, ApiCall, Endpoint
from presenced.http.api.requests import ChangesParams, Empty
from presenced.http.api.responses import Changes, DigestRecord, change_record
from presenced.http.errors import ProblemError
from presenced.http.waiting import WaitingRequest
from presenced.net.problems import problem_document
from presenced.node.service import PresenceService
from presenced.presence.journal import Digest
from presenced.presence.model import Change

MIN_WRITE_PAUSE_S = 0.02
"""Minimum number of seconds between two writes to one stream. Changes in between are part of the next write."""

PAGE_CHANGES = 500
"""Maximum number of changes in one write, which take some milliseconds to encode."""

STATE_DIGEST_PERIOD_S = 10.0
"""Seconds between two digests of a stream while there are changes. After the last change, one more follows."""

_START_AGAIN = (
    "read all pages of GET /api/v1/online, and continue from the position of its first page. "
    "If a user has two records, the one with the higher version counts"
)


@Endpoint(
    "GET", "/changes", scope="read", reply=Changes, problems=(Problem.CURSOR_TOO_OLD, Problem.UNAVAILABLE), streams=True
)
async def follow_changes(api: Api, call: ApiCall[ChangesParams, Empty]) -> Changes | Response:
    """All changes after a cursor, in order.

    Returns every change of every user, once and in order. Without `after`, the feed starts now. With `Accept:
    text/event-stream`, the response is a stream of Server-Sent Events, `change` and `digest`. The id of each `change`
    is a cursor. The header `Last-Event-ID` takes precedence over `after`. A stream that falls too far behind gets the
    event `restart` and ends.
    """
    request, query = call.request, call.query
    streaming = sse.EVENT_STREAM_MEDIA_TYPE in request.headers.get("accept", "")
    cursor = (request.headers.get("last-event-id", "") if streaming else "") or query.after
    try:
        position = api.service.position_of(cursor)
    except ChangesLost:
        raise _too_old() from None
    if streaming:
        waiting = api.waiting.enter(request.receive, None)
        return sse.EventStream(waiting, _stream(api, waiting, position), api.settings.behind_timeout)
    return await _poll(api, call, position)


async def _poll(api: Api, call: ApiCall[ChangesParams, Empty], position: int) -> Changes:
    service, query = api.service, call.query
    found = service.changes_since(position, query.limit)
    if not found and query.wait > 0:
        waiting = api.waiting.enter(call.request.receive, None)
        try:
            found = await _changes_within_wait(api, waiting, position, query)
        finally:
            waiting.leave()
    if found is None:
        raise _too_old()
    position = found[-1].position if found else position
    digest = await _digest(service, position) if len(found) < query.limit else None
    proof = None
    if digest is not None:
        position, proof = digest.position, _digest_record(service, digest)
    return Changes([change_record(change) for change in found], service.position_text(position), proof)


async def _changes_within_wait(
    api: Api, waiting: WaitingRequest, position: int, query: ChangesParams
) -> list[Change] | None:
    """Return the changes after `position` as soon as there are any; none if `query.wait` is over first."""
    ends = api.clock.monotonic() + query.wait
    while True:
        found = api.service.changes_since(position, query.limit)
        left = ends - api.clock.monotonic()
        if found or found is None or left <= 0 or waiting.is_ending:
            return found
        await waiting.wait(left)


async def _stream(api: Api, waiting: WaitingRequest, position: int) -> AsyncGenerator[bytes, None]:
    service, clock = api.service, api.clock
    yield sse.retry_field()
    digest_at = clock.monotonic()
    proved: int | None = None  # position of the last digest
    while not waiting.is_ending:
        found = service.changes_since(position, PAGE_CHANGES)
        if found is None:
            yield sse.event("restart", problem_document(Problem.CURSOR_TOO_OLD, _START_AGAIN))
            return
        if found:
            position = found[-1].position
            yield b"".join(sse.event("change", change_record(c), service.position_text(c.position)) for c in found)
            await asyncio.sleep(MIN_WRITE_PAUSE_S)
            continue
        if position != proved and clock.monotonic() >= digest_at and (digest := await _digest(service, position)):
            proved = position = digest.position
            digest_at = clock.monotonic() + STATE_DIGEST_PERIOD_S
            yield sse.event("digest", _digest_record(service, digest), service.position_text(position))
            continue
        wait_s = sse.HEARTBEAT_S if position == proved else min(sse.HEARTBEAT_S, digest_at - clock.monotonic())
        if not await waiting.wait(max(wait_s, MIN_WRITE_PAUSE_S)) and position == proved:
            yield sse.COMMENT


async def _digest(service: PresenceService, position: int) -> Digest | None:
    """Return the digest of the state after the changes up to `position`; None if there are newer ones by then."""
    while (digest := service.digest()) is None:  # noqa: ASYNC110  # no polling: each call hashes one part
        await asyncio.sleep(0)
    return digest if service.changes_since(position, 1) == [] else None


def _digest_record(service: PresenceService, digest: Digest) -> DigestRecord:
    return DigestRecord(service.position_text(digest.position), digest.users, f"{digest.value:016x}")


def _too_old() -> ProblemError:
    return ProblemError(Problem.CURSOR_TOO_OLD, _START_AGAIN)
