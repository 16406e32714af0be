"""Roles in tokens: `causes` shows its bearer why others changed, and explanations list all roles."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.fakes import FakeConnection
from tests.support.grants_harness import GrantsHarness, token
from tests.support.node_harness import position, statuses, types

from presenced.presence.model import Ending

DESK: dict[str, Any] = {"roles": ["causes", "night shift"]}

NONE: dict[str, Any] = {}


@pytest.fixture
def harness() -> GrantsHarness:
    return GrantsHarness("everyone")


def causes(messages: list[dict[str, Any]], user_id: str = "ada") -> list[Any]:
    """Return the causes sent about a user, in order. None means that there was none."""
    records = [user for message in messages for user in message.get("users", [])]
    records += [member["presence"] for message in messages for member in message.get("members", [])]
    return [record.get("cause") for record in records if record["userId"] == user_id]


def test_only_viewers_with_the_role_receive_causes(harness: GrantsHarness) -> None:
    desk, bo = harness.come("desk", **DESK), harness.come("bo", roles=["night shift"])
    ada = harness.come("ada", "watch=none")
    harness.send(ada, "ACTIVITY", state="idle")
    harness.end(ada, Ending.CLOSED)
    assert causes(harness.new_messages(desk)) == ["connect", "idle", "close"]
    assert causes(harness.new_messages(bo)) == [None, None, None]
    assert statuses(desk.messages)[-3:] == statuses(bo.messages)[-3:]


def test_causes_are_in_snapshots_watched_users_rooms_and_resumptions(harness: GrantsHarness) -> None:
    ada = harness.come("ada", "watch=none")
    harness.send(ada, "JOIN", room="lobby")
    desk, bo = harness.come("desk", **DESK), harness.come("bo")
    for watcher, cause in (desk, "connect"), (bo, None):
        assert causes(harness.new_messages(watcher)) == [cause]
        assert causes(harness.send(watcher, "WATCH", rooms=["lobby"])) == [cause]
        harness.send(watcher, "UNWATCH", everyone=True)
        assert causes(harness.send(watcher, "WATCH", users=["ada"])) == [cause]
    harness.send(ada, "SET_MEMBER", room="lobby", data=1)
    assert (causes(harness.new_messages(desk)), causes(harness.new_messages(bo))) == (["connect"], [None])
    at = {name: (c.messages[0]["sessionId"], position(c)) for name, c in (("desk", desk), ("bo", bo))}
    for watcher in (desk, bo):
        harness.end(watcher, Ending.LOST)
    harness.send(ada, "ACTIVITY", state="idle")
    for name, more, cause in ("desk", DESK, "idle"), ("bo", NONE, None):
        session, before = at[name]
        back = harness.come(name, f"session={session}&position={before}", False, **more)
        assert "PRESENCE_SNAPSHOT" not in types(told := harness.new_messages(back)), "it was resumed"
        assert causes(told) == [cause]


def test_a_slow_client_catches_up_with_causes(harness: GrantsHarness) -> None:
    desk = harness.come("desk", **DESK)
    harness.new_messages(desk)
    desk.paused = True
    harness.node.paused(desk)
    ada = harness.come("ada")
    harness.send(ada, "ACTIVITY", state="idle")
    assert harness.new_messages(desk) == []
    desk.paused = False
    harness.node.resumed(desk)
    assert causes(harness.new_messages(desk)) == ["idle"]


def test_a_client_that_fills_up_while_it_is_written_to_receives_each_change_once(harness: GrantsHarness) -> None:
    desk, bo = harness.come("desk", **DESK), harness.come("bo")
    harness.new_messages(desk)
    desk.full_after, desk.on_full = 1, lambda: harness.node.paused(desk)
    harness.come("ada")  # a second write to `desk` would fail
    assert causes(harness.new_messages(desk)) == ["connect"]
    assert causes(harness.new_messages(bo)) == [None]


def test_coalesced_rooms_have_causes() -> None:
    harness = GrantsHarness("everyone", room_coalesced=2)
    desk, bo, blocker = (
        harness.come(name, "watch=none", False, **more)
        for name, more in (("desk", DESK), ("bo", NONE), ("zoe", {**DESK, "block": ["carl"]}))
    )
    for watcher in (desk, bo, blocker):
        harness.send(watcher, "WATCH", rooms=["lobby"])
    members = [harness.come(name, "watch=none") for name in ("ada", "carl", "dora", "eve")]
    for member in members:
        harness.send(member, "JOIN", room="lobby")
    harness.clock.advance(2)
    for watcher in (desk, bo, blocker):
        harness.new_messages(watcher)
    harness.send(members[0], "ACTIVITY", state="idle")
    harness.clock.advance(2)
    assert [causes(harness.new_messages(watcher)) for watcher in (desk, bo, blocker)] == [["idle"], [None], ["idle"]]


def test_viewers_with_the_role_share_bytes_and_so_do_the_others(harness: GrantsHarness) -> None:
    entitled = [harness.come(f"desk{n}", **DESK) for n in range(2)]
    others = [harness.come(f"bo{n}") for n in range(2)]
    harness.come("ada")
    assert entitled[0].writes[-1] is entitled[1].writes[-1]
    assert others[0].writes[-1] is others[1].writes[-1]
    assert others[0].writes[-1] != entitled[0].writes[-1]


def test_a_user_who_became_invisible_looks_like_one_who_disconnected(harness: GrantsHarness) -> None:
    desk, ada = harness.come("desk", **DESK), harness.come("ada", "watch=none")
    harness.new_messages(desk)
    harness.send(ada, "SET_STATUS", status="invisible")
    harness.clock.advance(1)
    harness.send(ada, "SET_STATUS", status="auto")
    assert causes(harness.new_messages(desk)) == ["close", "connect"]


def test_a_newer_token_grants_or_revokes_the_role(harness: GrantsHarness) -> None:
    harness.come("ada", "watch=none")
    desk = harness.come("desk", **DESK)
    harness.new_messages(desk)
    assert causes(harness.send(desk, "AUTH", token=token("desk"))) == [None], "told everything again"
    assert causes(harness.send(desk, "AUTH", token=token("desk", **DESK))) == ["connect"]
    session, at = desk.messages[0]["sessionId"], position(desk)
    harness.end(desk, Ending.LOST)
    assert causes(harness.new_messages(harness.come("desk", f"session={session}&position={at}"))) == [None]


def test_another_role_changes_nothing(harness: GrantsHarness) -> None:
    desk = harness.come("desk", roles=["a"])
    harness.new_messages(desk)
    assert harness.send(desk, "AUTH", token=token("desk", roles=["b"]), id=1) == [{"type": "ACK", "id": 1}]


def test_with_show_causes_the_role_costs_nothing() -> None:
    harness = GrantsHarness("everyone", show_causes=True)
    desk, bo = harness.come("desk", **DESK), harness.come("bo")
    harness.come("ada")
    assert desk.writes[-1] is bo.writes[-1]
    assert causes(harness.new_messages(bo)) == ["connect"]


def test_the_role_reveals_no_hidden_user() -> None:
    harness = GrantsHarness("claims")
    desk: FakeConnection = harness.come("desk", watch=["bo"], **DESK)
    harness.come("ada")
    harness.come("bo")
    assert causes(harness.new_messages(desk)) == []
    assert causes(desk.messages, "bo") == ["connect"]


def test_an_explanation_names_the_viewers_roles(harness: GrantsHarness) -> None:
    harness.come("ada")
    harness.come("desk", **DESK), harness.come("desk", classic=True, roles=["admin"])
    explained = harness.service.explain("ada", "desk")
    assert explained.viewer
    assert explained.viewer.roles == ("admin", "causes", "night shift")
    unknown = harness.service.explain("ada", "nobody")
    assert unknown.viewer
    assert unknown.viewer.roles == ()
