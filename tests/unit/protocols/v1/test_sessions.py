"""Sessions of presenced.v1: coming back after losses, and reading slowly; what was missed is told, once."""

from typing import Any

import pytest
from tests.support.talk import Talk, position, statuses, types

from presenced.errors import Close
from presenced.presence.model import Ending
from presenced.presence.user import MAX_DETACHED
from presenced.protocols.v1 import feed as v1


@pytest.fixture
def talk() -> Talk:
    return Talk()


def test_a_session_resumes_with_just_what_it_missed(talk: Talk) -> None:
    bob = talk.enter("userId=bob")
    ada = talk.open("userId=ada")
    greeting = talk.heard(ada)[0]
    talk.end(ada, Ending.LOST)
    talk.say(bob, "SET_STATUS", status="busy")
    talk.enter("userId=carl")
    query = f"userId=ada&session={greeting['sessionId']}&position={position(ada)}"
    back = talk.open(query)
    again, own, changes = talk.heard(back)
    assert (again["resumed"], again["sessionId"]) == (True, greeting["sessionId"])
    assert own["type"] == "SELF"
    assert (changes["type"], statuses([changes])) == ("PRESENCE_CHANGES", [("bob", "busy"), ("carl", "online")])
    assert statuses([m for m in bob.messages if m["type"] == "PRESENCE_CHANGES"]).count(("ada", "online")) == 1


def test_a_resumed_session_that_is_lost_at_once_has_the_whole_grace(talk: Talk) -> None:
    """Its client named a session, so it was heard before. A bad network must not make it flicker."""
    bob, ada = talk.enter("userId=bob"), talk.open("userId=ada")
    session = talk.heard(ada)[0]["sessionId"]
    talk.clock.advance(60)
    talk.end(ada, Ending.LOST)
    back = talk.enter(f"userId=ada&session={session}&position={position(ada)}")
    back.answers = False
    talk.heard(bob)
    talk.end(back, Ending.LOST)
    talk.clock.advance(14.9)
    assert talk.heard(bob) == []
    talk.clock.advance(0.2)
    assert statuses(talk.heard(bob)) == [("ada", "offline")]


def test_an_idle_client_reconnects_without_a_flash_of_online(talk: Talk) -> None:
    """On a server that does not know the session, and on one where it resumes."""
    bob = talk.enter("userId=bob")
    ada = talk.open("userId=ada&activity=idle")
    greeting, own = talk.heard(ada)[:2]
    assert own["status"] == "away"
    assert statuses(talk.heard(bob)) == [("ada", "away")]
    talk.end(ada, Ending.LOST)
    ada = talk.enter(f"userId=ada&session={greeting['sessionId']}&position={position(ada)}&activity=active")
    assert statuses(talk.heard(bob)) == [("ada", "online")]
    talk.say(ada, "ACTIVITY", state="idle")
    assert statuses(talk.heard(bob)) == [("ada", "away")]


def test_a_session_that_is_not_known_gets_a_snapshot(talk: Talk) -> None:
    ada = talk.open("userId=ada&session=unknown&position=1-1")
    greeting, _, snapshot = talk.heard(ada)
    assert greeting["resumed"] is False
    assert greeting["sessionId"] != "unknown"
    assert snapshot["type"] == "PRESENCE_SNAPSHOT"


def test_somebody_elses_session_cannot_be_resumed(talk: Talk) -> None:
    ada = talk.open("userId=ada")
    session = talk.heard(ada)[0]["sessionId"]
    eve = talk.open(f"userId=eve&session={session}&position=x")
    assert talk.heard(eve)[0]["resumed"] is False
    assert ada.closed_with is None


