"""Rooms of presenced.v1: the messages that members and watchers receive."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fakes import FakeConnection
from tests.support.node_harness import NodeHarness, position, statuses, types
from tests.support.nodes import v1

from presenced.presence.model import Ending


@pytest.fixture
def harness() -> NodeHarness:
    return NodeHarness(room_coalesced=4, room_counts=6)


def enter(harness: NodeHarness, user_id: str, **data: object) -> FakeConnection:
    connection = harness.enter(f"userId={user_id}&watch=none")
    harness.send(connection, "JOIN", room="lobby", **data)
    return connection


def members(messages: list[dict[str, Any]]) -> list[tuple[list[str], list[str]]]:
    """Return, for each message, the users who joined or changed and the users who left."""
    return [
        ([m["userId"] for m in message.get("members", [])], message.get("left", []))
        for message in messages
        if message["type"].startswith("ROOM")
    ]


def test_a_new_member_receives_the_room_and_other_members_are_notified(harness: NodeHarness) -> None:
    ada = harness.enter("userId=ada&watch=none")
    ack, snapshot = harness.send(ada, "JOIN", room="lobby", data={"seat": 1}, id=1)
    assert ack == {"type": "ACK", "id": 1}
    assert (snapshot["type"], snapshot["count"], snapshot["mode"]) == ("ROOM_SNAPSHOT", 1, "full")
    enter(harness, "bob", data={"seat": 2})
    [changes] = harness.new_messages(ada)
    assert (changes["type"], changes["count"]) == ("ROOM_CHANGES", 2)
    [member] = changes["members"]
    assert (member["userId"], member["data"], member["presence"]["status"]) == ("bob", {"seat": 2}, "online")


def test_members_receive_the_presence_of_members_only(harness: NodeHarness) -> None:
    ada, bob = enter(harness, "ada"), enter(harness, "bob")
    stranger = harness.enter("userId=carl&watch=none")
    harness.new_messages(ada)
    harness.send(bob, "SET_STATUS", status="busy")
    harness.send(stranger, "SET_STATUS", status="busy")
    assert statuses(harness.new_messages(ada)) == [("bob", "busy")]


def test_a_user_with_two_sessions_is_one_member(harness: NodeHarness) -> None:
    ada, one = enter(harness, "ada"), enter(harness, "bob")
    two = enter(harness, "bob")
    harness.new_messages(ada)
    harness.end(one, Ending.CLOSED)
    assert harness.new_messages(ada) == []
    harness.send(two, "LEAVE", room="lobby")
    assert members(harness.new_messages(ada)) == [([], ["bob"])]


def test_new_member_data_notifies_others_and_equal_data_does_not(harness: NodeHarness) -> None:
    ada, bob = enter(harness, "ada"), enter(harness, "bob", data=1)
    harness.new_messages(ada)
    harness.send(bob, "SET_MEMBER", room="lobby", data=2)
    [changes] = harness.new_messages(ada)
    assert changes["members"][0]["data"] == 2
    harness.send(bob, "SET_MEMBER", room="lobby", data=2)
    assert harness.new_messages(ada) == []


@pytest.mark.parametrize("request_", ["JOIN", "SET_MEMBER"])
def test_an_invisible_member_of_a_full_room_can_change_their_data(request_: str) -> None:
    """Others do not see the member, but the session has joined."""
    harness = NodeHarness(room_members=1)
    ada = enter(harness, "ada")
    harness.send(ada, "SET_STATUS", status="invisible")
    bob = enter(harness, "bob")
    harness.new_messages(ada)
    assert types(harness.send(ada, request_, room="lobby", data=1, id=1)) == ["ACK"]
    assert harness.new_messages(bob) == []
    assert types(harness.send(harness.enter("userId=carl"), "JOIN", room="lobby")) == ["ERROR"]


def test_a_member_who_left_receives_nothing_more(harness: NodeHarness) -> None:
    ada, bob = enter(harness, "ada"), enter(harness, "bob")
    assert types(harness.send(bob, "LEAVE", room="lobby", id=1)) == ["ACK"]
    harness.send(ada, "SET_STATUS", status="busy")
    enter(harness, "carl")
    assert harness.new_messages(bob) == []


def test_a_room_can_be_watched_without_joining(harness: NodeHarness) -> None:
    ada = enter(harness, "ada")
    eve = harness.enter("userId=eve&watch=none")
    assert members(harness.send(eve, "WATCH", rooms=["lobby"])) == [(["ada"], [])]
    assert harness.new_messages(ada) == []
    harness.end(ada, Ending.CLOSED)
    assert members(harness.new_messages(eve)) == [([], ["ada"])]
    harness.send(eve, "UNWATCH", rooms=["lobby"])
    enter(harness, "bob")
    assert harness.new_messages(eve) == []


def test_a_lost_member_stays_for_the_grace_period_and_returns_without_notifying_others(harness: NodeHarness) -> None:
    ada, bob = enter(harness, "ada"), harness.open("userId=bob&watch=none")
    session = harness.new_messages(bob)[0]["sessionId"]
    harness.send(bob, "JOIN", room="lobby")
    harness.new_messages(ada)
    harness.end(bob, Ending.LOST)
    harness.clock.advance(14)
    back = harness.enter(f"userId=bob&session={session}&position=x")
    assert harness.new_messages(ada) == []
    harness.end(back, Ending.LOST)
    harness.clock.advance(16)
    assert members(harness.new_messages(ada)) == [([], ["bob"])]
    again = harness.open(f"userId=bob&session={session}&position=x")
    assert members(harness.new_messages(ada)) == [(["bob"], [])], "the session is in the room again"
    assert [m["room"] for m in harness.new_messages(again) if m["type"] == "ROOM_SNAPSHOT"] == ["lobby"]


def test_a_resumed_session_receives_the_missed_changes_of_a_room(harness: NodeHarness) -> None:
    ada, bob = harness.open("userId=ada&watch=none"), enter(harness, "bob")
    session = harness.new_messages(ada)[0]["sessionId"]
    harness.send(ada, "JOIN", room="lobby", id=1)
    harness.end(ada, Ending.LOST)
    enter(harness, "carl")
    harness.send(bob, "SET_STATUS", status="busy")
    back = harness.open(f"userId=ada&session={session}&position={position(ada)}")
    heard = harness.new_messages(back)
    assert heard[0]["resumed"] is True
    assert members(heard) == [(["carl"], [])]
    assert statuses(heard) == [("bob", "busy")]


def test_changes_of_a_large_room_are_sent_once_a_second(harness: NodeHarness) -> None:
    ada = enter(harness, "ada")
    for name in ("b", "c", "d"):
        enter(harness, name)
    harness.clock.advance(1.1)
    modes = [m["mode"] for m in harness.new_messages(ada) if m["type"] == "ROOM_CHANGES"]
    assert modes[-1] == "coalesced"
    enter(harness, "e")
    assert harness.new_messages(ada) == []
    harness.clock.advance(1.1)
    assert members(harness.new_messages(ada)) == [(["e"], [])]


def test_a_room_that_becomes_large_loses_nothing_that_happened_just_before(harness: NodeHarness) -> None:
    """Within one turn, a member changes, one leaves and one joins, and the next one makes the room large."""
    eve = harness.enter("userId=eve&watch=none")
    harness.send(eve, "WATCH", rooms=["lobby"])
    ada, bob, _ = (enter(harness, name) for name in ("ada", "bob", "carl"))
    dora, fay, gus = (harness.enter(f"userId={name}&watch=none") for name in ("dora", "fay", "gus"))
    harness.new_messages(eve)
    harness.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')
    harness.node.received(bob, '{"type":"LEAVE","room":"lobby"}')
    for joins in (dora, fay, gus):
        harness.node.received(joins, '{"type":"JOIN","room":"lobby"}')
    harness.clock.advance(1.1)
    told = harness.new_messages(eve)
    assert statuses(told) == [("ada", "busy")]
    joined = [user_id for user_ids, _ in members(told) for user_id in user_ids]
    assert sorted(joined) == ["dora", "fay", "gus"]
    assert [user_id for _, user_ids in members(told) for user_id in user_ids] == ["bob"]
    assert [m["mode"] for m in told if m["type"] == "ROOM_CHANGES"][-1] == "coalesced"


def test_a_digest_has_nothing_of_a_member_who_has_left(harness: NodeHarness) -> None:
    eve = harness.enter("userId=eve&watch=none")
    harness.send(eve, "WATCH", rooms=["lobby"])
    ada, *_ = [enter(harness, name) for name in ("ada", "bob", "carl", "dora")]
    harness.clock.advance(1.1)
    harness.new_messages(eve)
    harness.send(ada, "SET_STATUS", status="busy")
    harness.send(ada, "LEAVE", room="lobby")
    harness.send(ada, "SET_STATUS", status="away", text="at the doctor's")
    harness.clock.advance(1.1)
    told = harness.new_messages(eve)
    assert members(told) == [([], ["ada"])]
    assert statuses(told) == []


def test_a_very_large_room_sends_only_counts(harness: NodeHarness) -> None:
    ada = enter(harness, "ada")
    others = [enter(harness, name) for name in "bcdef"]
    harness.clock.advance(1.1)
    last = harness.new_messages(ada)[-1]
    assert (last["mode"], last["count"], last.get("members")) == ("counts", 6, None)
    harness.send(ada, "WATCH", users=["b"])
    for other in others:
        harness.send(other, "SET_STATUS", status="busy")
    assert statuses(harness.new_messages(ada)) == [("b", "busy")], "those asked for by id are told at once"
    for other in others[2:]:
        harness.end(other, Ending.CLOSED)
    harness.clock.advance(1.1)
    [back] = [m for m in harness.new_messages(ada) if m["type"] == "ROOM_CHANGES"]
    assert (back["mode"], back["count"]) == ("full", 3)
    assert members(harness.send(ada, "WATCH", rooms=["lobby"])) == [(["ada", "b", "c"], [])], "names, on request"


def test_the_count_of_a_room_can_be_watched(harness: NodeHarness) -> None:
    eve = harness.enter("userId=eve&watch=none")
    [count] = harness.send(eve, "WATCH", rooms=["lobby"], mode="count")
    assert count == {"type": "PRESENCE_COUNT", "watch": "room", "online": 0, "room": "lobby"}
    enter(harness, "ada")
    harness.clock.advance(1.1)
    assert harness.new_messages(eve) == [{**count, "online": 1}]


def test_a_user_in_two_rooms_is_sent_once(harness: NodeHarness) -> None:
    ada, bob = enter(harness, "ada"), enter(harness, "bob")
    for connection in (ada, bob):
        harness.send(connection, "JOIN", room="bar")
    session = next(m["sessionId"] for m in ada.messages if "sessionId" in m)
    harness.end(ada, Ending.LOST)
    harness.send(bob, "SET_STATUS", status="busy")
    back = harness.open(f"userId=ada&session={session}&position={position(ada)}")
    assert statuses(harness.new_messages(back)) == [("bob", "busy")]


def test_a_session_lost_before_a_digest_receives_the_room_when_resumed(harness: NodeHarness) -> None:
    """The client's position, from other messages, may be newer than its state of a large room."""
    ada = harness.enter("userId=ada")
    session = ada.messages[0]["sessionId"]
    harness.send(ada, "JOIN", room="lobby")
    others = [enter(harness, name) for name in "bcd"]
    harness.clock.advance(2)
    harness.end(others[2], Ending.CLOSED)  # sent immediately as a user, and as a member in the next digest
    harness.end(ada, Ending.LOST)
    harness.end(others[1], Ending.CLOSED)
    harness.clock.advance(2)
    others.append(harness.enter("userId=e"))
    assert "d" in dict(statuses(ada.messages)), "it knows the position"
    back = harness.open(f"userId=ada&session={session}&position={position(ada)}")
    [room] = [m for m in harness.new_messages(back) if m["type"].startswith("ROOM")]
    assert (room["type"], room["mode"], [m["userId"] for m in room["members"]]) == (
        "ROOM_SNAPSHOT",
        "full",
        ["ada", "b"],
    )


