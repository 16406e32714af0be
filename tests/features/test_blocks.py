"""A user does not see the users that their token blocks, by any route or in any room. Nobody else is affected.

`test_visibility.py` checks over random histories that the view equals one without the blocked users.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.grants_harness import GrantsHarness, token
from tests.support.node_harness import position, statuses, types
from tests.support.nodes import classic, v1

from presenced.auth.callbacks import merge_grants
from presenced.auth.grants import visibility_of, with_grants
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.presence.model import Ending
from presenced.presence.visibility import EVERYTHING, MAX_BLOCKED_USERS

SMALL_ROOMS = {"room_coalesced": 3, "room_counts": 5}


@pytest.fixture
def harness() -> GrantsHarness:
    return GrantsHarness("everyone")


def enter(harness: GrantsHarness, user_id: str, room: str = "lobby") -> FakeConnection:
    connection = harness.come(user_id, "watch=none")
    harness.send(connection, "JOIN", room=room)
    return connection


def rooms_received(messages: list[dict[str, Any]]) -> list[tuple[str, int, str, list[str], list[str]]]:
    """Return kind, count, mode, members and former members of each message about a room."""
    return [
        (m["type"], m["count"], m["mode"], sorted(x["userId"] for x in m.get("members", [])), m.get("left", []))
        for m in messages
        if m["type"].startswith("ROOM_")
    ]


def test_a_block_is_one_way(harness: GrantsHarness) -> None:
    ada, eve = harness.come("ada", block=["eve"]), harness.come("eve")
    assert ("ada", "online") in statuses(harness.new_messages(eve))
    harness.send(eve, "SET_STATUS", status="busy")
    harness.send(ada, "SET_STATUS", status="away")
    assert statuses(harness.new_messages(eve)) == [("ada", "away")]
    assert ("eve", "busy") not in statuses(ada.messages)


def test_clients_of_both_protocols_receive_nothing_about_a_blocked_user(harness: GrantsHarness) -> None:
    ada, classic = harness.come("ada", block=["eve", 7]), harness.come("ada", classic=True, block=["eve", 7])
    for user_id in ("eve", "7", "bo"):
        harness.end(harness.come(user_id), Ending.CLOSED)
    assert {user_id for user_id, _ in statuses(harness.new_messages(ada))} == {"ada", "bo"}
    assert classic.about_others() == [("USER_ONLINE", "bo"), ("USER_OFFLINE", "bo")]


def test_blocked_users_are_left_out_of_a_batch(harness: GrantsHarness) -> None:
    ada, bo = harness.come("ada", block=["eve"]), harness.come("bo")
    classic = harness.come("ada", classic=True, block=["eve"])
    harness.new_messages(ada), harness.new_messages(bo)
    for user_id in ("carl", "eve", "dora"):
        harness.service.announce(user_id, True)
    harness.clock.run_soon()
    assert statuses(harness.new_messages(ada)) == [("carl", "online"), ("dora", "online")]
    assert statuses(harness.new_messages(bo)) == [("carl", "online"), ("eve", "online"), ("dora", "online")]
    assert classic.about_others() == [("USER_ONLINE", "carl"), ("USER_ONLINE", "dora")]


def test_a_batch_without_blocked_users_is_written_from_the_same_bytes(harness: GrantsHarness) -> None:
    """Blocks add no cost to a flush unless a blocked user changes."""
    for protocol in (False, True):
        ada, bo = harness.come("ada", classic=protocol, block=["eve"]), harness.come("bo", classic=protocol)
        harness.come("carl")
        assert ada.writes[-1] is bo.writes[-1]
        harness.service.disconnect("carl")
        harness.clock.run_soon()


def test_a_blocked_user_watched_by_id_looks_like_an_unknown_id(harness: GrantsHarness) -> None:
    ada = harness.come("ada", "watch=none", block=["eve"])
    harness.come("eve")
    harness.new_messages(ada)
    told = harness.send(ada, "WATCH", users=["eve", "nobody"])
    records = {user["userId"]: user for message in told for user in message.get("users", [])}
    assert {**records["eve"], "userId": ""} == {**records["nobody"], "userId": ""}
    harness.come("eve")
    assert harness.new_messages(ada) == []


def test_pages_of_a_snapshot_of_everyone_show_no_gap() -> None:
    harness = GrantsHarness("everyone", snapshot_page=10)
    for number in range(25):
        harness.come(f"u{number}", "watch=none")
    bo, ada = harness.come("bo"), harness.come("ada", block=["u3", "u20", "offline"])
    pages = {
        name: [[u["userId"] for u in m["users"]] for m in c.messages if m["type"] == "PRESENCE_SNAPSHOT"]
        for name, c in (("bo", bo), ("ada", ada))
    }
    assert [len(page) for page in pages["bo"]] == [10, 10, 6]
    assert [len(page) for page in pages["ada"]] == [10, 10, 5]
    seen = [user_id for page in pages["bo"] for user_id in page if user_id not in ("u3", "u20")]
    assert [user_id for page in pages["ada"] for user_id in page] == [*seen, "ada"]


def test_counts_exclude_blocked_users_and_are_not_sent_because_of_them(harness: GrantsHarness) -> None:
    ada = harness.come("ada", "watch=none", block=["eve"])
    harness.come("bo"), harness.come("eve")
    enter(harness, "eve"), enter(harness, "bo")
    harness.new_messages(ada)
    told = harness.send(ada, "WATCH", everyone=True, users=["bo", "eve"], rooms=["lobby"], mode="count")
    assert [(m["watch"], m["online"]) for m in told] == [("everyone", 2), ("users", 1), ("room", 1)]
    harness.service.disconnect("eve")
    harness.clock.advance(2)
    assert harness.new_messages(ada) == []
    enter(harness, "carl")
    harness.clock.advance(2)
    assert sorted((m["watch"], m["online"]) for m in harness.new_messages(ada)) == [("everyone", 3), ("room", 2)]


def test_rooms_exclude_blocked_members(harness: GrantsHarness) -> None:
    eve, bo = enter(harness, "eve"), enter(harness, "bo")
    ada = harness.come("ada", "watch=none", block=["eve"])
    assert rooms_received(harness.send(ada, "JOIN", room="lobby")) == [("ROOM_SNAPSHOT", 2, "full", ["ada", "bo"], [])]
    harness.send(eve, "SET_STATUS", status="busy")
    harness.send(eve, "SET_MEMBER", room="lobby", data=1)
    harness.send(eve, "LEAVE", room="lobby")
    harness.send(eve, "JOIN", room="lobby")
    assert harness.new_messages(ada) == []
    harness.send(bo, "LEAVE", room="lobby")
    assert rooms_received(harness.new_messages(ada)) == [("ROOM_CHANGES", 1, "full", [], ["bo"])]
    assert rooms_received(harness.new_messages(eve))[-1] == ("ROOM_CHANGES", 2, "full", [], ["bo"])


def test_the_mode_of_a_large_room_follows_the_visible_size() -> None:
    """A hidden member affects neither the mode nor whether names are sent."""
    harness = GrantsHarness("everyone", **SMALL_ROOMS)
    ada = harness.come("ada", "watch=none", block=["eve", "fred"])
    for user_id in ("eve", "fred", "bo", "carl"):
        enter(harness, user_id)
    harness.clock.advance(2)
    assert rooms_received(harness.send(ada, "WATCH", rooms=["lobby"])) == [
        ("ROOM_SNAPSHOT", 2, "full", ["bo", "carl"], [])
    ]
    enter(harness, "dora")
    harness.clock.advance(2)
    assert rooms_received(harness.new_messages(ada)) == [("ROOM_CHANGES", 3, "coalesced", ["dora"], [])]
    harness.service.disconnect("eve")
    harness.clock.advance(2)
    assert harness.new_messages(ada) == []
    for user_id in ("gus", "hal"):
        enter(harness, user_id)
    harness.clock.advance(2)
    assert rooms_received(harness.new_messages(ada)) == [("ROOM_CHANGES", 5, "counts", [], [])]
    assert rooms_received(harness.send(ada, "WATCH", rooms=["lobby"])) == [("ROOM_SNAPSHOT", 5, "counts", [], [])]
    harness.service.disconnect("fred")
    harness.clock.advance(2)
    assert harness.new_messages(ada) == []


def test_a_blocked_member_does_not_fill_a_room_for_the_viewer() -> None:
    harness = GrantsHarness("everyone", room_members=2)
    enter(harness, "bo"), enter(harness, "eve")
    (refused, *_) = harness.send(harness.come("carl", "watch=none"), "JOIN", room="lobby", id=1)[-1:]
    assert refused["name"] == "ROOM_FULL"
    ada = harness.come("ada", "watch=none", block=["eve"])
    assert rooms_received(harness.send(ada, "JOIN", room="lobby")) == [("ROOM_SNAPSHOT", 2, "full", ["ada", "bo"], [])]
    other = harness.come("other", "watch=none", block=["eve"])
    assert [m["name"] for m in harness.send(other, "JOIN", room="lobby") if m["type"] == "ERROR"] == ["ROOM_FULL"]


def test_a_newer_token_blocks_others(harness: GrantsHarness) -> None:
    ada = harness.come("ada", block=["eve"])
    harness.come("bo"), harness.come("eve"), enter(harness, "eve"), enter(harness, "bo")
    harness.send(ada, "WATCH", rooms=["lobby"])
    harness.new_messages(ada)
    told = harness.send(ada, "AUTH", token=token("ada", block=["bo"]), id=1)
    assert told[0] == {"type": "ACK", "id": 1}
    assert {user_id for user_id, _ in statuses(told)} == {"ada", "eve"}
    assert rooms_received(told) == [("ROOM_SNAPSHOT", 1, "full", ["eve"], [])]
    harness.service.disconnect("bo")
    harness.service.disconnect("eve")
    harness.clock.run_soon()
    assert {user_id for user_id, _ in statuses(harness.new_messages(ada))} == {"eve"}


def test_a_classic_client_s_newer_token_blocks_others(harness: GrantsHarness) -> None:
    ada = harness.come("ada", classic=True, block=["eve"])
    harness.node.received(ada, json.encode({"type": "AUTH", "token": token("ada", block=["bo"])}).decode())
    harness.come("bo"), harness.come("eve")
    assert ada.about_others() == [("USER_ONLINE", "eve")]


def test_a_newer_token_applies_to_messages_not_yet_sent(harness: GrantsHarness) -> None:
    """Pages that wait for a slow client are encoded when they are sent. The older token must not apply to them."""
    harness = GrantsHarness("everyone", snapshot_page=1)
    eve = enter(harness, "eve")
    enter(harness, "bo")
    ada = harness.come("ada", "watch=none")
    harness.new_messages(ada)
    ada.write_when_paused, ada.full_after = True, 1
    ada.on_full = lambda: harness.node.paused(ada)
    assert len(rooms_received(harness.send(ada, "WATCH", rooms=["lobby"]))) == 1, "one of two pages"
    harness.send(ada, "AUTH", token=token("ada", block=["eve"]), id=1)
    harness.send(eve, "SET_STATUS", status="busy", text="a secret")
    ada.paused = False
    harness.node.resumed(ada)
    told = harness.new_messages(ada)
    assert all(one == ("ROOM_SNAPSHOT", 1, "full", ["bo"], []) for one in rooms_received(told))
    assert "secret" not in str(told)


def test_a_session_resumed_with_other_blocks_receives_everything_again(harness: GrantsHarness) -> None:
    harness.come("bo"), harness.come("eve"), enter(harness, "eve")
    ada = harness.come("ada", block=["bo"])
    harness.send(ada, "WATCH", rooms=["lobby"])
    session, at = ada.messages[0]["sessionId"], position(ada)
    harness.end(ada, Ending.LOST)
    back = harness.come("ada", f"session={session}&position={at}", block=["eve"])
    told = harness.new_messages(back)
    assert told[0]["resumed"] is False
    assert {user_id for user_id, _ in statuses(told)} == {"ada", "bo"}
    assert rooms_received(told) == [("ROOM_SNAPSHOT", 0, "full", [], [])]


def test_a_session_resumed_with_the_same_blocks_receives_the_missed_changes(harness: GrantsHarness) -> None:
    ada = harness.come("ada", block=["eve"])
    session, at = harness.new_messages(ada)[0]["sessionId"], position(ada)
    harness.end(ada, Ending.LOST)
    harness.come("bo"), harness.come("eve")
    told = harness.new_messages(harness.come("ada", f"session={session}&position={at}", block=["eve"]))
    assert told[0]["resumed"] is True
    assert types(told[1:]) == ["SELF", "PRESENCE_CHANGES"]
    assert {user_id for user_id, _ in statuses(told)} == {"bo"}


def test_a_closed_connection_frees_its_blocks(harness: GrantsHarness) -> None:
    ada, other = harness.come("ada", block=["eve"]), harness.come("ada", classic=True, block=["eve"])
    harness.node.received(other, json.encode({"type": "AUTH", "token": token("ada", block=["bo"])}).decode())
    harness.send(ada, "AUTH", token=token("ada", block=["bo"]))
    new, old = v1(harness.node).feed, classic(harness.node).feed
    assert (set(new._blocking.subscribers_of("bo")), set(old._blocking.subscribers_of("bo"))) == ({ada}, {other})
    harness.end(ada, Ending.CLOSED)
    harness.end(other, Ending.CLOSED)
    assert (new._blocking._by_user, new._blockers, old._blocking._by_user) == ({}, set(), {})


@pytest.mark.parametrize("rule", ["everyone", "rooms", "claims", "callback"])
def test_a_user_cannot_block_themselves_and_other_blocks_hold_for_any_visibility(rule: str) -> None:
    settings = Settings.model_validate({"auth": "ticket", "visibility": rule, "visibility_url": "http://h/"})
    visibility = visibility_of(settings, with_grants(Principal("7"), {"watch": ["bo", "eve"], "block": [7, "eve"]}))
    assert visibility.blocked == {"eve"}
    assert visibility.sees("7")
    assert not visibility.sees("eve")
    assert "eve" not in visibility.users


def test_a_viewer_without_blocks_shares_the_bytes_of_others() -> None:
    settings = Settings(auth="ticket")
    assert visibility_of(settings, with_grants(Principal("ada"), {"block": []})) is EVERYTHING
    assert visibility_of(settings, with_grants(Principal("ada"), {"block": ["ada"]})) is EVERYTHING


def test_a_hook_adds_to_the_token_s_blocks() -> None:
    """A backend may name blocks in either place. A list that omits a user does not lift the block of the other."""
    by_token, by_hook = (with_grants(Principal("ada"), {"block": [name]}) for name in ("bo", "eve"))
    assert merge_grants(by_token, by_hook).block == {"bo", "eve"}


@pytest.mark.parametrize("block", ["eve", ["a\nb"], [True], ["x"] * (MAX_BLOCKED_USERS + 1), None])
def test_invalid_blocks_are_refused(block: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_grants(Principal("ada"), {"block": block})


def test_a_blocked_member_does_not_hold_the_mode_of_a_room() -> None:
    harness = GrantsHarness("everyone", room_coalesced=5)
    for user_id in ("bo", "carl", "dora", "fred", "eve"):
        enter(harness, user_id)
    for block, seen in (["eve"], (4, "full")), ([], (5, "coalesced")):
        ada = harness.come("ada", "watch=none", block=block)
        [(_, count, mode, _, _)] = rooms_received(harness.send(ada, "WATCH", rooms=["lobby"]))
        assert (count, mode) == seen


def test_changes_before_a_newer_token_are_sent_by_the_older_one(harness: GrantsHarness) -> None:
    ada, classic = harness.come("ada", block=["eve"]), harness.come("ada", classic=True, block=["eve"])
    harness.new_messages(ada)
    for user_id in ("eve", "carl"):
        harness.service.announce(user_id, True)
    message = json.encode({"type": "AUTH", "token": token("ada", block=["carl"])}).decode()
    for watcher in (ada, classic):
        harness.node.received(watcher, message)
    harness.clock.run_soon()
    assert statuses(harness.new_messages(ada))[0] == ("carl", "online")
    assert classic.about_others() == [("USER_ONLINE", "carl")]
