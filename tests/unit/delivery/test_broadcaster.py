"""The broadcaster: one write per watcher and flush, late and slow watchers, and catching up."""

from itertools import count
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from tests.support.fakes import FakeConnection

from presenced.delivery.batch import Batch
from presenced.delivery.broadcaster import LONGEST_WAIT_S, MAX_BATCH_EVENTS, Broadcaster
from presenced.errors import Close
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import Ending
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.protocols.classic.feed import CATCH_UP_CHANGES, ClassicFeed
from presenced.runtime.clock import Timer
from presenced.runtime.metrics import Metrics
from presenced.testing import FakeClock

BEHIND_TIMEOUT = 30.0


class BroadcasterHarness(NamedTuple):
    clock: FakeClock
    directory: Directory[str]
    feed: ClassicFeed
    broadcaster: Broadcaster
    metrics: Metrics

    def come(self, *users: int) -> None:
        for user in users:
            change = self.directory.open(str(user), "c", self.clock.now()).change
            assert change
            self.broadcaster.publish(change)

    def go(self, *users: int) -> None:
        for user in users:
            change = self.directory.close(str(user), "c", Ending.CLOSED, self.clock.now()).change
            assert change
            self.broadcaster.publish(change)

    def watcher(self) -> FakeConnection:
        watcher = FakeConnection(on_closed=lambda connection, *_: self.broadcaster.discard(connection))
        watcher.protocol = SimpleNamespace(feed=self.feed)
        self.broadcaster.add(watcher)
        return watcher

    def metric(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0


def make(log_size: int = 100_000) -> BroadcasterHarness:
    clock, metrics = FakeClock(), Metrics()
    directory: Directory[str] = Directory(Grace(0, 0), Limits(log_size, 600, 0), Journal(1000))
    feed = ClassicFeed(directory.users)
    broadcaster = Broadcaster(clock=clock, timer=Timer(clock), metrics=metrics, behind_timeout=BEHIND_TIMEOUT)
    broadcaster.add_feed(feed)
    return BroadcasterHarness(clock, directory, feed, broadcaster, metrics)


@pytest.fixture
def bench() -> BroadcasterHarness:
    return make()


def test_all_changes_of_a_turn_go_to_a_watcher_in_one_write_and_in_order(bench: BroadcasterHarness) -> None:
    watchers = [bench.watcher() for _ in range(3)]
    bench.come(1, 2)
    bench.go(1)
    assert watchers[0].writes == [], "nothing within the turn"
    bench.clock.run_soon()
    for watcher in watchers:
        assert len(watcher.writes) == 1
        assert watcher.about_others() == [("USER_ONLINE", 1), ("USER_ONLINE", 2), ("USER_OFFLINE", 1)]
    assert bench.metric("presenced_deliveries_total") == 9
    assert bench.metric("presenced_sent_bytes_total") == sum(len(w.writes[0]) for w in watchers)


def test_a_watcher_added_within_a_turn_receives_only_later_changes(bench: BroadcasterHarness) -> None:
    early = bench.watcher()
    bench.come(1)
    late = bench.watcher()
    bench.come(2)
    last = bench.watcher()
    bench.clock.run_soon()
    assert early.about_others() == [("USER_ONLINE", 1), ("USER_ONLINE", 2)]
    assert late.about_others() == [("USER_ONLINE", 2)]
    assert last.about_others() == []
    assert bench.metric("presenced_deliveries_total") == 3
    bench.come(3)
    bench.clock.run_soon()
    assert [w.about_others()[-1] for w in (early, late, last)] == [("USER_ONLINE", 3)] * 3


def test_a_discarded_watcher_receives_nothing_more(bench: BroadcasterHarness) -> None:
    watcher, leaver = bench.watcher(), bench.watcher()
    bench.come(1)
    bench.broadcaster.discard(leaver)
    bench.broadcaster.discard(leaver)
    bench.clock.run_soon()
    assert len(watcher.about_others()) == 1
    assert leaver.writes == []
    assert len(bench.feed) == 1


def test_a_batch_that_grows_too_large_is_flushed_immediately(bench: BroadcasterHarness) -> None:
    watcher = bench.watcher()
    users = range(MAX_BATCH_EVENTS + 10)
    bench.come(*users)
    assert watcher.writes, "before the turn ended"
    bench.clock.run_soon()
    assert [user for _, user in watcher.about_others()] == list(users)
    assert len(watcher.writes) == 2


def test_a_slow_watcher_is_sent_nothing_and_then_catches_up_with_each_user_once(bench: BroadcasterHarness) -> None:
    slow, quick = bench.watcher(), bench.watcher()
    bench.come(1, 2)
    bench.clock.run_soon()
    slow.paused = True
    bench.broadcaster.pause(slow)
    assert bench.broadcaster.behind == 1
    bench.go(1)
    bench.come(1, 3)
    bench.clock.run_soon()
    bench.go(2)  # not flushed yet when the slow watcher resumes
    assert len(slow.about_others()) == 2
    slow.paused = False
    bench.broadcaster.resume(slow)
    assert slow.about_others()[2:] == [("USER_ONLINE", 1), ("USER_ONLINE", 3), ("USER_OFFLINE", 2)]
    assert bench.broadcaster.behind == 0
    bench.clock.run_soon()
    bench.come(2)
    bench.clock.run_soon()
    assert slow.about_others()[5:] == [("USER_ONLINE", 2)], "a watcher like any other again, nothing twice"
    assert len(quick.about_others()) == 7


def test_a_watcher_whose_transport_a_flush_fills_receives_that_flush_once(bench: BroadcasterHarness) -> None:
    watcher = bench.watcher()
    send = watcher.send_batch

    def fill_up(batch: Batch) -> int:
        size = send(batch)
        watcher.paused = True
        bench.broadcaster.pause(watcher)
        return size

    watcher.send_batch = fill_up  # type: ignore[method-assign]  # a transport that is full after one write
    bench.come(1, 2)
    bench.clock.run_soon()
    bench.come(3)
    bench.clock.run_soon()
    assert len(watcher.about_others()) == 2
    watcher.send_batch = send  # type: ignore[method-assign]  # as above
    watcher.paused = False
    bench.broadcaster.resume(watcher)
    assert watcher.about_others() == [("USER_ONLINE", 1), ("USER_ONLINE", 2), ("USER_ONLINE", 3)]


def test_a_watcher_whose_transport_its_part_fills_before_it_changes_receives_that_part_once(
    bench: BroadcasterHarness,
) -> None:
    watcher = bench.watcher()
    watcher.full_after, watcher.on_full = 1, lambda: bench.broadcaster.pause(watcher)
    bench.come(1, 2)
    with bench.broadcaster.changing(watcher):
        assert watcher.about_others() == [("USER_ONLINE", 1), ("USER_ONLINE", 2)]
    bench.come(3)
    bench.clock.run_soon()
    watcher.paused = False
    bench.broadcaster.resume(watcher)
    assert watcher.about_others() == [("USER_ONLINE", 1), ("USER_ONLINE", 2), ("USER_ONLINE", 3)]


def test_a_watcher_that_is_slow_before_the_first_flush_misses_nothing(bench: BroadcasterHarness) -> None:
    bench.come(1)
    watcher = bench.watcher()
    bench.come(2)
    watcher.paused = True
    bench.broadcaster.pause(watcher)
    bench.clock.run_soon()
    watcher.paused = False
    bench.broadcaster.resume(watcher)
    assert watcher.about_others() == [("USER_ONLINE", 2)]


def test_catching_up_stops_when_the_transport_is_full_again(bench: BroadcasterHarness) -> None:
    watcher = bench.watcher()
    watcher.paused = True
    bench.broadcaster.pause(watcher)
    bench.come(*range(3 * CATCH_UP_CHANGES))
    bench.clock.run_soon()
    send = watcher.send_batch

    def fill_up(batch: Batch) -> int:
        size = send(batch)
        watcher.paused = True
        return size

    watcher.send_batch = fill_up  # type: ignore[method-assign]  # a transport that is full after one write
    for rounds in (1, 2, 3):
        watcher.paused = False
        bench.broadcaster.resume(watcher)
        assert len(watcher.about_others()) == rounds * CATCH_UP_CHANGES
    assert bench.broadcaster.behind == 1, "it is told only when it drains that it has all"
    watcher.paused = False
    bench.broadcaster.resume(watcher)
    assert bench.broadcaster.behind == 0
    assert [user for _, user in watcher.about_others()] == list(range(3 * CATCH_UP_CHANGES))


def test_a_watcher_that_stays_behind_is_closed(bench: BroadcasterHarness) -> None:
    watcher = bench.watcher()
    watcher.paused = True
    bench.broadcaster.pause(watcher)
    bench.clock.advance(BEHIND_TIMEOUT - 1)
    assert watcher.closed_with is None
    bench.clock.advance(2)
    assert watcher.closed_with == (Close.FELL_BEHIND, "reading too slowly")
    assert (len(bench.feed), bench.broadcaster.behind) == (0, 0)


def test_a_watcher_that_catches_up_in_time_is_not_closed(bench: BroadcasterHarness) -> None:
    watcher = bench.watcher()
    watcher.paused = True
    bench.broadcaster.pause(watcher)
    bench.clock.advance(BEHIND_TIMEOUT - 1)
    watcher.paused = False
    bench.broadcaster.resume(watcher)
    bench.clock.advance(BEHIND_TIMEOUT)
    assert watcher.closed_with is None


def test_a_watcher_that_missed_more_than_the_log_holds_is_closed_with_a_reason() -> None:
    bench = make(log_size=10)
    watcher = bench.watcher()
    watcher.paused = True
    bench.broadcaster.pause(watcher)
    bench.come(*range(20))
    watcher.paused = False
    bench.broadcaster.resume(watcher)
    assert watcher.closed_with
    assert watcher.closed_with[0] is Close.FELL_BEHIND


class Loop(FakeClock):
    """Loop in which time passes with the work of each turn, as in a real one."""

    def turn(self, work: float) -> None:
        due = [entry.action for at, _, entry in self._later if at <= self._monotonic]
        self._later = [item for item in self._later if item[0] > self._monotonic]
        actions, self._soon = self._soon, []
        for action in (*due, *actions):
            assert action
            action()
        self.spend(work)

    def spend(self, seconds: float) -> None:
        self._move_to(self._monotonic + seconds)


@pytest.mark.parametrize(("flush", "longest"), [(0.002, LONGEST_WAIT_S), (0.010, LONGEST_WAIT_S), (0.030, 0.090)])
def test_under_load_the_next_flush_waits_for_an_idle_turn_and_batches_grow(flush: float, longest: float) -> None:
    loop = Loop()
    directory: Directory[str] = Directory(Grace(0, 0), Limits(1000, 600, 0), Journal(1000))
    feed = ClassicFeed(directory.users)
    broadcaster = Broadcaster(clock=loop, timer=Timer(loop), metrics=Metrics(), behind_timeout=BEHIND_TIMEOUT)
    broadcaster.add_feed(feed)
    watcher = FakeConnection()
    watcher.protocol = SimpleNamespace(feed=feed)
    send = watcher.send_batch

    def slow_send(batch: Batch) -> int:
        loop.spend(flush)
        return send(batch)

    watcher.send_batch = slow_send  # type: ignore[method-assign]  # a flush that takes its time
    broadcaster.add(watcher)
    users = count()

    def come() -> None:
        change = directory.open(str(next(users)), "c", loop.now()).change
        assert change
        broadcaster.publish(change)

    come()
    loop.turn(work=0.001)
    assert len(watcher.writes) == 1, "when idle, at once"

    started = loop.monotonic()
    while len(watcher.writes) == 1:
        come()
        loop.turn(work=0.001)
    assert loop.monotonic() - started - flush == pytest.approx(longest, abs=0.003), "the longest pause"

    come()
    flushed = loop.monotonic() - 0.001  # in the turn before
    while len(watcher.writes) == 2:
        loop.turn(work=0.00001)
    shortest = max(0.1 * flush, 0.001)
    assert loop.monotonic() - flushed - flush == pytest.approx(shortest, abs=0.0001), "the shortest pause"