def test_a_digest_of_several_rooms_is_complete_if_the_first_room_fills_the_transport(harness: NodeHarness) -> None:
    ada = enter(harness, "ada")
    harness.send(ada, "JOIN", room="bar")
    for name in "bcde":
        harness.send(enter(harness, name), "JOIN", room="bar")
    harness.clock.advance(2)
    harness.new_messages(ada)
    harness.send(enter(harness, "f"), "JOIN", room="bar")
    ada.full_after, ada.on_full, ada.write_when_paused = 1, lambda: harness.node.paused(ada), True
    harness.clock.advance(2)
    assert sorted(m["room"] for m in harness.new_messages(ada) if m["type"] == "ROOM_CHANGES") == ["bar", "lobby"]


def test_a_slow_client_receives_a_missed_digest_after_catching_up(harness: NodeHarness) -> None:
    ada = enter(harness, "ada")
    for name in "bcd":
        enter(harness, name)
    harness.clock.advance(2)
    enter(harness, "e")
    harness.new_messages(ada)
    ada.paused = True
    harness.node.paused(ada)
    harness.clock.advance(2)
    assert harness.new_messages(ada) == []
    ada.paused = False
    harness.node.resumed(ada)
    [changes] = [m for m in harness.new_messages(ada) if m["type"].startswith("ROOM")]
    assert "e" in [member["userId"] for member in changes["members"]]


