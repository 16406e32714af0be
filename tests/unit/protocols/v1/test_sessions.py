"""Sessions of presenced.v1: resuming after a loss and catching up after slow reads, without duplicates."""

from typing import Any

import pytest
from tests.support.node_harness import NodeHarness, position, statuses, types
from tests.support.nodes import request

from presenced.errors import Close
from presenced.presence.model import Ending
from presenced.presence.user import MAX_DETACHED_SESSIONS
from presenced.protocols.v1 import feed as v1


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness()


def test_a_resumed_session_receives_only_the_missed_changes(harness: NodeHarness) -> None:
    bob = harness.enter("userId=bob")
    ada = harness.open("userId=ada")
    greeting = harness.new_messages(ada)[0]
    harness.end(ada, Ending.LOST)
    harness.send(bob, "SET_STATUS", status="busy")
    harness.enter("userId=carl")
    query = f"userId=ada&session={greeting['sessionId']}&position={position(ada)}"
    back = harness.open(query)
    again, own, changes = harness.new_messages(back)
    assert (again["resumed"], again["sessionId"]) == (True, greeting["sessionId"])
    assert own["type"] == "SELF"
    assert (changes["type"], statuses([changes])) == ("PRESENCE_CHANGES", [("bob", "busy"), ("carl", "online")])
    assert statuses([m for m in bob.messages if m["type"] == "PRESENCE_CHANGES"]).count(("ada", "online")) == 1


def test_a_resumed_session_lost_immediately_has_the_whole_grace_period(harness: NodeHarness) -> None:
    """Its client named a session, which counts as input. Otherwise a bad network would make the user flicker."""
    bob, ada = harness.enter("userId=bob"), harness.open("userId=ada")
    session = harness.new_messages(ada)[0]["sessionId"]
    harness.clock.advance(60)
    harness.end(ada, Ending.LOST)
    back = harness.enter(f"userId=ada&session={session}&position={position(ada)}")
    back.answers = False
    harness.new_messages(bob)
    harness.end(back, Ending.LOST)
    harness.clock.advance(14.9)
    assert harness.new_messages(bob) == []
    harness.clock.advance(0.2)
    assert statuses(harness.new_messages(bob)) == [("ada", "offline")]


def test_an_idle_client_reconnects_without_appearing_online(harness: NodeHarness) -> None:
    """This holds on a server that does not know the session and on one that resumes it."""
    bob = harness.enter("userId=bob")
    ada = harness.open("userId=ada&activity=idle")
    greeting, own = harness.new_messages(ada)[:2]
    assert own["status"] == "away"
    assert statuses(harness.new_messages(bob)) == [("ada", "away")]
    harness.end(ada, Ending.LOST)
    ada = harness.enter(f"userId=ada&session={greeting['sessionId']}&position={position(ada)}&activity=active")
    assert statuses(harness.new_messages(bob)) == [("ada", "online")]
    harness.send(ada, "ACTIVITY", state="idle")
    assert statuses(harness.new_messages(bob)) == [("ada", "away")]


def test_an_unknown_session_receives_a_snapshot(harness: NodeHarness) -> None:
    ada = harness.open("userId=ada&session=unknown&position=1-1")
    greeting, _, snapshot = harness.new_messages(ada)
    assert greeting["resumed"] is False
    assert greeting["sessionId"] != "unknown"
    assert snapshot["type"] == "PRESENCE_SNAPSHOT"


def test_the_session_of_another_user_cannot_be_resumed(harness: NodeHarness) -> None:
    ada = harness.open("userId=ada")
    session = harness.new_messages(ada)[0]["sessionId"]
    eve = harness.open(f"userId=eve&session={session}&position=x")
    assert harness.new_messages(eve)[0]["resumed"] is False
    assert ada.closed_with is None


