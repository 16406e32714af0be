"""Requests that wait for changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from presenced.errors import CapacityError
from presenced.http.errors import ProblemError
from presenced.http.waiting import WaitingRequests

pytestmark = pytest.mark.anyio


async def never() -> Message:
    """ASGI `receive` of a client that stays connected."""
    await asyncio.Event().wait()
    raise AssertionError("the event is never set")


async def test_changes_are_listened_to_only_while_a_request_waits() -> None:
    listening: list[Any] = []

    def on_change(wake: Any) -> Any:
        listening.append(wake)
        return lambda: listening.remove(wake)

    counted: list[float] = []
    requests = WaitingRequests(on_change, counted.append)
    first, second = requests.enter(never, None), requests.enter(never, "ada")
    assert len(listening) == 1
    listening[0]()
    assert await first.wait(1)
    assert await second.wait(1)
    first.leave()
    first.leave()
    assert len(listening) == 1
    second.leave()
    assert listening == []
    assert counted == [1, 2, 1, 0]
    requests.end()
    with pytest.raises(ProblemError, match="stopping"):
        requests.enter(never, None)


async def test_a_request_may_end_in_the_moment_in_which_its_write_times_out() -> None:
    requests = WaitingRequests(lambda _: lambda: None, lambda _: None)
    request = requests.enter(never, None)

    async def write() -> None:
        async with request.writing(0.0):
            await never()

    writing = asyncio.create_task(write())
    await asyncio.sleep(0)  # the write begins, and its timeout is the next call of the loop
    asyncio.get_running_loop().call_soon(requests.end)
    with pytest.raises(TimeoutError):
        await writing
    assert request.is_ending
    request.leave()


async def test_one_request_more_than_the_node_allows_is_refused() -> None:
    def full(_: Any) -> Any:
        raise CapacityError("enough")

    with pytest.raises(CapacityError, match="enough"):  # which the dispatcher answers with 503
        WaitingRequests(full, lambda _: None).enter(never, None)
