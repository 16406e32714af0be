"""Endpoints that the database answers: last seen, past changes and sessions, webhooks that could not be delivered.

The storage worker encodes its answers as JSON, and most endpoints pass them on as they are (`Raw`).
"""

from __future__ import annotations

from msgspec import UNSET, Raw

from presenced.errors import Problem
from presenced.http.api.endpoint import LARGE_BODY_BYTES, Api, ApiCall, Endpoint
from presenced.http.api.presence import checked_users
from presenced.http.api.requests import DeadLetterParams, DeadLetterRetry, Empty, HistoryParams, UsersQuery
from presenced.http.api.responses import QueryLastSeenResult, RetryDeadLettersResult
from presenced.storage.answers import DeadLetters, LastSeen, PastSessions, UserHistory

PROBLEMS = (Problem.CONFLICT, Problem.UNAVAILABLE)
"""Problems of every endpoint that reads the database: there is none, or it does not respond."""


@Endpoint("GET", "/users/{user_id}/last-seen", scope="read", problems=PROBLEMS)
async def get_last_seen(api: Api, call: ApiCall[Empty, Empty]) -> LastSeen:
    """When a user was last seen.

    For a user who is present, this is the current time.
    """
    (found,) = await api.service.last_seen([call.user_id], call.now)
    return found


@Endpoint(
    "POST",
    "/users/last-seen",
    scope="read",
    problems=PROBLEMS,
    max_body_bytes=LARGE_BODY_BYTES,
    example='{"users": [7, "ada"]}',
)
async def query_last_seen(api: Api, call: ApiCall[Empty, UsersQuery]) -> QueryLastSeenResult:
    """When up to 1,000 users were last seen.

    An invalid user id is listed in `errors`. The response still contains the other users.
    """
    wanted, errors = checked_users(call.body.users)
    return QueryLastSeenResult(await api.service.last_seen(wanted, call.now), errors)


@Endpoint("GET", "/users/{user_id}/history", scope="admin", reply=UserHistory, problems=PROBLEMS)
async def list_history(api: Api, call: ApiCall[HistoryParams, Empty]) -> Raw:
    """The changes of a user, with their true causes.

    The setting `history_age` limits how long changes are stored.
    """
    return Raw(await api.service.database.history(call.user_id, call.query.after, call.query.limit))


@Endpoint("GET", "/users/{user_id}/sessions/past", scope="admin", reply=PastSessions, problems=PROBLEMS)
async def list_past_sessions(api: Api, call: ApiCall[HistoryParams, Empty]) -> Raw:
    """The stored sessions of a user.

    Includes open sessions as last stored, normally less than a second ago.
    """
    return Raw(await api.service.database.sessions(call.user_id, call.query.after, call.query.limit))


@Endpoint("GET", "/webhooks/dead", scope="admin", reply=DeadLetters, problems=PROBLEMS)
async def list_dead_letters(api: Api, call: ApiCall[DeadLetterParams, Empty]) -> Raw:
    """Webhooks that could not be delivered.

    Webhooks that no attempt delivered within a day, or that their receiver refused permanently.
    """
    return Raw(await api.service.webhooks.dead_letters(call.query.after, call.query.limit))


@Endpoint("POST", "/webhooks/dead/retry", scope="admin", problems=PROBLEMS, example="{}")
async def retry_dead_letters(api: Api, call: ApiCall[Empty, DeadLetterRetry]) -> RetryDeadLettersResult:
    """Send undelivered webhooks again.

    The webhooks keep their ids, so a receiver can recognise duplicates.
    """
    return RetryDeadLettersResult(
        await api.service.retry_dead_letters(None if call.body.ids is UNSET else call.body.ids)
    )