def test_a_new_connection_of_a_session_replaces_the_old_one(harness: NodeHarness) -> None:
    bob, ada = harness.enter("userId=bob"), harness.open("userId=ada")
    greeting = harness.new_messages(ada)[0]
    harness.new_messages(bob)
    back = harness.open(f"userId=ada&session={greeting['sessionId']}&position={position(ada)}")
    assert ada.closed_with
    assert ada.closed_with[0] is Close.REPLACED
    assert harness.new_messages(back)[0]["resumed"] is True
    assert harness.new_messages(bob) == []
    assert harness.node.stats().total_connections == 1 + 1
    harness.clock.advance(60)
    assert harness.new_messages(bob) == [], "the end of the old one is nobody's loss"


def test_a_session_older_than_the_log_receives_a_snapshot() -> None:
    harness = NodeHarness(log_size=4)
    ada = harness.open("userId=ada")
    greeting = harness.new_messages(ada)[0]
    harness.end(ada, Ending.LOST)
    for number in range(20):
        harness.open(f"userId={number}", subprotocol="")
    back = harness.open(f"userId=ada&session={greeting['sessionId']}&position={position(ada)}")
    assert types(harness.new_messages(back)) == ["CONNECTION_ESTABLISHED", "SELF", "PRESENCE_SNAPSHOT"]


def test_a_session_can_be_resumed_within_the_resume_window() -> None:
    harness = NodeHarness(resume_window=60)
    ada = harness.open("userId=ada")
    greeting = harness.new_messages(ada)[0]
    harness.end(ada, Ending.LOST)
    harness.clock.advance(59)
    back = harness.open(f"userId=ada&session={greeting['sessionId']}&position=x")
    assert harness.new_messages(back)[0]["sessionId"] == greeting["sessionId"]
    harness.end(back, Ending.LOST)
    harness.clock.advance(61)
    late = harness.open(f"userId=ada&session={greeting['sessionId']}&position=x")
    assert harness.new_messages(late)[0]["sessionId"] != greeting["sessionId"]


def test_a_held_status_takes_effect_when_the_client_disconnects(harness: NodeHarness) -> None:
    ada, bob = harness.enter("userId=ada"), harness.enter("userId=bob")
    harness.send(bob, "SET_STATUS", status="online")
    harness.send(bob, "SET_STATUS", status="busy")
    harness.new_messages(ada)
    harness.end(bob, Ending.LOST)
    assert statuses(harness.new_messages(ada)) == [("bob", "busy")]


def test_requests_of_a_slow_client_do_not_advance_its_position(harness: NodeHarness) -> None:
    """The client disconnects before it has caught up, and still loses nothing."""
    ada, bob = harness.open("userId=ada"), harness.enter("userId=bob")
    session = harness.new_messages(ada)[0]["sessionId"]
    ada.write_when_paused = True
    ada.paused = True
    harness.node.paused(ada)
    harness.send(bob, "SET_STATUS", status="busy")
    harness.send(ada, "WATCH", users=["carl"])
    ada.full_after, ada.on_full = 2, lambda: harness.node.paused(ada)  # the client reads a little
    ada.paused = False
    harness.node.resumed(ada)
    assert ada.paused, "and not all"
    harness.end(ada, Ending.LOST)
    told = statuses(harness.new_messages(ada))
    back = harness.open(f"userId=ada&session={session}&position={position(ada)}")
    assert ("bob", "busy") in told + statuses(harness.new_messages(back))


@pytest.mark.parametrize("request_", ["WATCH", "SET_STATUS"])
def test_a_slow_client_receives_its_own_state_and_counts_after_catching_up(harness: NodeHarness, request_: str) -> None:
    """No other change is needed to trigger this."""
    phone, web = harness.enter("userId=ada"), harness.enter("userId=ada")
    harness.send(phone, "SET_STATUS", status="invisible")
    harness.clock.advance(1)
    phone.write_when_paused = phone.paused = True
    harness.node.paused(phone)
    harness.new_messages(phone)
    if request_ == "WATCH":
        harness.send(phone, "WATCH", everyone=True, mode="count")
    else:
        harness.send(web, "SET_STATUS", status="invisible", text="only I see it")
    phone.paused = False
    harness.node.resumed(phone)
    heard = harness.new_messages(phone)
    if request_ == "WATCH":
        assert [m["online"] for m in heard if m["type"] == "PRESENCE_COUNT"] == [0]
    else:
        assert [m["text"] for m in heard if m["type"] == "SELF"] == ["only I see it"]


