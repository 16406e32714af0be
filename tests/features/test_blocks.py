"""Whom a token names as blocked, its bearer does not see, by no route and in no room; nobody else is concerned.

That the world then looks as if the blocked had never been is checked over random histories in `test_visibility.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json
from tests.features.test_visibility import House, token
from tests.support.fakes import FakeConnection
from tests.support.nodes import classic, v1
from tests.support.talk import position, statuses, types

from presenced.auth.callbacks import merge_grants
from presenced.auth.grants import visibility_of, with_grants
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.presence.model import Ending
from presenced.presence.visibility import EVERYTHING, MAX_BLOCKED

SMALL_ROOMS = {"room_coalesced": 3, "room_counts": 5}


@pytest.fixture
def house() -> House:
    return House("everyone")


def enter(house: House, user_id: str, room: str = "lobby") -> FakeConnection:
    connection = house.come(user_id, "watch=none")
    house.say(connection, "JOIN", room=room)
    return connection


def rooms_told(messages: list[dict[str, Any]]) -> list[tuple[str, int, str, list[str], list[str]]]:
    """Of each message about a room: kind, count, mode, members, who left."""
    return [
        (m["type"], m["count"], m["mode"], sorted(x["userId"] for x in m.get("members", [])), m.get("left", []))
        for m in messages
        if m["type"].startswith("ROOM_")
    ]


def test_it_is_one_way(house: House) -> None:
    ada, eve = house.come("ada", block=["eve"]), house.come("eve")
    assert ("ada", "online") in statuses(house.heard(eve))
    house.say(eve, "SET_STATUS", status="busy")
    house.say(ada, "SET_STATUS", status="away")
    assert statuses(house.heard(eve)) == [("ada", "away")]
    assert ("eve", "busy") not in statuses(ada.messages)


def test_both_protocols_hear_nothing(house: House) -> None:
    ada, classic = house.come("ada", block=["eve", 7]), house.come("ada", classic=True, block=["eve", 7])
    for user_id in ("eve", "7", "bo"):
        house.end(house.come(user_id), Ending.CLOSED)
    assert {user_id for user_id, _ in statuses(house.heard(ada))} == {"ada", "bo"}
    assert classic.told() == [("USER_ONLINE", "bo"), ("USER_OFFLINE", "bo")]


def test_a_batch_with_blocked_users_and_others_is_told_without_the_blocked(house: House) -> None:
    ada, bo = house.come("ada", block=["eve"]), house.come("bo")
    classic = house.come("ada", classic=True, block=["eve"])
    house.heard(ada), house.heard(bo)
    for user_id in ("carl", "eve", "dora"):
        house.application.announce(user_id, True)
    house.clock.run_soon()
    assert statuses(house.heard(ada)) == [("carl", "online"), ("dora", "online")]
    assert statuses(house.heard(bo)) == [("carl", "online"), ("eve", "online"), ("dora", "online")]
    assert classic.told() == [("USER_ONLINE", "carl"), ("USER_ONLINE", "dora")]


def test_a_batch_without_blocked_users_is_written_from_the_same_bytes(house: House) -> None:
    """Who blocks somebody costs no more than others as long as nobody blocked changes."""
    for protocol in (False, True):
        ada, bo = house.come("ada", classic=protocol, block=["eve"]), house.come("bo", classic=protocol)
        house.come("carl")
        assert ada.writes[-1] is bo.writes[-1]
        house.application.disconnect("carl")
        house.clock.run_soon()


def test_watched_by_id_they_look_like_an_id_that_nobody_ever_had(house: House) -> None:
    ada = house.come("ada", "watch=none", block=["eve"])
    house.come("eve")
    house.heard(ada)
    told = house.say(ada, "WATCH", users=["eve", "nobody"])
    records = {user["userId"]: user for message in told for user in message.get("users", [])}
    assert {**records["eve"], "userId": ""} == {**records["nobody"], "userId": ""}
    house.come("eve")
    assert house.heard(ada) == []


def test_pages_of_a_snapshot_of_everyone_show_no_gap() -> None:
    house = House("everyone", snapshot_page=10)
    for number in range(25):
        house.come(f"u{number}", "watch=none")
    bo, ada = house.come("bo"), house.come("ada", block=["u3", "u20", "offline"])
    pages = {
        name: [[u["userId"] for u in m["users"]] for m in c.messages if m["type"] == "PRESENCE_SNAPSHOT"]
        for name, c in (("bo", bo), ("ada", ada))
    }
    assert [len(page) for page in pages["bo"]] == [10, 10, 6]
    assert [len(page) for page in pages["ada"]] == [10, 10, 5]
    seen = [user_id for page in pages["bo"] for user_id in page if user_id not in ("u3", "u20")]
    assert [user_id for page in pages["ada"] for user_id in page] == [*seen, "ada"]


def test_numbers_leave_them_out_and_are_not_told_because_of_them(house: House) -> None:
    ada = house.come("ada", "watch=none", block=["eve"])
    house.come("bo"), house.come("eve")
    enter(house, "eve"), enter(house, "bo")
    house.heard(ada)
    told = house.say(ada, "WATCH", everyone=True, users=["bo", "eve"], rooms=["lobby"], mode="count")
    assert [(m["watch"], m["online"]) for m in told] == [("everyone", 2), ("users", 1), ("room", 1)]
    house.application.disconnect("eve")
    house.clock.advance(2)
    assert house.heard(ada) == []
    enter(house, "carl")
    house.clock.advance(2)
    assert sorted((m["watch"], m["online"]) for m in house.heard(ada)) == [("everyone", 3), ("room", 2)]


def test_rooms_are_without_them(house: House) -> None:
    eve, bo = enter(house, "eve"), enter(house, "bo")
    ada = house.come("ada", "watch=none", block=["eve"])
    assert rooms_told(house.say(ada, "JOIN", room="lobby")) == [("ROOM_SNAPSHOT", 2, "full", ["ada", "bo"], [])]
    house.say(eve, "SET_STATUS", status="busy")
    house.say(eve, "SET_MEMBER", room="lobby", data=1)
    house.say(eve, "LEAVE", room="lobby")
    house.say(eve, "JOIN", room="lobby")
    assert house.heard(ada) == []
    house.say(bo, "LEAVE", room="lobby")
    assert rooms_told(house.heard(ada)) == [("ROOM_CHANGES", 1, "full", [], ["bo"])]
    assert rooms_told(house.heard(eve))[-1] == ("ROOM_CHANGES", 2, "full", [], ["bo"])


def test_a_large_room_is_told_of_by_the_size_that_is_seen() -> None:
    """One member more or less that is not seen changes neither the mode nor whether there are names."""
    house = House("everyone", **SMALL_ROOMS)
    ada = house.come("ada", "watch=none", block=["eve", "fred"])
    for user_id in ("eve", "fred", "bo", "carl"):
        enter(house, user_id)
    house.clock.advance(2)
    assert rooms_told(house.say(ada, "WATCH", rooms=["lobby"])) == [("ROOM_SNAPSHOT", 2, "full", ["bo", "carl"], [])]
    enter(house, "dora")
    house.clock.advance(2)
    assert rooms_told(house.heard(ada)) == [("ROOM_CHANGES", 3, "coalesced", ["dora"], [])]
    house.application.disconnect("eve")
    house.clock.advance(2)
    assert house.heard(ada) == []
    for user_id in ("gus", "hal"):
        enter(house, user_id)
    house.clock.advance(2)
    assert rooms_told(house.heard(ada)) == [("ROOM_CHANGES", 5, "counts", [], [])]
    assert rooms_told(house.say(ada, "WATCH", rooms=["lobby"])) == [("ROOM_SNAPSHOT", 5, "counts", [], [])]
    house.application.disconnect("fred")
    house.clock.advance(2)
    assert house.heard(ada) == []


def test_a_place_that_a_blocked_user_takes_is_no_sign_of_them() -> None:
    house = House("everyone", room_members=2)
    enter(house, "bo"), enter(house, "eve")
    (refused, *_) = house.say(house.come("carl", "watch=none"), "JOIN", room="lobby", id=1)[-1:]
    assert refused["name"] == "ROOM_FULL"
    ada = house.come("ada", "watch=none", block=["eve"])
    assert rooms_told(house.say(ada, "JOIN", room="lobby")) == [("ROOM_SNAPSHOT", 2, "full", ["ada", "bo"], [])]
    other = house.come("other", "watch=none", block=["eve"])
    assert [m["name"] for m in house.say(other, "JOIN", room="lobby") if m["type"] == "ERROR"] == ["ROOM_FULL"]


def test_a_newer_token_blocks_others(house: House) -> None:
    ada = house.come("ada", block=["eve"])
    house.come("bo"), house.come("eve"), enter(house, "eve"), enter(house, "bo")
    house.say(ada, "WATCH", rooms=["lobby"])
    house.heard(ada)
    told = house.say(ada, "AUTH", token=token("ada", block=["bo"]), id=1)
    assert told[0] == {"type": "ACK", "id": 1}
    assert {user_id for user_id, _ in statuses(told)} == {"ada", "eve"}
    assert rooms_told(told) == [("ROOM_SNAPSHOT", 1, "full", ["eve"], [])]
    house.application.disconnect("bo")
    house.application.disconnect("eve")
    house.clock.run_soon()
    assert {user_id for user_id, _ in statuses(house.heard(ada))} == {"eve"}


def test_a_classic_client_s_newer_token_blocks_others(house: House) -> None:
    ada = house.come("ada", classic=True, block=["eve"])
    house.node.received(ada, json.encode({"type": "AUTH", "token": token("ada", block=["bo"])}).decode())
    house.come("bo"), house.come("eve")
    assert ada.told() == [("USER_ONLINE", "eve")]


def test_a_newer_token_ends_what_was_still_to_be_told(house: House) -> None:
    """Pages that a slow client has not read yet are made when they are sent: of whom it then must not see."""
    house = House("everyone", snapshot_page=1)
    eve = enter(house, "eve")
    enter(house, "bo")
    ada = house.come("ada", "watch=none")
    house.heard(ada)
    ada.write_when_paused, ada.full_after = True, 1
    ada.on_full = lambda: house.node.paused(ada)
    assert len(rooms_told(house.say(ada, "WATCH", rooms=["lobby"]))) == 1, "one of two pages"
    house.say(ada, "AUTH", token=token("ada", block=["eve"]), id=1)
    house.say(eve, "SET_STATUS", status="busy", text="a secret")
    ada.paused = False
    house.node.resumed(ada)
    told = house.heard(ada)
    assert all(one == ("ROOM_SNAPSHOT", 1, "full", ["bo"], []) for one in rooms_told(told))
    assert "secret" not in str(told)


def test_a_session_that_comes_back_with_other_blocks_is_told_everything_again(house: House) -> None:
    house.come("bo"), house.come("eve"), enter(house, "eve")
    ada = house.come("ada", block=["bo"])
    house.say(ada, "WATCH", rooms=["lobby"])
    session, at = ada.messages[0]["sessionId"], position(ada)
    house.end(ada, Ending.LOST)
    back = house.come("ada", f"session={session}&position={at}", block=["eve"])
    told = house.heard(back)
    assert told[0]["resumed"] is False
    assert {user_id for user_id, _ in statuses(told)} == {"ada", "bo"}
    assert rooms_told(told) == [("ROOM_SNAPSHOT", 0, "full", [], [])]


def test_a_session_that_comes_back_with_the_same_blocks_is_told_what_it_missed(house: House) -> None:
    ada = house.come("ada", block=["eve"])
    session, at = house.heard(ada)[0]["sessionId"], position(ada)
    house.end(ada, Ending.LOST)
    house.come("bo"), house.come("eve")
    told = house.heard(house.come("ada", f"session={session}&position={at}", block=["eve"]))
    assert told[0]["resumed"] is True
    assert types(told[1:]) == ["SELF", "PRESENCE_CHANGES"]
    assert {user_id for user_id, _ in statuses(told)} == {"bo"}


def test_nothing_is_left_of_one_who_is_gone(house: House) -> None:
    ada, other = house.come("ada", block=["eve"]), house.come("ada", classic=True, block=["eve"])
    house.node.received(other, json.encode({"type": "AUTH", "token": token("ada", block=["bo"])}).decode())
    house.say(ada, "AUTH", token=token("ada", block=["bo"]))
    new, old = v1(house.node).feed, classic(house.node).feed
    assert (set(new._blocking.watchers_of("bo")), set(old._blocking.watchers_of("bo"))) == ({ada}, {other})
    house.end(ada, Ending.CLOSED)
    house.end(other, Ending.CLOSED)
    assert (new._blocking._by_user, new._blockers, old._blocking._by_user) == ({}, set(), {})


@pytest.mark.parametrize("rule", ["everyone", "rooms", "claims", "callback"])
def test_nobody_blocks_themselves_and_the_rest_holds_whatever_else_may_be_seen(rule: str) -> None:
    settings = Settings.model_validate({"auth": "ticket", "visibility": rule, "visibility_url": "http://h/"})
    visibility = visibility_of(settings, with_grants(Principal("7"), {"watch": ["bo", "eve"], "block": [7, "eve"]}))
    assert visibility.blocked == {"eve"}
    assert visibility.sees("7")
    assert not visibility.sees("eve")
    assert "eve" not in visibility.users


def test_who_blocks_nobody_is_like_all_others() -> None:
    settings = Settings(auth="ticket")
    assert visibility_of(settings, with_grants(Principal("ada"), {"block": []})) is EVERYTHING
    assert visibility_of(settings, with_grants(Principal("ada"), {"block": ["ada"]})) is EVERYTHING


def test_a_hook_adds_to_the_token_s_blocks() -> None:
    """A backend may say it in either place: what one leaves out does not show what the other hides."""
    by_token, by_hook = (with_grants(Principal("ada"), {"block": [name]}) for name in ("bo", "eve"))
    assert merge_grants(by_token, by_hook).block == {"bo", "eve"}


@pytest.mark.parametrize("block", ["eve", ["a\nb"], [True], ["x"] * (MAX_BLOCKED + 1), None])
def test_blocks_that_can_not_be_used_are_refused(block: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_grants(Principal("ada"), {"block": block})


def test_the_mode_of_a_room_is_not_held_by_a_member_who_is_not_seen() -> None:
    house = House("everyone", room_coalesced=5)
    for user_id in ("bo", "carl", "dora", "fred", "eve"):
        enter(house, user_id)
    for block, seen in (["eve"], (4, "full")), ([], (5, "coalesced")):
        ada = house.come("ada", "watch=none", block=block)
        [(_, count, mode, _, _)] = rooms_told(house.say(ada, "WATCH", rooms=["lobby"]))
        assert (count, mode) == seen


def test_what_happened_before_a_newer_token_is_told_by_the_older_one(house: House) -> None:
    ada, classic = house.come("ada", block=["eve"]), house.come("ada", classic=True, block=["eve"])
    house.heard(ada)
    for user_id in ("eve", "carl"):
        house.application.announce(user_id, True)
    message = json.encode({"type": "AUTH", "token": token("ada", block=["carl"])}).decode()
    for watcher in (ada, classic):
        house.node.received(watcher, message)
    house.clock.run_soon()
    assert statuses(house.heard(ada))[0] == ("carl", "online")
    assert classic.told() == [("USER_ONLINE", "carl")]
