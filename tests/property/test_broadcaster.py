"""The broadcaster with many changes and few watchers that are often slow. Each has an exact view, or was closed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.examples import examples
from tests.support.fakes import FakeConnection

from presenced.delivery.broadcaster import Broadcaster
from presenced.errors import Close
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import Ending, Status
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.protocols.classic.feed import ClassicFeed
from presenced.runtime.clock import Timer
from presenced.runtime.metrics import Metrics
from presenced.testing import FakeClock

USERS = [str(number) for number in range(5)]


class WatchingClassic(RuleBasedStateMachine):
    @initialize(log_size=st.sampled_from([2, 4, 1000]))
    def start(self, log_size: int) -> None:
        self.clock = FakeClock()
        self.directory: Directory[str] = Directory(Grace(0, 0), Limits(log_size, 3600, 0), Journal(1000))
        self.feed = ClassicFeed(self.directory.users)
        self.broadcaster = Broadcaster(clock=self.clock, timer=Timer(self.clock), metrics=Metrics(), behind_timeout=30)
        self.broadcaster.add_feed(self.feed)
        self.watchers: dict[FakeConnection, dict[str, bool]] = {}
        self.closed: list[FakeConnection] = []

    def truth(self) -> dict[str, bool]:
        return {user: self.directory.users.status(user) is Status.ONLINE for user in USERS}

    @rule(room=st.sampled_from([1, 2, 1000]))
    def join(self, room: int) -> None:
        watcher = FakeConnection(on_closed=lambda gone, *_: self.leave(gone))
        watcher.full_after = room
        watcher.protocol = SimpleNamespace(feed=self.feed)
        watcher.on_full = lambda: self.broadcaster.pause(watcher)  # as a real transport would
        self.watchers[watcher] = self.truth()
        self.broadcaster.add(watcher)

    def leave(self, watcher: FakeConnection) -> None:
        assert isinstance(watcher, FakeConnection)
        del self.watchers[watcher]
        self.closed.append(watcher)
        self.broadcaster.discard(watcher)

    @rule(users=st.lists(st.sampled_from(USERS), min_size=1, max_size=8), turn_ends=st.booleans())
    def toggle(self, users: list[str], turn_ends: bool) -> None:
        for user in users:
            now = self.clock.now()
            if self.directory.users.status(user) is Status.ONLINE:
                change = self.directory.close(user, user, Ending.CLOSED, now).change
            else:
                change = self.directory.open(user, user, now).change
            assert change
            self.broadcaster.publish(change)
        if turn_ends:
            self.clock.run_soon()

    @rule(which=st.integers(0, 10), room=st.sampled_from([1, 2, 1000]))
    def read(self, which: int, room: int) -> None:
        slow = [watcher for watcher in self.watchers if watcher.paused]
        if slow:
            watcher = slow[which % len(slow)]
            watcher.paused, watcher.full_after = False, room
            self.broadcaster.resume(watcher)

    @rule(seconds=st.sampled_from([1, 29, 31]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def who_keeps_up_has_it_exactly(self) -> None:
        """Promises 1, 3 and 7."""
        if not self.clock.waiting:
            for watcher, knew in self.watchers.items():
                if not watcher.paused:
                    told = {str(user): kind == "USER_ONLINE" for kind, user in watcher.about_others()}
                    assert {**knew, **told} == self.truth()

    @invariant()
    def only_the_slow_are_closed(self) -> None:
        for watcher in self.closed:
            assert watcher.closed_with
            assert watcher.closed_with[0] is Close.FELL_BEHIND
        assert len(self.feed) + self.broadcaster.behind == len(self.watchers)


TestWatchingClassic: Any = WatchingClassic.TestCase
TestWatchingClassic.settings = settings(max_examples=examples(1000), stateful_step_count=40)
