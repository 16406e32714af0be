"""Callbacks and iterators that follow all changes."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.support.python_api import Embedded

from presenced import CapacityError, ChangesLost, PresenceChange, Status
from presenced.node.journal_followers import MAX_FOLLOWERS
from presenced.python_api import following

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Embedded:
    return Embedded()


def turns(changes: list[PresenceChange]) -> list[tuple[int | str, str]]:
    return [(change.user_id, change.status.value) for change in changes]


def test_a_callback_is_called_with_each_change_in_the_next_turn_until_it_is_removed(server: Embedded) -> None:
    seen: list[PresenceChange] = []
    server.announce("before")
    remove = server.on_change(seen.append)
    server.announce("ada")
    server.announce("ada", False)
    assert seen == []
    server.clock.run_soon()
    assert turns(seen) == [("ada", "online"), ("ada", "offline")], "not the change before, though it is of this turn"
    assert [(one.went_online, one.went_offline, one.was) for one in seen] == [
        (True, False, Status.OFFLINE),
        (False, True, Status.ONLINE),
    ]
    server.announce("bo")
    remove()
    remove()
    server.clock.run_soon()
    assert len(seen) == 2, "a removed callback is not called, even with an earlier change"
    assert len(server.node.followers) == 0


def test_a_change_of_details_is_neither_online_nor_offline(server: Embedded) -> None:
    server.announce("ada")
    seen: list[PresenceChange] = []
    server.on_change(seen.append)
    server.set_status("ada", "away", text="lunch")
    server.clock.run_soon()
    [change] = seen
    assert (change.was, change.status, change.went_online, change.went_offline) == ("online", "away", False, False)
    assert change.position == server.position


def test_a_callback_may_change_the_state_and_remove_itself(server: Embedded) -> None:
    seen: list[PresenceChange] = []

    def copy_once(change: PresenceChange) -> None:
        seen.append(change)
        remove()
        server.announce("copy")

    remove = server.on_change(copy_once)
    server.announce("ada")
    server.announce("bo")
    server.clock.run_soon()
    server.clock.run_soon()
    assert turns(seen) == [("ada", "online")]
    assert server.presence("copy").is_online


def test_exceptions_of_a_callback_are_logged_and_hurt_nobody(
    server: Embedded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="presenced")
    seen: list[PresenceChange] = []

    def fail(_: PresenceChange) -> None:
        raise RuntimeError("no luck")

    server.on_change(fail)
    server.on_change(seen.append)
    watcher = server.clients.connect("watcher")
    for number in range(3):
        server.announce(number)
    server.clock.run_soon()
    assert len(seen) == 4
    assert len(watcher.about_others()) == 3
    [record] = caplog.records
    assert (record.getMessage(), record.exc_info is not None) == (
        "a callback of on_change failed: RuntimeError('no luck')",
        True,
    )
    server.clock.advance(following.LOG_PAUSE_S)
    server.announce("last")
    server.clock.run_soon()
    assert "3 more exceptions" in caplog.records[1].getMessage(), "exceptions in a row are counted, not logged"


def test_a_callback_learns_that_changes_were_lost(caplog: pytest.LogCaptureFixture) -> None:
    server, seen, lost = Embedded(journal_size=10), list[PresenceChange](), list[str]()
    server.on_change(seen.append, on_lost=lambda: lost.append("lost"))
    for number in range(11):
        server.announce(number)
    server.clock.run_soon()
    assert (seen, lost) == ([], ["lost"])
    assert "missed changes" in caplog.text
    server.announce("later")
    server.clock.run_soon()
    assert turns(seen) == [("later", "online")]


def test_a_coroutine_function_is_refused(server: Embedded) -> None:
    async def later(_: PresenceChange) -> None:
        """Nothing would await this."""

    with pytest.raises(TypeError, match="async for change in server"):
        server.on_change(later)  # type: ignore[arg-type]  # under test
    assert len(server.node.followers) == 0


def test_one_follower_more_than_allowed_is_refused(server: Embedded) -> None:
    removers = [server.on_change(lambda _: None) for _ in range(MAX_FOLLOWERS)]
    with pytest.raises(CapacityError):
        server.on_change(lambda _: None)
    removers[0]()
    server.on_change(lambda _: None)


def test_without_followers_a_change_wakes_nothing(server: Embedded) -> None:
    server.on_change(lambda _: None)()
    server.changes()
    server.clock.run_soon()
    server.announce("ada")
    assert len(server.node.followers) == 0


async def test_an_iterator_starts_at_its_creation_and_waits_for_changes(server: Embedded) -> None:
    server.announce("before")
    changes = server.changes()
    server.announce("ada")
    assert (await anext(changes)).user_id == "ada"
    waiting = asyncio.create_task(_next(changes))
    await asyncio.sleep(0)
    server.announce("bo")
    server.clock.run_soon()
    change = await waiting
    assert (change.user_id, change.position) == ("bo", server.position)
    assert len(server.node.followers) == 0, "an iterator that does not wait costs nothing"


async def test_a_cancelled_iterator_goes_on_without_a_loss(server: Embedded) -> None:
    changes = server.changes()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await anext(changes)
    assert len(server.node.followers) == 0
    server.announce("ada")
    assert (await anext(changes)).user_id == "ada"


async def test_an_iterator_continues_after_a_position(server: Embedded) -> None:
    position = server.position
    server.announce("ada")
    server.announce("bo")
    first = await anext(server.changes(after=position))
    assert first.user_id == "ada"
    assert (await anext(server.changes(after=first.position))).user_id == "bo"


async def test_an_iterator_that_is_too_slow_is_told() -> None:
    server = Embedded(journal_size=10)
    changes, position = server.changes(), server.position
    for number in range(11):
        server.announce(number)
    with pytest.raises(ChangesLost):
        await anext(changes)
    with pytest.raises(ChangesLost):
        server.changes(after=position)
    with pytest.raises(ChangesLost):
        server.changes(after="another-1")


async def test_an_iterator_with_many_changes_gives_the_loop_its_turns(server: Embedded) -> None:
    changes = server.changes()
    for number in range(3 * following.CHANGES_PER_TURN):
        server.announce(number)
    turns_of_others = 0

    async def others() -> None:
        nonlocal turns_of_others
        while True:
            await asyncio.sleep(0)
            turns_of_others += 1

    other = asyncio.create_task(others())
    for _ in range(3 * following.CHANGES_PER_TURN):
        await anext(changes)
    other.cancel()
    assert turns_of_others >= 2


async def test_a_stop_ends_all_followers_after_the_last_change(server: Embedded) -> None:
    seen: list[PresenceChange] = []
    server.on_change(seen.append)
    changes = server.changes()
    server.announce("ada")
    server.followers.stop()
    assert turns(seen) == [("ada", "online")], "the change of this turn, too"
    assert [change.user_id async for change in changes] == ["ada"]
    waiting = Embedded()
    task = asyncio.create_task(_next(waiting.changes()))
    await asyncio.sleep(0)
    waiting.followers.stop()
    with pytest.raises(StopAsyncIteration):
        await task


async def _next(changes: object) -> PresenceChange:
    found = await anext(changes)  # type: ignore[call-overload]  # an iterator, which create_task does not accept
    assert isinstance(found, PresenceChange)
    return found
