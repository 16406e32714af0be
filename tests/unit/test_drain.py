"""The end of a server: who is told what, and over how long."""

import pytest
from tests.unit.talk import Talk

from presenced.core.limits import Pace
from presenced.drain import FIRST_RETURN, LONGEST_DRAIN, WAVE
from presenced.errors import Close


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_each_is_told_when_to_come_back_before_the_close(talk: Talk) -> None:
    clients = [talk.enter(f"userId={number}&watch=none") for number in range(500)]
    classic = talk.open("userId=classic", subprotocol="")
    list(talk.engine.drain())
    assert [m["type"] for m in classic.messages] == ["CONNECTION_ESTABLISHED"]
    assert classic.closed_with
    hints = []
    for client in clients:
        assert client.closed_with
        assert client.closed_with[0] is Close.GOING_AWAY
        [message] = talk.heard(client)[-1:]
        assert message["type"] == "GOING_AWAY"
        hints.append(message["retryAfter"])
    spread = 501 / Pace.LEAST
    assert min(hints) >= FIRST_RETURN
    assert max(hints) <= FIRST_RETURN + spread
    assert len(set(hints)) > 100, "not all at once"
    halves = sorted(hints)[: len(hints) // 2]
    assert max(halves) < FIRST_RETURN + spread * 0.7, "evenly"


def test_many_are_closed_in_waves_and_a_few_at_once(talk: Talk) -> None:
    for number in range(300):
        talk.open(f"userId={number}&watch=none")
        talk.clock.advance(0.01)
    pauses, closed = [], []
    for pause in talk.engine.drain():
        pauses.append(pause)
        closed.append(300 - talk.engine.stats().total_connections)
    assert set(pauses) == {WAVE}
    assert sum(pauses) <= LONGEST_DRAIN
    assert closed == sorted(set(closed)), "some with each"
    assert 0 < closed[0] < 150
    assert talk.engine.stats().total_connections == 0
    few = Talk()
    few.open("userId=1")
    assert list(few.engine.drain()) == [], "without waiting"


def test_a_client_that_is_behind_is_closed_without_a_hint(talk: Talk) -> None:
    slow = talk.enter("userId=slow")
    slow.paused = True
    talk.engine.paused(slow)
    list(talk.engine.drain())
    assert slow.closed_with
    assert talk.heard(slow) == []


def test_nobody_hears_that_others_left(talk: Talk) -> None:
    first, second = talk.enter("userId=1"), talk.enter("userId=2")
    talk.heard(first)
    list(talk.engine.drain())
    talk.clock.advance(60)
    for client in (first, second):
        assert [m["type"] for m in talk.heard(client)] == ["GOING_AWAY"]