@pytest.mark.parametrize(("type_", "fields"), [("WATCH", {"users": ["bob"]}), ("JOIN", {"room": "lobby"})])
def test_a_snapshot_for_a_slow_client_is_confirmed_although_nothing_else_happens(
    harness: NodeHarness, type_: str, fields: dict[str, Any]
) -> None:
    ada = harness.open("userId=ada&watch=none")
    session = harness.new_messages(ada)[0]["sessionId"]
    ada.write_when_paused = ada.paused = True
    harness.node.paused(ada)
    harness.send(ada, type_, **fields)
    ada.paused = False
    harness.node.resumed(ada)
    assert types(harness.all_new_messages(ada))[-1] == "PRESENCE_CHANGES"
    harness.end(ada, Ending.LOST)
    back = harness.open(f"userId=ada&session={session}&position={position(ada)}")
    assert harness.new_messages(back)[0]["resumed"] is True


@pytest.mark.parametrize("writes", [1, 2])
def test_a_snapshot_lost_in_transit_is_sent_again(harness: NodeHarness, writes: int) -> None:
    harness.enter("userId=bob")
    ada = harness.open("userId=ada&watch=none")
    session = harness.new_messages(ada)[0]["sessionId"]
    ada.full_after, ada.on_full = writes, lambda: harness.node.paused(ada)
    assert types(harness.send(ada, "WATCH", users=["bob"], id=1)) == ["ACK", "PRESENCE_SNAPSHOT"][:writes], (
        "and is full"
    )
    harness.end(ada, Ending.LOST)
    back = harness.open(f"userId=ada&session={session}&position={position(ada)}")
    greeting, *others = harness.new_messages(back)
    assert (greeting["sessionId"], greeting["resumed"]) == (session, False)
    assert statuses(others) == [("bob", "online")]


@pytest.mark.parametrize("watch", [{"users": list(range(40))}, {"rooms": ["r"]}])
def test_many_missed_changes_are_sent_in_parts_and_the_last_part_has_the_position(
    harness: NodeHarness, monkeypatch: pytest.MonkeyPatch, watch: dict[str, Any]
) -> None:
    monkeypatch.setattr(v1, "CATCH_UP_RECORDS", 16)
    movers = [harness.open(f"userId={number}&watch=none") for number in range(40)]
    for mover in movers:
        harness.send(mover, "JOIN", room="r")
    ada = harness.open("userId=ada&watch=none")
    harness.send(ada, "WATCH", **watch)
    before = cursor(position(ada))
    ada.paused = True
    harness.node.paused(ada)
    for mover in movers:
        harness.node.received(mover, '{"type":"ACTIVITY","state":"idle"}')
        harness.node.received(mover, '{"type":"SET_MEMBER","room":"r","data":1}')
    harness.clock.run_soon()
    start = len(ada.messages)
    ada.paused = False
    harness.node.resumed(ada)
    told = ada.messages[start:]
    assert max(len(m.get("users", m.get("members", ()))) for m in told) == 16
    *others, last = [cursor(m["position"]) for m in told if m["type"] == "PRESENCE_CHANGES"]
    assert all(other == before < last for other in others)
    told_of = [m["userId"] for message in told for key in ("users", "members") for m in message.get(key, ())]
    assert sorted(told_of) == list(range(40)), "each once"


