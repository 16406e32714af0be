"""Heartbeat sweep: every connection is pinged once per interval, evenly spread, and only silent ones are reported."""

from collections import Counter

import pytest

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
    pinged = Counter(peer for tick in range(SLICES) for peer in sweep.tick(tick * sweep.tick_seconds)[0])
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
        ahead = sweep.next_beat_in_ticks(peer)
        pings.add(second + ahead.pinged_in)
        if ahead.times_out_in is not None:
            ends.add(second + ahead.times_out_in)
            assert second >= peer.slice, "not before the first ping"
    assert ends == {second}
    assert second == peer.slice + max(2, int(timeout))


def test_no_timeout_is_pending_after_a_response() -> None:
    sweep: Sweep[PingedConnection] = Sweep(60, 20)
    peer = PingedConnection()
    sweep.add(peer)
    assert [peer in sweep.tick(second)[0] for second in (1, 2)] == [True, False]
    assert sweep.next_beat_in_ticks(peer) == (59, 19)
    peer.heard_at = 1.5
    assert sweep.next_beat_in_ticks(peer) == (59, None)
    peer.heard_at = 0
    for second in range(3, 22):
        sweep.tick(second)
    assert sweep.next_beat_in_ticks(peer) == (40, None), "it has been judged for this ping"
