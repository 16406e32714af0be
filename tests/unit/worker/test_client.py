"""The server's side of the storage worker, without a process: facts, questions and answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.fakes import FakeTransport
from tests.support.storing_harness import StoringHarness

from presenced.errors import StorageUnavailable
from presenced.storage.records import RevocationFact, UserFact
from presenced.testing import FakeClock
from presenced.worker import rpc as messages
from presenced.worker.client import WorkerClient
from presenced.worker.rpc import (
    HEADER,
    MAX_MESSAGE,
    Absent,
    Answer,
    Ask,
    Batch,
    Erase,
    Ready,
    Setup,
    Splitter,
    ToKeeper,
    WhoIsAbsent,
    encode,
    to_keeper,
)

pytestmark = pytest.mark.anyio


class Pair:
    """A link with its other end in the test."""

    def __init__(self) -> None:
        self.harness = StoringHarness()
        setup = Setup("sqlite:///x", "here", "e", 0, 0, 0, 10, None, 1.0, restore=True)
        self.link = WorkerClient(setup, FakeClock(), self.harness.node.metrics, start_patience=0)
        self.link._recorder = self.harness.recorder  # as `start` does, which starts a process
        self.transport = FakeTransport()
        transport: Any = self.transport
        self.link.connection_made(transport)
        self.sent()

    def ready(self) -> None:
        self.link.data_received(encode(Ready(0, 0)))

    def sent(self) -> list[ToKeeper]:
        return [to_keeper.decode(message) for message in Splitter().split(self.transport.take())]


def test_a_batch_too_large_for_a_message_goes_in_several_and_a_fact_too_large_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair()
    pair.ready()
    monkeypatch.setattr(messages, "MAX_MESSAGE", 400)
    facts: list[Any] = [RevocationFact("token", f"t{n}" * (200 if n == 5 else 1), 1.0, 2.0) for n in range(40)]
    pair.link.give(facts, 7)
    batches = [message for message in pair.sent() if isinstance(message, Batch)]
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert [fact for batch in batches for fact in batch.facts] == facts[:5] + facts[6:]
    registry = pair.harness.node.metrics.registry
    assert registry.get_sample_value("presenced_storage_facts_unusable_total") == 1


def test_a_message_longer_than_the_bound_ends_the_connection() -> None:
    pair = Pair()
    pair.link.data_received(HEADER.pack(MAX_MESSAGE + 1))
    assert pair.transport.aborted
    assert "was announced" in pair.link.warning


def test_absent_users_are_named_although_facts_about_them_wait() -> None:
    pair = Pair()
    pair.harness.open("ada")
    pair.link.data_received(encode(WhoIsAbsent(["ada", "bo"], ["lobby"])))
    assert pair.sent() == [Absent(["bo"], ["lobby"])]


async def test_a_user_s_waiting_facts_are_dropped_only_if_the_keeper_can_erase_the_user() -> None:
    """Otherwise neither the database nor the receivers of webhooks would ever learn that the user has left."""
    pair = Pair()
    pair.harness.keeper.room = 0
    pair.harness.close(pair.harness.open("ada"))
    with pytest.raises(StorageUnavailable):
        await pair.link.questions.erase("ada")
    assert pair.harness.recorder.waiting_of(["ada"])
    pair.ready()
    erasing = asyncio.create_task(pair.link.questions.erase("ada"))
    await asyncio.sleep(0)
    (asked,) = [message for message in pair.sent() if isinstance(message, Ask)]
    assert asked.question == Erase("ada")
    assert not pair.harness.recorder.waiting_of(["ada"])
    pair.link.data_received(encode(Answer(asked.number, b'{"stored":3}')))
    assert await erasing == b'{"stored":3}'


def test_facts_that_wait_to_be_stored_are_known_of_users() -> None:
    pair = Pair()
    pair.ready()
    older, newer = UserFact("ada", "online", 1, 1, 1, 1), UserFact("ada", "offline", 2, 2, 2, 2)
    pair.link.give([older, UserFact("bo", "online", 1, 1, 1, 1)], 1)
    pair.link.give([newer], 2)
    assert pair.link.questions.unstored(["ada", "cy"]) == {"ada": newer}


async def test_a_keeper_that_is_ready_only_when_the_server_stops_still_gets_the_waiting_facts() -> None:
    pair = Pair()
    pair.harness.keeper.room = 0
    pair.harness.open()
    stopping = asyncio.create_task(pair.link.stop())
    await asyncio.sleep(0)
    assert not pair.transport.ended, "the keeper has yet to say whether it can store"
    pair.link.connection_lost(None)
    await stopping


async def test_nothing_is_sent_to_a_keeper_behind_the_farewell() -> None:
    """Its stream has ended: a keeper that becomes ready or asks something now gets no answer, and no error."""
    pair = Pair()
    stopping = asyncio.create_task(pair.link.stop())
    await asyncio.sleep(0)
    assert pair.transport.ended
    pair.ready()
    assert not pair.link.takes
    pair.link.data_received(encode(WhoIsAbsent(["ada"], [])))
    pair.link.connection_lost(None)
    await stopping
