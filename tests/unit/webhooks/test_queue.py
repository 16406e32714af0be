"""Reading for webhooks from a database that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from presenced.storage import database
from presenced.webhooks.outage import is_database_failure
from presenced.webhooks.queue import EndpointQueue
from presenced.worker.absence_check import AbsenceCheck

pytestmark = pytest.mark.anyio


class SilentDatabase:
    """Database whose host has vanished."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[None]:
        await asyncio.get_running_loop().create_future()
        yield


@pytest.mark.parametrize(
    "read",
    [
        lambda silent: EndpointQueue(silent, "here").oldest(1),
        lambda silent: EndpointQueue(silent, "here").dead_letters("", 1, "here"),
        lambda silent: AbsenceCheck(silent, None, 0.0).next_question(),
    ],
    ids=["events", "dead letters", "absent users"],
)
async def test_reading_from_a_database_that_does_not_answer_fails_after_a_time(
    read: Callable[[Any], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery, and the writer of the storage worker, retry then."""
    monkeypatch.setattr(database, "READ_TIMEOUT_S", 0.01)
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError) as caught:
            await read(SilentDatabase())
    assert is_database_failure(caught.value)
