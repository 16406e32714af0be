"""Rooms of presenced.v1, as their watchers are told of them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fakes import FakeConnection
from tests.support.nodes import v1
from tests.support.talk import Talk, position, statuses, types

from presenced.presence.model import Ending


@pytest.fixture
def talk() -> Talk:
    return Talk(room_coalesced=4, room_counts=6)


def enter(talk: Talk, user_id: str, **data: object) -> FakeConnection:
    connection = talk.enter(f"userId={user_id}&watch=none")
    talk.say(connection, "JOIN", room="lobby", **data)
    return connection


def members(messages: list[dict[str, Any]]) -> list[tuple[list[str], list[str]]]:
    """Who joined or changed, and who left, by message."""
    return [
        ([m["userId"] for m in message.get("members", [])], message.get("left", []))
        for message in messages
        if message["type"].startswith("ROOM")
    ]


def test_who_joins_gets_the_room_and_the_others_the_member(talk: Talk) -> None:
    ada = talk.enter("userId=ada&watch=none")
    ack, snapshot = talk.say(ada, "JOIN", room="lobby", data={"seat": 1}, id=1)
    assert ack == {"type": "ACK", "id": 1}
    assert (snapshot["type"], snapshot["count"], snapshot["mode"]) == ("ROOM_SNAPSHOT", 1, "full")
    enter(talk, "bob", data={"seat": 2})
    [changes] = talk.heard(ada)
    assert (changes["type"], changes["count"]) == ("ROOM_CHANGES", 2)
    [member] = changes["members"]
    assert (member["userId"], member["data"], member["presence"]["status"]) == ("bob", {"seat": 2}, "online")


def test_members_presence_is_told_and_strangers_is_not(talk: Talk) -> None:
    ada, bob = enter(talk, "ada"), enter(talk, "bob")
    stranger = talk.enter("userId=carl&watch=none")
    talk.heard(ada)
    talk.say(bob, "SET_STATUS", status="busy")
    talk.say(stranger, "SET_STATUS", status="busy")
    assert statuses(talk.heard(ada)) == [("bob", "busy")]


def test_a_user_who_is_there_by_two_sessions_is_one_member(talk: Talk) -> None:
    ada, one = enter(talk, "ada"), enter(talk, "bob")
    two = enter(talk, "bob")
    talk.heard(ada)
    talk.end(one, Ending.CLOSED)
    assert talk.heard(ada) == []
    talk.say(two, "LEAVE", room="lobby")
    assert members(talk.heard(ada)) == [([], ["bob"])]


def test_data_is_given_anew_and_the_same_again_costs_nothing(talk: Talk) -> None:
    ada, bob = enter(talk, "ada"), enter(talk, "bob", data=1)
    talk.heard(ada)
    talk.say(bob, "SET_MEMBER", room="lobby", data=2)
    [changes] = talk.heard(ada)
    assert changes["members"][0]["data"] == 2
    talk.say(bob, "SET_MEMBER", room="lobby", data=2)
    assert talk.heard(ada) == []


def test_who_leaves_hears_nothing_more(talk: Talk) -> None:
    ada, bob = enter(talk, "ada"), enter(talk, "bob")
    assert types(talk.say(bob, "LEAVE", room="lobby", id=1)) == ["ACK"]
    talk.say(ada, "SET_STATUS", status="busy")
    enter(talk, "carl")
    assert talk.heard(bob) == []


def test_a_room_can_be_watched_from_outside(talk: Talk) -> None:
    ada = enter(talk, "ada")
    eve = talk.enter("userId=eve&watch=none")
    assert members(talk.say(eve, "WATCH", rooms=["lobby"])) == [(["ada"], [])]
    assert talk.heard(ada) == []
    talk.end(ada, Ending.CLOSED)
    assert members(talk.heard(eve)) == [([], ["ada"])]
    talk.say(eve, "UNWATCH", rooms=["lobby"])
    enter(talk, "bob")
    assert talk.heard(eve) == []


def test_a_lost_member_stays_for_the_grace_and_comes_back_without_a_word(talk: Talk) -> None:
    ada, bob = enter(talk, "ada"), talk.open("userId=bob&watch=none")
    session = talk.heard(bob)[0]["sessionId"]
    talk.say(bob, "JOIN", room="lobby")
    talk.heard(ada)
    talk.end(bob, Ending.LOST)
    talk.clock.advance(14)
    back = talk.enter(f"userId=bob&session={session}&position=x")
    assert talk.heard(ada) == []
    talk.end(back, Ending.LOST)
    talk.clock.advance(16)
    assert members(talk.heard(ada)) == [([], ["bob"])]
    again = talk.open(f"userId=bob&session={session}&position=x")
    assert members(talk.heard(ada)) == [(["bob"], [])], "the session is in the room again"
    assert [m["room"] for m in talk.heard(again) if m["type"] == "ROOM_SNAPSHOT"] == ["lobby"]


def test_a_resumed_session_gets_what_it_missed_of_a_room(talk: Talk) -> None:
    ada, bob = talk.open("userId=ada&watch=none"), enter(talk, "bob")
    session = talk.heard(ada)[0]["sessionId"]
    talk.say(ada, "JOIN", room="lobby", id=1)
    talk.end(ada, Ending.LOST)
    enter(talk, "carl")
    talk.say(bob, "SET_STATUS", status="busy")
    back = talk.open(f"userId=ada&session={session}&position={position(ada)}")
    heard = talk.heard(back)
    assert heard[0]["resumed"] is True
    assert members(heard) == [(["carl"], [])]
    assert statuses(heard) == [("bob", "busy")]


def test_a_large_room_is_told_of_once_a_second(talk: Talk) -> None:
    ada = enter(talk, "ada")
    for name in ("b", "c", "d"):
        enter(talk, name)
    talk.clock.advance(1.1)
    modes = [m["mode"] for m in talk.heard(ada) if m["type"] == "ROOM_CHANGES"]
    assert modes[-1] == "coalesced"
    enter(talk, "e")
    assert talk.heard(ada) == []
    talk.clock.advance(1.1)
    assert members(talk.heard(ada)) == [(["e"], [])]


def test_a_very_large_room_is_told_of_by_number(talk: Talk) -> None:
    ada = enter(talk, "ada")
    others = [enter(talk, name) for name in "bcdef"]
    talk.clock.advance(1.1)
    last = talk.heard(ada)[-1]
    assert (last["mode"], last["count"], last.get("members")) == ("counts", 6, None)
    talk.say(ada, "WATCH", users=["b"])
    for other in others:
        talk.say(other, "SET_STATUS", status="busy")
    assert statuses(talk.heard(ada)) == [("b", "busy")], "those asked for by id are told at once"
    for other in others[2:]:
        talk.end(other, Ending.CLOSED)
    talk.clock.advance(1.1)
    [back] = [m for m in talk.heard(ada) if m["type"] == "ROOM_CHANGES"]
    assert (back["mode"], back["count"]) == ("full", 3)
    assert members(talk.say(ada, "WATCH", rooms=["lobby"])) == [(["ada", "b", "c"], [])], "names, on request"


def test_a_rooms_number_can_be_watched(talk: Talk) -> None:
    eve = talk.enter("userId=eve&watch=none")
    [count] = talk.say(eve, "WATCH", rooms=["lobby"], mode="count")
    assert count == {"type": "PRESENCE_COUNT", "watch": "room", "online": 0, "room": "lobby"}
    enter(talk, "ada")
    talk.clock.advance(1.1)
    assert talk.heard(eve) == [{**count, "online": 1}]


def test_who_is_in_two_rooms_is_told_of_once(talk: Talk) -> None:
    ada, bob = enter(talk, "ada"), enter(talk, "bob")
    for connection in (ada, bob):
        talk.say(connection, "JOIN", room="bar")
    session = next(m["sessionId"] for m in ada.messages if "sessionId" in m)
    talk.end(ada, Ending.LOST)
    talk.say(bob, "SET_STATUS", status="busy")
    back = talk.open(f"userId=ada&session={session}&position={position(ada)}")
    assert statuses(talk.heard(back)) == [("bob", "busy")]


def test_who_was_lost_before_the_digest_has_it_told_after(talk: Talk) -> None:
    """The position a client has from other messages may be beyond what it was told of a large room."""
    ada = talk.enter("userId=ada")
    session = ada.messages[0]["sessionId"]
    talk.say(ada, "JOIN", room="lobby")
    others = [enter(talk, name) for name in "bcd"]
    talk.clock.advance(2)
    talk.end(others[2], Ending.CLOSED)  # told of at once as a user, of the room in the next digest
    talk.end(ada, Ending.LOST)
    talk.end(others[1], Ending.CLOSED)
    talk.clock.advance(2)
    others.append(talk.enter("userId=e"))
    assert "d" in dict(statuses(ada.messages)), "it knows the position"
    back = talk.open(f"userId=ada&session={session}&position={position(ada)}")
    [room] = [m for m in talk.heard(back) if m["type"].startswith("ROOM")]
    assert (room["type"], room["mode"], [m["userId"] for m in room["members"]]) == (
        "ROOM_SNAPSHOT",
        "full",
        ["ada", "b"],
    )


def test_a_digest_of_several_rooms_is_complete_also_when_the_first_fills_the_transport(talk: Talk) -> None:
    ada = enter(talk, "ada")
    talk.say(ada, "JOIN", room="bar")
    for name in "bcde":
        talk.say(enter(talk, name), "JOIN", room="bar")
    talk.clock.advance(2)
    talk.heard(ada)
    talk.say(enter(talk, "f"), "JOIN", room="bar")
    ada.full_after, ada.on_full, ada.write_when_paused = 1, lambda: talk.node.paused(ada), True
    talk.clock.advance(2)
    assert sorted(m["room"] for m in talk.heard(ada) if m["type"] == "ROOM_CHANGES") == ["bar", "lobby"]


def test_a_digest_that_came_while_a_client_was_behind_is_told_when_it_has_read(talk: Talk) -> None:
    ada = enter(talk, "ada")
    for name in "bcd":
        enter(talk, name)
    talk.clock.advance(2)
    enter(talk, "e")
    talk.heard(ada)
    ada.paused = True
    talk.node.paused(ada)
    talk.clock.advance(2)
    assert talk.heard(ada) == []
    ada.paused = False
    talk.node.resumed(ada)
    [changes] = [m for m in talk.heard(ada) if m["type"].startswith("ROOM")]
    assert "e" in [member["userId"] for member in changes["members"]]


def test_a_large_room_that_is_empty_between_two_digests_is_told_whole(talk: Talk) -> None:
    eve = talk.enter("userId=eve&watch=none")
    talk.say(eve, "WATCH", rooms=["lobby"])
    members = [enter(talk, name) for name in "abcd"]
    talk.clock.advance(2)
    for member in members:
        talk.say(member, "LEAVE", room="lobby")
    talk.heard(eve)
    talk.clock.advance(2)
    [empty] = talk.heard(eve)
    assert (empty["type"], empty["mode"], empty["count"], empty["members"]) == ("ROOM_SNAPSHOT", "full", 0, [])
    for member in members:
        talk.say(member, "JOIN", room="lobby")
    talk.clock.advance(2)
    for member in members:
        talk.say(member, "LEAVE", room="lobby")
    for member in members[2:]:
        talk.say(member, "JOIN", room="lobby")
    talk.heard(eve)
    talk.clock.advance(2)
    [other] = talk.heard(eve)
    assert (other["type"], [m["userId"] for m in other["members"]]) == ("ROOM_SNAPSHOT", ["c", "d"])


def test_a_digest_comes_after_what_happened_before_it(talk: Talk) -> None:
    ada = enter(talk, "ada")
    for name in "bcd":
        enter(talk, name)
    eve = talk.enter("userId=eve")
    talk.say(eve, "WATCH", rooms=["lobby"])
    talk.node.received(ada, '{"type":"SET_STATUS","status":"busy"}')  # not flushed yet
    v1(talk.node)._send_digest()
    told = talk.heard(eve)
    assert [m["type"] for m in told] == ["PRESENCE_CHANGES", "ROOM_CHANGES"]
    assert statuses(told) == [("ada", "busy")]


def test_of_a_users_sessions_the_data_given_last_is_seen(talk: Talk) -> None:
    """Also when the session that gave it is the older one."""
    eve, phone, desk = talk.enter("userId=eve"), talk.enter("userId=ada"), talk.enter("userId=ada")
    for number, client in enumerate((eve, phone, desk)):
        talk.say(client, "JOIN", room="lobby", data=number)
    talk.heard(eve)

    def data() -> list[int]:
        return [member["data"] for m in talk.heard(eve) for member in m.get("members", [])]

    talk.say(phone, "SET_MEMBER", room="lobby", data=3)
    assert data() == [3]
    talk.say(desk, "SET_STATUS", status="busy")
    talk.end(phone, Ending.CLOSED)
    assert data() == [2], "that of the one that is left"


def test_a_large_room_that_all_are_lost_from_leaves_nothing_behind() -> None:
    talk = Talk(room_coalesced=2, log_age=60)
    members = [talk.enter(f"userId={number}") for number in range(3)]
    for member in members:
        talk.say(member, "JOIN", room="lobby")
    talk.clock.advance(2)
    for member in members:
        talk.end(member, Ending.LOST)
    talk.clock.advance(20)
    assert (len(talk.node.rooms), len(v1(talk.node).feed.digests)) == (0, 0)