def test_a_new_connection_of_a_session_replaces_the_old_one(talk: Talk) -> None:
    bob, ada = talk.enter("userId=bob"), talk.open("userId=ada")
    greeting = talk.heard(ada)[0]
    talk.heard(bob)
    back = talk.open(f"userId=ada&session={greeting['sessionId']}&position={position(ada)}")
    assert ada.closed_with
    assert ada.closed_with[0] is Close.REPLACED
    assert talk.heard(back)[0]["resumed"] is True
    assert talk.heard(bob) == []
    assert talk.node.stats().total_connections == 1 + 1
    talk.clock.advance(60)
    assert talk.heard(bob) == [], "the end of the old one is nobody's loss"


def test_when_the_log_has_moved_on_a_session_gets_a_snapshot() -> None:
    talk = Talk(log_size=4)
    ada = talk.open("userId=ada")
    greeting = talk.heard(ada)[0]
    talk.end(ada, Ending.LOST)
    for number in range(20):
        talk.open(f"userId={number}", subprotocol="")
    back = talk.open(f"userId=ada&session={greeting['sessionId']}&position={position(ada)}")
    assert types(talk.heard(back)) == ["CONNECTION_ESTABLISHED", "SELF", "PRESENCE_SNAPSHOT"]


def test_a_session_can_be_resumed_for_so_long() -> None:
    talk = Talk(resume_window=60)
    ada = talk.open("userId=ada")
    greeting = talk.heard(ada)[0]
    talk.end(ada, Ending.LOST)
    talk.clock.advance(59)
    back = talk.open(f"userId=ada&session={greeting['sessionId']}&position=x")
    assert talk.heard(back)[0]["sessionId"] == greeting["sessionId"]
    talk.end(back, Ending.LOST)
    talk.clock.advance(61)
    late = talk.open(f"userId=ada&session={greeting['sessionId']}&position=x")
    assert talk.heard(late)[0]["sessionId"] != greeting["sessionId"]


def test_a_status_set_last_is_set_when_the_client_goes(talk: Talk) -> None:
    ada, bob = talk.enter("userId=ada"), talk.enter("userId=bob")
    talk.say(bob, "SET_STATUS", status="online")
    talk.say(bob, "SET_STATUS", status="busy")
    talk.heard(ada)
    talk.end(bob, Ending.LOST)
    assert statuses(talk.heard(ada)) == [("bob", "busy")]


def test_what_a_client_asks_for_while_it_is_behind_does_not_move_its_position(talk: Talk) -> None:
    """It disconnects before it has caught up: nothing is lost."""
    ada, bob = talk.open("userId=ada"), talk.enter("userId=bob")
    session = talk.heard(ada)[0]["sessionId"]
    ada.write_when_paused = True
    ada.paused = True
    talk.node.paused(ada)
    talk.say(bob, "SET_STATUS", status="busy")
    talk.say(ada, "WATCH", users=["carl"])
    ada.full_after, ada.on_full = 2, lambda: talk.node.paused(ada)  # it reads a little
    ada.paused = False
    talk.node.resumed(ada)
    assert ada.paused, "and not all"
    talk.end(ada, Ending.LOST)
    told = statuses(talk.heard(ada))
    back = talk.open(f"userId=ada&session={session}&position={position(ada)}")
    assert ("bob", "busy") in told + statuses(talk.heard(back))


@pytest.mark.parametrize("request_", ["WATCH", "SET_STATUS"])
def test_who_is_behind_hears_the_truth_and_the_numbers_when_it_has_read(talk: Talk, request_: str) -> None:
    """Also when nothing else happens."""
    phone, web = talk.enter("userId=ada"), talk.enter("userId=ada")
    talk.say(phone, "SET_STATUS", status="invisible")
    talk.clock.advance(1)
    phone.write_when_paused = phone.paused = True
    talk.node.paused(phone)
    talk.heard(phone)
    if request_ == "WATCH":
        talk.say(phone, "WATCH", everyone=True, mode="count")
    else:
        talk.say(web, "SET_STATUS", status="invisible", text="only I see it")
    phone.paused = False
    talk.node.resumed(phone)
    heard = talk.heard(phone)
    if request_ == "WATCH":
        assert [m["online"] for m in heard if m["type"] == "PRESENCE_COUNT"] == [0]
    else:
        assert [m["text"] for m in heard if m["type"] == "SELF"] == ["only I see it"]


