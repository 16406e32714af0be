"""Endpoints that the database answers: last seen, past changes and sessions, webhooks that could not be delivered.

The storage worker encodes its answers as JSON, and most endpoints pass them on as they are (`Raw`).
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw

from presenced.errors import Problem
from presenced.http.api.endpoint import LARGE_BODY_BYTES, Api, ApiCall, Endpoint
from presenced.http.api.presence import checked_users
from presenced.http.api.requests import DeadLetterPage, Nothing, PastPage, Retry, UserList
from presenced.http.api.responses import LastSeen, LastSeenOf, Retried
from presenced.http.errors import ProblemError
from presenced.presence.model import Status
from presenced.protocols.ids import wire_user_id
from presenced.runtime.instant import Instant
from presenced.storage.answers import DeadLetters, History, PastSessions, StoredSeen
from presenced.worker.calls import StorageCalls

PROBLEMS = (Problem.CONFLICT, Problem.UNAVAILABLE)


def database(api: Api) -> StorageCalls:
    """Return the calls to the storage worker.

    Raises:
        ProblemError: There is no database.
    """
    if api.storage is None:
        raise ProblemError(Problem.CONFLICT, "nothing is stored: set database")
    return api.storage


def webhooks(api: Api) -> StorageCalls:
    """Return the calls to the storage worker, for webhooks.

    Raises:
        ProblemError: No webhooks are sent.
    """
    if api.storage is None or not api.settings.webhook_urls:
        raise ProblemError(Problem.CONFLICT, "no webhooks are sent: set webhook_urls")
    return api.storage


@Endpoint("GET", "/users/{user_id}/last-seen", scope="read", problems=PROBLEMS)
async def get_last_seen(api: Api, call: ApiCall[Nothing, Nothing]) -> LastSeen:
    """When a user was last seen.

    For a user who is present, this is the current time.
    """
    (found,) = await _last_seen(api, [call.user_id], call.now)
    return found


@Endpoint(
    "POST",
    "/users/last-seen",
    scope="read",
    problems=PROBLEMS,
    max_body=LARGE_BODY_BYTES,
    example='{"users": [7, "ada"]}',
)
async def query_last_seen(api: Api, call: ApiCall[Nothing, UserList]) -> LastSeenOf:
    """When up to 1,000 users were last seen.

    An invalid user id is listed in `errors`. The response still contains the other users.
    """
    wanted, errors = checked_users(call.body.users)
    return LastSeenOf(await _last_seen(api, wanted, call.now), errors)


async def _last_seen(api: Api, wanted: list[str], now: Instant) -> list[LastSeen]:
    """Return the newest of three sources: the stored row, the records waiting to be stored, and the live state."""
    storage = database(api)
    waiting = storage.unstored(wanted)  # first: a record that is stored meanwhile is then in at least one of the two
    rows = msgspec.json.decode(await storage.last_seen(wanted), type=list[StoredSeen])
    stored = {str(row.user_id): row for row in rows}
    found = []
    for user_id, change in zip(wanted, api.service.seen(wanted), strict=True):
        row, record = stored.get(user_id), waiting.get(user_id)
        seen, active = (row.last_seen, row.last_active) if row else (0, 0)
        if record is not None:
            seen, active = max(seen, record.seen_ms), max(active, record.active_ms)
        if change is not None:
            seen = max(seen, change.seen_ms or (now.epoch_ms if change.status is not Status.OFFLINE else 0))
        status = change.status if change else Status.OFFLINE
        found.append(LastSeen(wire_user_id(user_id), status.value, seen, active))
    return found


@Endpoint("GET", "/users/{user_id}/history", scope="admin", reply=History, problems=PROBLEMS)
async def list_history(api: Api, call: ApiCall[PastPage, Nothing]) -> Raw:
    """The changes of a user, with their true causes.

    The setting `history_age` limits how long changes are stored.
    """
    return Raw(await database(api).history(call.user_id, call.query.after, call.query.limit))


@Endpoint("GET", "/users/{user_id}/sessions/past", scope="admin", reply=PastSessions, problems=PROBLEMS)
async def list_past_sessions(api: Api, call: ApiCall[PastPage, Nothing]) -> Raw:
    """The stored sessions of a user.

    Includes open sessions as last stored, normally less than a second ago.
    """
    return Raw(await database(api).sessions(call.user_id, call.query.after, call.query.limit))


@Endpoint("GET", "/webhooks/dead", scope="admin", reply=DeadLetters, problems=PROBLEMS)
async def list_dead_letters(api: Api, call: ApiCall[DeadLetterPage, Nothing]) -> Raw:
    """Webhooks that could not be delivered.

    Webhooks that no attempt delivered within a day, or that their receiver refused permanently.
    """
    return Raw(await webhooks(api).dead_letters(call.query.after, call.query.limit))


@Endpoint("POST", "/webhooks/dead/retry", scope="admin", reply=Retried, problems=PROBLEMS, example="{}")
async def retry_dead_letters(api: Api, call: ApiCall[Nothing, Retry]) -> Raw:
    """Send undelivered webhooks again.

    The webhooks keep their ids, by which a receiver recognises those that it has received already.
    """
    return Raw(await webhooks(api).retry_dead(None if call.body.ids is UNSET else call.body.ids))