@pytest.fixture
def missed_much(monkeypatch: pytest.MonkeyPatch) -> tuple[NodeHarness, str]:
    """Return a node, and the query of a session that missed many users and is in a large room."""
    monkeypatch.setattr(v1, "CATCH_UP_RECORDS", 16)
    harness = NodeHarness(room_coalesced=2, log_size=100)
    ada = harness.open("userId=ada")
    session = harness.new_messages(ada)[0]["sessionId"]
    bob = harness.enter("userId=bob&watch=none")
    for member in (ada, bob):
        harness.send(member, "JOIN", room="lobby")
    harness.clock.advance(2)
    query = f"userId=ada&session={session}&position={position(ada)}"
    harness.end(ada, Ending.LOST)
    for number in range(40):
        harness.service.announce(str(number), online=True)
    for data in (1, 2):  # two digests, so that the session is below both
        harness.send(bob, "SET_MEMBER", room="lobby", data=data)
        harness.clock.advance(2)
    return harness, query


def test_many_missed_changes_of_everyone_come_with_each_room_once(missed_much: tuple[NodeHarness, str]) -> None:
    harness, query = missed_much
    told = harness.all_new_messages(harness.open(query))
    assert told[0]["resumed"] is True
    assert [user_id for user_id, _ in statuses(told)] == list(range(40))
    positions = [cursor(m["position"]) for m in told if m["type"] == "PRESENCE_CHANGES"]
    assert positions == sorted(positions)
    assert [len(m["users"]) for m in told if m["type"] == "PRESENCE_CHANGES"] == [16, 16, 8]
    assert [kind for kind in types(told) if kind.startswith("ROOM")] == ["ROOM_SNAPSHOT"]


def test_a_client_that_reads_slowly_while_it_catches_up_misses_nothing(missed_much: tuple[NodeHarness, str]) -> None:
    """In between, users it has yet to receive change again, one joins the room, and the log moves on."""
    harness, query = missed_much
    back = harness.connection()
    back.full_after, back.on_full = 4, lambda: harness.node.paused(back)
    harness.node.opened(back, request(query, "presenced.v1"))
    assert back.paused
    first = statuses(harness.new_messages(back))
    assert 0 < len(first) < 40
    harness.service.announce("39", online=False)
    late = harness.enter("userId=late&watch=none")
    harness.send(late, "JOIN", room="lobby")
    harness.clock.advance(2)
    back.full_after, back.paused = 1, False
    harness.node.resumed(back)
    for number in range(100, 180):
        harness.service.announce(str(number), online=True)
    harness.clock.advance(1)
    back.full_after, back.paused = 0, False
    harness.node.resumed(back)
    told = harness.all_new_messages(back)
    seen = {**dict(first), **dict(statuses(told))}
    assert {number for number in range(180) if seen.get(number) == "online"} == {*range(39), *range(100, 180)}
    rooms = [m for m in told if m["type"].startswith("ROOM")]
    assert "late" in [member["userId"] for member in rooms[-1]["members"]]
    assert cursor(told[-1]["position"])[0] == harness.node.directory.users.journal.position


def cursor(text: str) -> list[int]:
    return [int(number) for number in text.split("-")[1:]]


def test_a_user_at_the_connection_limit_can_resume_a_session() -> None:
    """The server does not know yet that the old connection is broken, and replaces it."""
    harness = NodeHarness(user_connections=1)
    ada = harness.open("userId=ada")
    session = harness.new_messages(ada)[0]["sessionId"]
    back = harness.open(f"userId=ada&session={session}&position={position(ada)}")
    assert harness.new_messages(back)[0]["resumed"]
    assert ada.closed_with
    assert ada.closed_with[0] is Close.REPLACED
    for query in ("userId=ada", f"userId=ada&session={session}x"):
        other = harness.open(query)
        assert other.closed_with
        assert other.closed_with[0] is Close.TOO_MANY_CONNECTIONS


def test_a_page_that_opens_a_new_session_on_each_reload_stays_online(harness: NodeHarness) -> None:
    """Its old sessions can be resumed for two minutes, and they exceed `MAX_DETACHED_SESSIONS`."""
    bob = harness.enter("userId=bob")
    for _ in range(3 * MAX_DETACHED_SESSIONS):
        ada = harness.enter("userId=ada")
        harness.clock.advance(5)
        harness.end(ada, Ending.GOING_AWAY)
        harness.clock.advance(1)
    assert statuses(harness.new_messages(bob)) == [("ada", "online")]