@pytest.mark.parametrize("writes", [1, 2])
def test_a_snapshot_that_was_lost_on_the_way_is_told_again(talk: Talk, writes: int) -> None:
    talk.enter("userId=bob")
    ada = talk.open("userId=ada&watch=none")
    session = talk.heard(ada)[0]["sessionId"]
    ada.full_after, ada.on_full = writes, lambda: talk.node.paused(ada)
    assert types(talk.say(ada, "WATCH", users=["bob"], id=1)) == ["ACK", "PRESENCE_SNAPSHOT"][:writes], "and is full"
    talk.end(ada, Ending.LOST)
    back = talk.open(f"userId=ada&session={session}&position={position(ada)}")
    greeting, *others = talk.heard(back)
    assert (greeting["sessionId"], greeting["resumed"]) == (session, False)
    assert statuses(others) == [("bob", "online")]


@pytest.mark.parametrize("watch", [{"users": list(range(40))}, {"rooms": ["r"]}])
def test_much_that_was_missed_comes_in_pieces_and_the_position_with_the_last(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, watch: dict[str, Any]
) -> None:
    monkeypatch.setattr(v1, "CATCH_UP", 16)
    movers = [talk.open(f"userId={number}&watch=none") for number in range(40)]
    for mover in movers:
        talk.say(mover, "JOIN", room="r")
    ada = talk.open("userId=ada&watch=none")
    talk.say(ada, "WATCH", **watch)
    before = cursor(position(ada))
    ada.paused = True
    talk.node.paused(ada)
    for mover in movers:
        talk.node.received(mover, '{"type":"ACTIVITY","state":"idle"}')
        talk.node.received(mover, '{"type":"SET_MEMBER","room":"r","data":1}')
    talk.clock.run_soon()
    start = len(ada.messages)
    ada.paused = False
    talk.node.resumed(ada)
    told = ada.messages[start:]
    assert max(len(m.get("users", m.get("members", ()))) for m in told) == 16
    *others, last = [cursor(m["position"]) for m in told if m["type"] == "PRESENCE_CHANGES"]
    assert all(other == before < last for other in others)
    told_of = [m["userId"] for message in told for key in ("users", "members") for m in message.get(key, ())]
    assert sorted(told_of) == list(range(40)), "each once"


def cursor(text: str) -> list[int]:
    return [int(number) for number in text.split("-")[1:]]


def test_a_user_with_as_many_connections_as_allowed_can_come_back() -> None:
    """The one that is broken is not known to be dead yet, and is the one to be replaced."""
    talk = Talk(user_connections=1)
    ada = talk.open("userId=ada")
    session = talk.heard(ada)[0]["sessionId"]
    back = talk.open(f"userId=ada&session={session}&position={position(ada)}")
    assert talk.heard(back)[0]["resumed"]
    assert ada.closed_with
    assert ada.closed_with[0] is Close.REPLACED
    for query in ("userId=ada", f"userId=ada&session={session}x"):
        other = talk.open(query)
        assert other.closed_with
        assert other.closed_with[0] is Close.TOO_MANY_CONNECTIONS


def test_a_page_that_begins_a_new_session_with_each_reload_never_flickers(talk: Talk) -> None:
    """The sessions it leaves behind can be resumed for two minutes, and there are more of them than are kept."""
    bob = talk.enter("userId=bob")
    for _ in range(3 * MAX_DETACHED):
        ada = talk.enter("userId=ada")
        talk.clock.advance(5)
        talk.end(ada, Ending.GOING_AWAY)
        talk.clock.advance(1)
    assert statuses(talk.heard(bob)) == [("ada", "online")]
