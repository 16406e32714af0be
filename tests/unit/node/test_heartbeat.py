"""Heartbeat: every connection is pinged once per interval, evenly spread, and only silent ones are closed."""

import gc
import weakref
from collections import Counter

import pytest
from tests.support.node_harness import NodeHarness

from presenced.errors import Close
from presenced.node.heartbeat import SLICES, Sweep


class PingedConnection:
    def __init__(self, heard_at: float = 0.0) -> None:
        self.heard_at = heard_at
        self.slice = -1


def test_every_connection_is_pinged_once_in_an_interval() -> None:
    sweep: Sweep[PingedConnection] = Sweep(30, 10)
    peers = [PingedConnection() for _ in range(150)]
    for peer in peers:
        sweep.add(peer)
    pinged = Counter(peer for tick in range(SLICES) for peer in sweep.tick(tick * sweep.tick_s)[0])
    assert pinged == Counter(peers)


def test_connections_that_open_together_are_spread_over_the_interval() -> None:
    sweep: Sweep[PingedConnection] = Sweep(30, 10)
    for _ in range(SLICES * 10):
        sweep.add(PingedConnection())
    assert {len(sweep.tick(0)[0]) for _ in range(SLICES)} == {10}


def test_a_connection_that_sends_nothing_within_the_timeout_after_a_ping_is_silent() -> None:
    sweep: Sweep[PingedConnection] = Sweep(interval=60, timeout=20)  # one tick per second
    quiet, lively = PingedConnection(), PingedConnection()
    sweep.add(quiet)
    sweep.add(lively)
    pinged_at: dict[PingedConnection, int] = {}
    silent_at: dict[PingedConnection, int] = {}
    for second in range(1, 120):
        to_ping, silent = sweep.tick(second)
        for peer in to_ping:
            pinged_at.setdefault(peer, second)
        for peer in silent:
            silent_at.setdefault(peer, second)
        if lively in to_ping:
            lively.heard_at = second + 0.5
    assert silent_at == {quiet: pinged_at[quiet] + 20}


def test_a_pause_of_the_server_makes_no_connection_silent() -> None:
    """A process that was suspended for an hour drops no client when it continues."""
    sweep: Sweep[PingedConnection] = Sweep(interval=60, timeout=20)
    peer = PingedConnection()
    sweep.add(peer)
    second = 1.0
    while not sweep.tick(second)[0]:
        second += 1
    assert sweep.tick(second + 3600)[1] == []


def test_a_discarded_connection_is_neither_pinged_nor_silent() -> None:
    sweep: Sweep[PingedConnection] = Sweep(30, 10)
    peer = PingedConnection()
    sweep.add(peer)
    sweep.discard(peer)
    sweep.discard(peer)
    assert all(sweep.tick(float(i)) == ([], []) for i in range(2 * SLICES))


def test_a_timeout_as_long_as_the_interval_works() -> None:
    sweep: Sweep[PingedConnection] = Sweep(30, 30)
    peer = PingedConnection()
    sweep.add(peer)
    ticks = [sweep.tick(i * 0.5) for i in range(1, 2 * SLICES + 1)]
    assert sum(peer in to_ping for to_ping, _ in ticks) == 2
    assert sum(peer in silent for _, silent in ticks) == 1


def test_even_a_tiny_timeout_leaves_two_ticks_to_answer() -> None:
    sweep: Sweep[PingedConnection] = Sweep(60, 0.001)
    peer = PingedConnection()
    sweep.add(peer)
    second = 1
    while not sweep.tick(second)[0]:
        second += 1
    assert sweep.tick(second + 1)[1] == []
    assert sweep.tick(second + 2)[1] == [peer]


@pytest.mark.parametrize("timeout", [20, 60, 0.001])
def test_the_predicted_pings_and_timeout_of_a_connection_occur(timeout: float) -> None:
    sweep: Sweep[PingedConnection] = Sweep(60, timeout)  # one tick per second
    peer = PingedConnection()
    sweep.add(peer)
    pings, ends = set[float](), set[float]()
    for second in range(1, 200):
        to_ping, silent = sweep.tick(second)
        if peer in silent:
            break
        if peer in to_ping:
            assert pings <= {second}, "it was foretold, each second"
            pings.clear()
        pinged_in, judged_in = sweep.next_heartbeat_in_ticks(peer)
        pings.add(second + pinged_in)
        if judged_in is not None:
            ends.add(second + judged_in)
            assert second >= peer.slice, "not before the first ping"
    assert ends == {second}
    assert second == peer.slice + max(2, int(timeout))


def test_no_timeout_is_pending_after_a_response() -> None:
    sweep: Sweep[PingedConnection] = Sweep(60, 20)
    peer = PingedConnection()
    sweep.add(peer)
    assert [peer in sweep.tick(second)[0] for second in (1, 2)] == [True, False]
    assert sweep.next_heartbeat_in_ticks(peer) == (59, 19)
    peer.heard_at = 1.5
    assert sweep.next_heartbeat_in_ticks(peer) == (59, None)
    peer.heard_at = 0
    for second in range(3, 22):
        sweep.tick(second)
    assert sweep.next_heartbeat_in_ticks(peer) == (40, None), "it has been judged for this ping"


def test_a_silent_connection_is_not_pinged_after_its_close() -> None:
    """With a timeout as long as the interval, a connection is judged and due for a ping in the same tick."""
    harness = NodeHarness(heartbeat_interval=10, pong_timeout=10)
    silent = harness.connect()
    silent.answers = False
    harness.clock.advance(30)  # the fake connection fails if anything is written after the close
    assert silent.closed_with == (Close.TIMED_OUT, "no answer to a ping")
    assert silent.pings == 1


def test_a_connection_that_becomes_slow_after_a_ping_has_until_the_next_check() -> None:
    """Its pong comes after everything that its transport holds."""
    harness = NodeHarness(heartbeat_interval=10, pong_timeout=5, behind_timeout=100)
    client = harness.connect()
    client.answers = False
    while client.pings == 0:
        harness.clock.advance(0.5)
    client.paused, client.unsent = True, 1000
    harness.node.paused(client)
    harness.clock.advance(7)
    assert client.closed_with is None
    for _ in range(100):
        client.unsent -= 5
        harness.clock.advance(0.5)
        assert client.closed_with is None, "it reads"
    harness.clock.advance(20)
    assert client.closed_with == (Close.TIMED_OUT, "no answer to a ping")


def test_a_slow_connection_that_is_closed_leaves_nothing_in_memory() -> None:
    harness = NodeHarness(heartbeat_interval=10, pong_timeout=10, behind_timeout=100)
    slow = harness.connect()
    slow.paused = True
    harness.node.paused(slow)
    harness.clock.advance(30)
    assert slow.closed_with == (Close.TIMED_OUT, "no answer to a ping")
    harness.clock.advance(60)  # its grace period is over
    freed = weakref.ref(slow)
    del slow
    gc.collect()
    assert freed() is None