def test_a_large_room_that_was_empty_between_two_digests_is_sent_as_a_snapshot(harness: NodeHarness) -> None:
    eve = harness.enter("userId=eve&watch=none")
    harness.send(eve, "WATCH", rooms=["lobby"])
    members = [enter(harness, name) for name in "abcd"]
    harness.clock.advance(2)
    for member in members:
        harness.send(member, "LEAVE", room="lobby")
    harness.new_messages(eve)
    harness.clock.advance(2)
    [empty] = harness.new_messages(eve)
    assert (empty["type"], empty["mode"], empty["count"], empty["members"]) == ("ROOM_SNAPSHOT", "full", 0, [])
    for member in members:
        harness.send(member, "JOIN", room="lobby")
    harness.clock.advance(2)
    for member in members:
        harness.send(member, "LEAVE", room="lobby")
    for member in members[2:]:
        harness.send(member, "JOIN", room="lobby")
    harness.new_messages(eve)
    harness.clock.advance(2)
    [other] = harness.new_messages(eve)
    assert (other["type"], [m["userId"] for m in other["members"]]) == ("ROOM_SNAPSHOT", ["c", "d"])


def test_a_digest_follows_all_earlier_changes(harness: NodeHarness) -> None:
    ada = enter(harness, "ada")
    for name in "bcd":
        enter(harness, name)
    eve = harness.enter("userId=eve")
    harness.send(eve, "WATCH", rooms=["lobby"])
    harness.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')  # not flushed yet
    v1(harness.node)._send_digest()
    told = harness.new_messages(eve)
    assert [m["type"] for m in told] == ["PRESENCE_CHANGES", "ROOM_CHANGES"]
    assert statuses(told) == [("ada", "busy")]


