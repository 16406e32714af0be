"""A load of many users: some are adopted in each turn, and the node does other things in between."""

from __future__ import annotations

import pytest

from presenced.cluster.backend import ContributionUpdate, Entry, Item, Kind, StoreRecord
from presenced.cluster.directory import SharedDirectory, tag_of
from presenced.cluster.records import SharedSession, UserRecord, encode_record, encode_sessions
from presenced.cluster.replica import replica as module
from presenced.cluster.replica.replica import ShardReplica, When
from presenced.presence.journal import Journal
from presenced.presence.model import SEEN_ONLINE, Cause
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

USERS = [f"user-{number}" for number in range(20)]
OTHER = 5
"""Slot of the other node."""
WHEN = When(0.0, Instant(1.0, 1_764_453_600_000))


class LoadingNode:
    """A node that loads users who are connected to another node."""

    def __init__(self) -> None:
        limits = Limits(100_000, 600, 10)
        self.directory: SharedDirectory[str] = SharedDirectory(Grace(0, 0), limits, Journal(100_000))
        self.replica = ShardReplica(self.directory, 15)
        self.replica.registered(3)
        self.turns = 0

    def read_pages(self, user_ids: list[str], n: int) -> None:
        """Read all pages of a load."""
        record = encode_record(UserRecord(SEEN_ONLINE, 7, 0, Cause.CONNECT, active_ms=7))
        sessions = encode_sessions((SharedSession(tag_of("one"), "", True),))
        self.replica.begin_load(WHEN)
        self.replica.page([StoreRecord(user_id, n, n, record) for user_id in user_ids], ())
        self.update = ContributionUpdate(OTHER, sessions, b"")
        self.replica.page((), [(user_id, self.update) for user_id in user_ids])
        self.n = n

    def adopt(self) -> bool:
        """Adopt some users. Return whether all are."""
        self.turns += 1
        return self.replica.loaded(None, self.n, WHEN)

    def check(self) -> None:
        """Read the log to its end, and check all users."""
        self.replica.read_up_to(self.n, WHEN)
        while self.replica.has_unchecked:
            self.turns += 1
            assert not self.replica.is_loaded
            assert self.replica.next_batch((), WHEN) is None

    def sessions(self) -> int:
        """Return the number of sessions of the first user."""
        user = self.directory.users.user(USERS[0])
        return len(user.sessions) if user is not None else 0

    def online(self) -> set[str]:
        return {user_id for user_id in USERS if self.directory.users.status(user_id).value == "online"}


@pytest.fixture(autouse=True)
def three_users_per_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USERS_PER_TURN", 3)


def test_a_node_adopts_some_users_in_each_turn_and_is_loaded_after_the_last() -> None:
    node = LoadingNode()
    node.read_pages(USERS, 40)
    while not node.adopt():
        assert not node.replica.is_loaded
        assert node.replica.digests() == ()
    node.check()
    assert node.replica.is_loaded
    assert node.replica.unsettled == 0
    assert node.online() == set(USERS)
    assert len(node.replica.records) == len(USERS)
    assert node.turns == 14 + 6, "40 contributions and records by three, and 20 checks of which three were at once"


@pytest.mark.parametrize("turns", range(15))
def test_a_load_that_begins_while_another_is_adopted_ends_as_it_would_alone(turns: int) -> None:
    node = LoadingNode()
    node.read_pages(USERS, 40)
    for _ in range(turns):
        node.adopt()
    node.read_pages(USERS[5:], 60)
    while not node.adopt():
        pass
    node.check()
    assert node.replica.is_loaded
    assert set(node.replica.records) == set(USERS[5:])
    assert node.directory.users.status("user-19").value == "online"
    # The store has lost the others. They stay as they were shown until their node has had time to write them again.
    before = set(USERS[:5]) & node.online()
    assert node.replica.retained == (5 if turns else 0)
    assert node.replica.unsettled >= len(before)


def test_what_happens_here_while_users_are_adopted_is_proposed_afterwards() -> None:
    node = LoadingNode()
    node.read_pages(USERS, 40)
    node.adopt()
    node.replica.contribution_changed("user-3")
    node.replica.user_changed("here", WHEN.now)
    assert node.replica.next_batch((), WHEN) is None
    while not node.adopt():
        pass
    node.check()
    node.replica.reconnected()
    assert node.replica.pending(["user-3", "here"]) == {"user-3", "here"}


def test_a_node_that_takes_the_slot_of_another_one_forgets_that_ones_users() -> None:
    """It may have missed that the other node was removed."""
    node = LoadingNode()
    node.read_pages(USERS[:1], 40)
    node.adopt()
    node.check()
    assert node.sessions() == 1
    node.replica.registered(OTHER)
    assert node.sessions() == 0
    assert node.replica.counts().users_with_sessions == 0


def test_a_node_that_was_removed_and_is_back_in_its_slot_keeps_what_was_loaded_of_it() -> None:
    """The log is read from before the load on, so the removal comes after what was loaded."""
    node = LoadingNode()
    node.read_pages(USERS[:1], 40)
    node.adopt()
    node.replica.apply(Entry(38, 4, "remover", 1, Kind.REMOVED, (), b"%d incarnation" % OTHER), WHEN)
    assert node.sessions() == 0
    record = encode_record(UserRecord(SEEN_ONLINE, 7, 0, Cause.CONNECT, active_ms=7))
    item = Item(USERS[0], 40, 40, record, True, (node.update,))
    node.replica.apply(Entry(40, OTHER, "back again", 1, Kind.ITEMS, (item,)), WHEN)
    node.check()
    assert node.sessions() == 1
    assert node.replica.unsettled == 0
