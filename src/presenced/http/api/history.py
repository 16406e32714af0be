"""What was kept: when users were last there, their sessions and changes, and webhooks that could not be delivered."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw

from presenced.errors import Problem
from presenced.http.api.archive import Archive, Letters
from presenced.http.api.endpoint import Api, Call
from presenced.http.api.parameters import DeadPage, Nothing, PastPage, Retry, Users
from presenced.http.api.presence import checked
from presenced.http.api.responses import LastSeen, LastSeenOf
from presenced.http.errors import ProblemError
from presenced.presence.model import Status
from presenced.protocols.ids import wire_user_id
from presenced.storage.answers import Seen


def kept(api: Api) -> Archive:
    """Where to ask.

    Raises:
        ProblemError: Nothing is kept.
    """
    if api.archive is None:
        raise ProblemError(Problem.CONFLICT, "nothing is kept: set database")
    return api.archive


def letters(api: Api) -> Letters:
    """Where to ask.

    Raises:
        ProblemError: No webhooks are sent.
    """
    if api.letters is None:
        raise ProblemError(Problem.CONFLICT, "no webhooks are sent: set webhook_urls")
    return api.letters


async def get_last_seen(api: Api, call: Call[Nothing, Nothing]) -> LastSeen:
    """Of one who is there it is about now."""
    (found,) = await _last_seen(api, [call.user_id])
    return found


async def query_last_seen(api: Api, call: Call[Nothing, Users]) -> LastSeenOf:
    """An id that can't be one is named in `errors`, and does not keep the others from being answered."""
    wanted, errors = checked(call.body.users)
    return LastSeenOf(await _last_seen(api, wanted), errors)


async def _last_seen(api: Api, wanted: list[str]) -> list[LastSeen]:
    """The newest of three sources counts: the stored row, the facts waiting to be stored, and the live state."""
    waiting = kept(api).unstored(wanted)
    rows = msgspec.json.decode(await kept(api).last_seen(wanted), type=list[Seen])
    stored = {str(row.user_id): row for row in rows}
    now = api.node.clock.now().epoch_ms
    found = []
    for user_id, change in zip(wanted, api.application.seen(wanted), strict=True):
        row, fact = stored.get(user_id), waiting.get(user_id)
        seen, active = (row.last_seen, row.last_active) if row else (0, 0)
        if fact is not None:
            seen, active = max(seen, fact.seen_ms), max(active, fact.active_ms)
        if change is not None:
            seen = max(seen, change.seen_ms or (now if change.status is not Status.OFFLINE else 0))
        status = change.status if change else Status.OFFLINE
        found.append(LastSeen(wire_user_id(user_id), status.value, seen, active))
    return found


async def list_history(api: Api, call: Call[PastPage, Nothing]) -> Raw:
    """As long as changes are kept."""
    return Raw(await kept(api).history(call.user_id, call.query.after, call.query.limit))


async def list_past_sessions(api: Api, call: Call[PastPage, Nothing]) -> Raw:
    """Includes open sessions as last stored, normally less than a second ago."""
    return Raw(await kept(api).sessions(call.user_id, call.query.after, call.query.limit))


async def list_dead_letters(api: Api, call: Call[DeadPage, Nothing]) -> Raw:
    """Webhooks that no attempt delivered within a day, or that their receiver refused for good."""
    return Raw(await letters(api).dead_letters(call.query.after, call.query.limit))


async def retry_dead_letters(api: Api, call: Call[Nothing, Retry]) -> Raw:
    """They keep their ids, by which a receiver knows those it has had."""
    return Raw(await letters(api).retry_dead(None if call.body.ids is UNSET else call.body.ids))