def test_a_member_has_the_data_that_any_of_their_sessions_set_last(harness: NodeHarness) -> None:
    """This also holds if the session that set it is the older one."""
    eve, phone, desk = harness.enter("userId=eve"), harness.enter("userId=ada"), harness.enter("userId=ada")
    for number, client in enumerate((eve, phone, desk)):
        harness.send(client, "JOIN", room="lobby", data=number)
    harness.new_messages(eve)

    def data() -> list[int]:
        return [member["data"] for m in harness.new_messages(eve) for member in m.get("members", [])]

    harness.send(phone, "SET_MEMBER", room="lobby", data=3)
    assert data() == [3]
    harness.send(desk, "SET_STATUS", status="busy")
    harness.end(phone, Ending.CLOSED)
    assert data() == [2], "that of the one that is left"


def test_a_large_room_whose_members_are_all_lost_is_removed() -> None:
    harness = NodeHarness(room_coalesced=2, log_age=60)
    members = [harness.enter(f"userId={number}") for number in range(3)]
    for member in members:
        harness.send(member, "JOIN", room="lobby")
    harness.clock.advance(2)
    for member in members:
        harness.end(member, Ending.LOST)
    harness.clock.advance(20)
    assert (len(harness.node.rooms), len(v1(harness.node).feed.digests)) == (0, 0)
