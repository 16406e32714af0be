"""Runs the calls of the server (`rpc.WorkerCall`), except `Method.ERASE`, which `program` runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy.ext.asyncio import AsyncEngine

from presenced.errors import StorageError
from presenced.storage import queries
from presenced.storage.database import explain_error
from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.worker.rpc import CallResult, Method, WorkerCall

QUERY_TIMEOUT_S = 4.5
"""Seconds for one query. Less than `calls.CALL_TIMEOUT_S`, so that the caller gets the reason instead of a timeout."""

# The first argument is a connection or the webhooks. The arguments of the call, from `calls.StorageCalls`, follow.
_QUERIES: Mapping[Method, Callable[..., Awaitable[bytes]]] = {
    Method.LAST_SEEN: queries.last_seen,
    Method.HISTORY: queries.history,
    Method.SESSIONS: queries.past_sessions,
}
_WEBHOOK_METHODS: Mapping[Method, Callable[..., Awaitable[bytes]]] = {
    Method.DEAD_LETTERS: WebhookDispatcher.dead_letters,
    Method.RETRY_DEAD: WebhookDispatcher.retry_dead,
}


async def run_call(call: WorkerCall, database: AsyncEngine, webhooks: WebhookDispatcher | None, url: str) -> CallResult:
    """Run a call. An error becomes its result, without the password that is in `url`."""
    try:
        if (query := _QUERIES.get(call.method)) is not None:
            async with asyncio.timeout(QUERY_TIMEOUT_S), database.connect() as connection:
                return CallResult(call.number, await query(connection, *call.arguments))
        if webhooks is None:
            raise StorageError("there are no webhooks: the setting webhook_urls is empty")
        return CallResult(call.number, await _WEBHOOK_METHODS[call.method](webhooks, *call.arguments))
    except Exception as error:
        return CallResult(call.number, b"", explain_error(error, url))
