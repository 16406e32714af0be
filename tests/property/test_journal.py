"""Following the journal by cursor: no change is missed or repeated, and the digest matches the state."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.examples import examples

from presenced.presence import journal as module
from presenced.presence.directory import Directory
from presenced.presence.journal import Digest, Journal
from presenced.presence.model import NO_DETAILS, Change, Choice, Ending, Status
from presenced.presence.outcome import Outcome
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

USERS = ("a", "b", "c", "d")


class Following(RuleBasedStateMachine):
    @initialize(size=st.sampled_from([1, 2, 5, 1000]), log=st.sampled_from([2, 5, 1000]), part=st.integers(1, 3))
    def start(self, size: int, log: int, part: int) -> None:
        self.journal = Journal(size)
        self.directory: Directory[int] = Directory(Grace(3, 15), Limits(log, 3600, 10), self.journal)
        self.part = part
        self.open: list[tuple[str, int]] = []
        self.serial = self.now = 0
        self.all: list[Change] = []
        self.cursor = 0
        self.states: dict[str, tuple[Status, int]] = {}
        """Status and version of each user that the follower knows as not offline."""

    def instant(self) -> Instant:
        self.now += 1
        return Instant(self.now, self.now * 1000)

    def apply(self, outcome: Outcome[int]) -> None:
        if outcome.change:
            self.all.append(outcome.change)
            self.journal.append(outcome.change)

    @rule(user_id=st.sampled_from(USERS))
    def come(self, user_id: str) -> None:
        self.serial += 1
        self.open.append((user_id, self.serial))
        self.apply(self.directory.open(user_id, self.serial, self.instant()))

    @rule(data=st.data(), ending=st.sampled_from([Ending.CLOSED, Ending.LOST]))
    def go(self, data: st.DataObject, ending: Ending) -> None:
        if self.open:
            user_id, connection = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.apply(self.directory.close(user_id, connection, ending, self.instant()))

    @rule(user_id=st.sampled_from(USERS), status=st.sampled_from([None, Status.BUSY, Status.INVISIBLE]))
    def choose(self, user_id: str, status: Status | None) -> None:
        self.apply(self.directory.choose(user_id, Choice(status, NO_DETAILS), self.instant(), by_user=False))

    @rule()
    def something_happens_in_a_room(self) -> None:
        self.journal.next_position()

    @rule()
    def expire(self) -> None:
        self.now += 15
        for outcome in self.directory.expire(self.instant()):
            self.apply(outcome)

    @rule(limit=st.integers(1, 3), pages=st.integers(1, 10))
    def follow(self, limit: int, pages: int) -> None:
        for _ in range(pages):
            changes = self.journal.since(self.cursor, limit)
            if changes is None:
                gone = [c for c in self.all if c.position > self.cursor][: -len(self.journal)]
                assert gone, "refused only when something would be missed"
                self.cursor = self.journal.position
                self.states = {c.user_id: (c.status, c.version) for c in self.directory.users.snapshot()}
                return
            expected = [c for c in self.all if c.position > self.cursor][:limit]
            assert changes == expected
            for change in changes:
                before = self.states.pop(change.user_id, (Status.OFFLINE, change.was_version))
                assert before == (change.was, change.was_version)
                if change.status is not Status.OFFLINE:
                    self.states[change.user_id] = change.status, change.version
                self.cursor = change.position

    @rule(tries=st.integers(1, 20))
    def compare(self, tries: int) -> None:
        with patch.object(module, "MAX_HASHED_USERS", self.part):
            digests = [self.journal.digest(self.directory.users.snapshot) for _ in range(tries)]
        for digest in digests:
            if digest:
                assert digest == self.recomputed(
                    self.all[-1].position if self.all else 0, self.directory.users.snapshot()
                )
                if self.cursor >= digest.position:
                    assert (digest.value, digest.users) == (total(self.states), len(self.states))

    def recomputed(self, position: int, everyone: list[Change]) -> Digest:
        return Digest(position, total({c.user_id: (c.status, c.version) for c in everyone}), len(everyone))

    @invariant()
    def it_is_bounded(self) -> None:
        if hasattr(self, "journal"):
            assert len(self.journal) <= self.journal._size
            assert [c.position for c in self.all] == sorted({c.position for c in self.all})


def total(states: dict[str, tuple[Status, int]]) -> int:
    texts = (f"{user_id}\0{status.value}\0{version}" for user_id, (status, version) in states.items())
    return sum(int.from_bytes(sha256(text.encode()).digest()[:8], "big") for text in texts) % 2**64


TestFollowing: Any = Following.TestCase
TestFollowing.settings = settings(max_examples=examples(500), stateful_step_count=60)
