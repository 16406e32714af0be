"""Shutdown of a server: messages to its clients, and the time over which their connections are closed."""

import itertools

import pytest
from tests.support.node_harness import NodeHarness

from presenced.errors import Close
from presenced.node.shutdown import FIRST_RETURN_S, MAX_DRAIN_S, MAX_RETURN_GAP_S, MIN_SPREAD_S, WAVE_S, return_times
from presenced.runtime.limits import Pace


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness()


def test_v1_clients_receive_a_reconnect_delay_before_the_close(harness: NodeHarness) -> None:
    clients = [harness.enter(f"userId={number}&watch=none") for number in range(500)]
    classic = harness.open("userId=classic", subprotocol="")
    list(harness.node.drain())
    assert [m["type"] for m in classic.messages] == ["CONNECTION_ESTABLISHED"]
    assert classic.closed_with
    hints = []
    for client in clients:
        assert client.closed_with
        assert client.closed_with[0] is Close.GOING_AWAY
        [message] = harness.new_messages(client)[-1:]
        assert message["type"] == "GOING_AWAY"
        hints.append(message["retryAfter"])
    assert min(hints) >= FIRST_RETURN_S
    assert max(hints) <= FIRST_RETURN_S + MIN_SPREAD_S
    assert len(set(hints)) == 500, "each another one"
    halves = sorted(hints)[: len(hints) // 2]
    assert max(halves) < FIRST_RETURN_S + MIN_SPREAD_S * 0.6, "evenly"


@pytest.mark.parametrize(
    ("count", "pace", "spread"),
    [
        (1, Pace.LEAST, MAX_RETURN_GAP_S),
        (40, Pace.LEAST, 40 * MAX_RETURN_GAP_S),
        (40, 5 * Pace.LEAST, 40 * MAX_RETURN_GAP_S),
        (900, Pace.LEAST, MIN_SPREAD_S),
        (20_000, Pace.LEAST, 20.0),
        (100_000, 20 * Pace.LEAST, 5.0),
    ],
)
def test_every_client_has_its_own_delay_and_the_delays_span_the_needed_time(
    count: int, pace: float, spread: float
) -> None:
    times = return_times(count, pace)
    assert len(set(times)) == count
    ordered = sorted(times)
    assert FIRST_RETURN_S <= ordered[0] <= ordered[-1] <= FIRST_RETURN_S + spread
    slot = spread / count
    gaps = [after - before for before, after in itertools.pairwise(ordered)]
    assert all(slot / 2 - 2e-6 <= gap <= slot * 1.5 + 2e-6 for gap in gaps), "evenly"
    assert count < 40 or times != ordered, "not in the order of their coming"


def test_many_connections_are_closed_in_waves_and_few_immediately(harness: NodeHarness) -> None:
    for number in range(300):
        harness.open(f"userId={number}&watch=none")
        harness.clock.advance(0.01)
    pauses, closed = [], []
    for pause in harness.node.drain():
        pauses.append(pause)
        closed.append(300 - harness.node.stats().total_connections)
    assert set(pauses) == {WAVE_S}
    assert sum(pauses) <= MAX_DRAIN_S
    assert closed == sorted(set(closed)), "some with each"
    assert 0 < closed[0] < 150
    assert harness.node.stats().total_connections == 0
    few = NodeHarness()
    few.open("userId=1")
    assert list(few.node.drain()) == [], "without waiting"


def test_a_slow_client_is_closed_without_a_reconnect_delay(harness: NodeHarness) -> None:
    slow = harness.enter("userId=slow")
    slow.paused = True
    harness.node.paused(slow)
    list(harness.node.drain())
    assert slow.closed_with
    assert harness.new_messages(slow) == []


def test_a_shutdown_notifies_nobody_of_users_who_leave(harness: NodeHarness) -> None:
    first, second = harness.enter("userId=1"), harness.enter("userId=2")
    harness.new_messages(first)
    list(harness.node.drain())
    harness.clock.advance(60)
    for client in (first, second):
        assert [m["type"] for m in harness.new_messages(client)] == ["GOING_AWAY"]
