"""Events of modules in the two lanes of presenced.v1: the state lane sends the newest, the log lane sends all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import pytest
from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request, v1

from presenced.config.settings import Settings
from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.errors import Close
from presenced.node.node import Node
from presenced.presence.model import Ending
from presenced.presence.visibility import Visibility
from presenced.protocols.v1.extensions import ExtensionEvent, FeedExtension, Lane
from presenced.testing import FakeClock


class LaneEntry(NamedTuple):
    """Event about `key` that a module publishes."""

    position: int
    topic: str
    key: str
    text: str


class Notes:
    """A module with a history, whose events everyone receives."""

    def __init__(self, topic: str, lane: Lane) -> None:
        self.topic = topic
        self.lane = lane
        self.history: list[LaneEntry] = []
        self.readers: list[Connection] = []

    def connections(self, event: ExtensionEvent) -> Collection[Connection]:
        return self.readers

    def messages(self, events: Sequence[ExtensionEvent], visibility: Visibility | None) -> list[bytes]:
        return [json.encode({"type": "NOTE", "text": event.text}) for event in events if isinstance(event, LaneEntry)]

    def missed(self, connection: Connection, position: int | None) -> Iterable[Batch]:
        entries = [entry for entry in self.history if entry.position > (position or 0)]
        if self.lane is Lane.STATE:
            entries = list({entry.key: entry for entry in entries}.values())
        if entries and connection in self.readers:
            yield Batch(self.messages(entries, None))


class LaneWorld:
    def __init__(self, lane: Lane) -> None:
        self.clock = FakeClock()
        self.notes = Notes("notes", lane)
        parts: list[FeedExtension] = [self.notes]
        self.node: Node = make_node(Settings(stats_interval=0, behind_timeout=30), self.clock, feed_extensions=parts)
        self.node.start()

    def reader(self, user_id: str) -> FakeConnection:
        connection = FakeConnection(self.node.closed)
        self.node.opened(connection, request(f"userId={user_id}&watch=none", "presenced.v1"))
        self.notes.readers.append(connection)
        self.clock.run_soon()
        return connection

    def note(self, *texts: str, key: str = "k") -> None:
        for text in texts:
            entry = LaneEntry(self.node.directory.users.journal.next_position(), "notes", key, text)
            self.notes.history.append(entry)
            self.node.broadcaster.publish(entry)


def texts(connection: FakeConnection) -> list[str]:
    return [message["text"] for message in connection.messages if message["type"] == "NOTE"]


def test_in_the_log_lane_a_slow_reader_receives_every_entry_once_and_in_order() -> None:
    world = LaneWorld(Lane.LOG)
    quick, slow = world.reader("quick"), world.reader("slow")
    world.note("1", "2")
    world.clock.run_soon()
    slow.paused = True
    world.node.paused(slow)
    for number in range(3, 8):
        world.note(str(number))
        world.clock.advance(1)
    slow.paused = False
    world.node.resumed(slow)
    world.note("8")
    world.clock.advance(1)
    assert texts(slow) == texts(quick) == list("12345678")


def test_in_the_state_lane_only_the_newest_of_a_key_is_sent() -> None:
    world = LaneWorld(Lane.STATE)
    quick, slow = world.reader("quick"), world.reader("slow")
    slow.paused = True
    world.node.paused(slow)
    world.note("old", "new", key="a")
    world.note("b", key="b")
    world.clock.run_soon()
    world.note("newest", key="a")
    world.clock.advance(1)
    slow.paused = False
    world.node.resumed(slow)
    assert texts(quick) == ["new", "b", "newest"]
    assert sorted(texts(slow)) == ["b", "newest"]


def test_events_of_a_flush_are_one_write_whose_last_message_has_the_position() -> None:
    world = LaneWorld(Lane.LOG)
    reader = world.reader("reader")
    before = len(reader.writes)
    world.note("1", "2")
    world.clock.run_soon()
    assert len(reader.writes) == before + 1
    assert [message["type"] for message in reader.messages[-3:]] == ["NOTE", "NOTE", "PRESENCE_CHANGES"]


def test_a_message_delivered_to_some_follows_earlier_published_events() -> None:
    world = LaneWorld(Lane.LOG)
    quick, slow, other = world.reader("quick"), world.reader("slow"), world.reader("other")
    slow.paused = True
    world.node.paused(slow)
    world.note("1")
    world.node.broadcaster.deliver((quick, slow), json.encode({"type": "NOTE", "text": "ring"}))
    assert texts(quick) == ["1", "ring"]
    slow.paused = False
    world.node.resumed(slow)
    world.clock.run_soon()
    assert sorted(texts(slow)) == ["1", "ring"]
    assert texts(other) == ["1"]


def test_a_client_that_does_not_read_is_closed_after_too_many_messages() -> None:
    world = LaneWorld(Lane.LOG)
    slow = world.reader("slow")
    slow.paused = True
    world.node.paused(slow)
    for _ in range(100):
        world.node.broadcaster.deliver((slow,), b"{}")
    assert slow.closed_with is None
    world.node.broadcaster.deliver((slow,), b"{}")
    assert slow.closed_with == (Close.FELL_BEHIND, "too many messages were not read; connect again")


@pytest.mark.parametrize("lane", list(Lane))
def test_a_resumed_session_receives_the_missed_events(lane: Lane) -> None:
    world = LaneWorld(lane)
    reader = world.reader("reader")
    session = reader.messages[0]["sessionId"]
    world.note("1")
    world.clock.run_soon()
    position = reader.messages[-1]["position"]
    world.node.closed(reader, Ending.LOST, "lost")
    world.notes.readers.clear()
    world.note("2")
    world.clock.run_soon()
    back = FakeConnection(world.node.closed)
    world.notes.readers.append(back)
    query = f"userId=reader&watch=none&session={session}&position={position}"
    world.node.opened(back, request(query, "presenced.v1"))
    assert texts(back) == ["2"]
    assert v1(world.node).feed.keeps_up(back)
