"""Roles that a token names: `causes` tells its bearer why others changed; another one is shown to whoever explains."""

from __future__ import annotations

from typing import Any

import pytest
from tests.features.test_visibility import House, token
from tests.support.fakes import FakeConnection
from tests.support.talk import position, statuses, types

from presenced.presence.model import Ending

DESK: dict[str, Any] = {"roles": ["causes", "night shift"]}

NONE: dict[str, Any] = {}


@pytest.fixture
def house() -> House:
    return House("everyone")


def causes(messages: list[dict[str, Any]], user_id: str = "ada") -> list[Any]:
    """What was said of a user, in order; None: nothing."""
    records = [user for message in messages for user in message.get("users", [])]
    records += [member["presence"] for message in messages for member in message.get("members", [])]
    return [record.get("cause") for record in records if record["userId"] == user_id]


def test_only_viewers_with_the_role_receive_causes(house: House) -> None:
    desk, bo = house.come("desk", **DESK), house.come("bo", roles=["night shift"])
    ada = house.come("ada", "watch=none")
    house.say(ada, "ACTIVITY", state="idle")
    house.end(ada, Ending.CLOSED)
    assert causes(house.heard(desk)) == ["connect", "idle", "close"]
    assert causes(house.heard(bo)) == [None, None, None]
    assert statuses(desk.messages)[-3:] == statuses(bo.messages)[-3:]


def test_causes_are_in_snapshots_watched_users_rooms_and_resumptions(house: House) -> None:
    ada = house.come("ada", "watch=none")
    house.say(ada, "JOIN", room="lobby")
    desk, bo = house.come("desk", **DESK), house.come("bo")
    for watcher, cause in (desk, "connect"), (bo, None):
        assert causes(house.heard(watcher)) == [cause]
        assert causes(house.say(watcher, "WATCH", rooms=["lobby"])) == [cause]
        house.say(watcher, "UNWATCH", everyone=True)
        assert causes(house.say(watcher, "WATCH", users=["ada"])) == [cause]
    house.say(ada, "SET_MEMBER", room="lobby", data=1)
    assert (causes(house.heard(desk)), causes(house.heard(bo))) == (["connect"], [None])
    at = {name: (c.messages[0]["sessionId"], position(c)) for name, c in (("desk", desk), ("bo", bo))}
    for watcher in (desk, bo):
        house.end(watcher, Ending.LOST)
    house.say(ada, "ACTIVITY", state="idle")
    for name, more, cause in ("desk", DESK, "idle"), ("bo", NONE, None):
        session, before = at[name]
        back = house.come(name, f"session={session}&position={before}", False, **more)
        assert "PRESENCE_SNAPSHOT" not in types(told := house.heard(back)), "it was resumed"
        assert causes(told) == [cause]


def test_a_slow_client_catches_up_with_causes(house: House) -> None:
    desk = house.come("desk", **DESK)
    house.heard(desk)
    desk.paused = True
    house.node.paused(desk)
    ada = house.come("ada")
    house.say(ada, "ACTIVITY", state="idle")
    assert house.heard(desk) == []
    desk.paused = False
    house.node.resumed(desk)
    assert causes(house.heard(desk)) == ["idle"]


def test_coalesced_rooms_have_causes() -> None:
    house = House("everyone", room_coalesced=2)
    desk, bo, blocker = (
        house.come(name, "watch=none", False, **more)
        for name, more in (("desk", DESK), ("bo", NONE), ("zoe", {**DESK, "block": ["carl"]}))
    )
    for watcher in (desk, bo, blocker):
        house.say(watcher, "WATCH", rooms=["lobby"])
    members = [house.come(name, "watch=none") for name in ("ada", "carl", "dora", "eve")]
    for member in members:
        house.say(member, "JOIN", room="lobby")
    house.clock.advance(2)
    for watcher in (desk, bo, blocker):
        house.heard(watcher)
    house.say(members[0], "ACTIVITY", state="idle")
    house.clock.advance(2)
    assert [causes(house.heard(watcher)) for watcher in (desk, bo, blocker)] == [["idle"], [None], ["idle"]]


def test_viewers_with_the_role_share_bytes_and_so_do_the_others(house: House) -> None:
    entitled = [house.come(f"desk{n}", **DESK) for n in range(2)]
    others = [house.come(f"bo{n}") for n in range(2)]
    house.come("ada")
    assert entitled[0].writes[-1] is entitled[1].writes[-1]
    assert others[0].writes[-1] is others[1].writes[-1]
    assert others[0].writes[-1] != entitled[0].writes[-1]


def test_a_user_who_became_invisible_looks_like_one_who_disconnected(house: House) -> None:
    desk, ada = house.come("desk", **DESK), house.come("ada", "watch=none")
    house.heard(desk)
    house.say(ada, "SET_STATUS", status="invisible")
    house.clock.advance(1)
    house.say(ada, "SET_STATUS", status="auto")
    assert causes(house.heard(desk)) == ["close", "connect"]


def test_a_newer_token_grants_or_revokes_the_role(house: House) -> None:
    house.come("ada", "watch=none")
    desk = house.come("desk", **DESK)
    house.heard(desk)
    assert causes(house.say(desk, "AUTH", token=token("desk"))) == [None], "told everything again"
    assert causes(house.say(desk, "AUTH", token=token("desk", **DESK))) == ["connect"]
    session, at = desk.messages[0]["sessionId"], position(desk)
    house.end(desk, Ending.LOST)
    assert causes(house.heard(house.come("desk", f"session={session}&position={at}"))) == [None]


def test_another_role_changes_nothing(house: House) -> None:
    desk = house.come("desk", roles=["a"])
    house.heard(desk)
    assert house.say(desk, "AUTH", token=token("desk", roles=["b"]), id=1) == [{"type": "ACK", "id": 1}]


def test_with_show_causes_the_role_costs_nothing() -> None:
    house = House("everyone", show_causes=True)
    desk, bo = house.come("desk", **DESK), house.come("bo")
    house.come("ada")
    assert desk.writes[-1] is bo.writes[-1]
    assert causes(house.heard(bo)) == ["connect"]


def test_the_role_reveals_no_hidden_user() -> None:
    house = House("claims")
    desk: FakeConnection = house.come("desk", watch=["bo"], **DESK)
    house.come("ada")
    house.come("bo")
    assert causes(house.heard(desk)) == []
    assert causes(desk.messages, "bo") == ["connect"]


def test_an_explanation_names_the_viewers_roles(house: House) -> None:
    house.come("ada")
    house.come("desk", **DESK), house.come("desk", classic=True, roles=["admin"])
    explained = house.application.explain("ada", "desk")
    assert explained.viewer
    assert explained.viewer.roles == ("admin", "causes", "night shift")
    unknown = house.application.explain("ada", "nobody")
    assert unknown.viewer
    assert unknown.viewer.roles == ()
