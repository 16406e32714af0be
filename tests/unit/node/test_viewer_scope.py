"""View of one viewer: lists and counts agree, for any visibility and blocks of the sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.grants_harness import GrantsHarness

from presenced.node.service import PresenceService
from presenced.node.viewer_scope import ViewerScope
from presenced.presence.model import Change
from presenced.presence.visibility import Visibility

pytestmark = pytest.mark.anyio

OTHERS = ("bo", "carl", "dee", "eve", "7")
ROOMS = ("lobby", "cellar")


async def counted_and_listed(harness: GrantsHarness, viewer: str) -> tuple[int, list[int | str]]:
    service = PresenceService(harness.node)
    scope = service.scope_of(viewer or None)
    listed = [change.user_id for _, change in service.online(0, 1000) if scope.sees(change.user_id)]
    return await scope.count_online(), sorted(listed)


async def test_invisible_users_are_not_counted() -> None:
    harness = GrantsHarness("everyone")
    harness.come("ada")
    before = [await counted_and_listed(harness, viewer) for viewer in ("", "ada", "nobody")]
    hidden = harness.come("eve", "status=invisible")
    harness.send(hidden, "JOIN", room="lobby")
    assert [await counted_and_listed(harness, viewer) for viewer in ("", "ada", "nobody")] == before
    counts = PresenceService(harness.node).counts()
    assert (counts.connected_users, counts.rooms) == (2, 0), "the user is connected nevertheless"


async def test_an_invisible_viewer_continues_to_see_others_in_common_rooms() -> None:
    harness = GrantsHarness("rooms")
    ada, bo = harness.come("ada"), harness.come("bo")
    for connection in (ada, bo):
        harness.send(connection, "JOIN", room="lobby")
    harness.send(ada, "SET_STATUS", status="invisible")
    assert await counted_and_listed(harness, "ada") == (1, ["bo"])
    assert await counted_and_listed(harness, "bo") == (1, ["bo"])


async def test_blocked_users_are_not_counted_in_rooms_either() -> None:
    harness = GrantsHarness("rooms")
    for connection in (harness.come("ada", block=["eve"]), harness.come("bo"), harness.come("eve")):
        harness.send(connection, "JOIN", room="lobby")
    assert await counted_and_listed(harness, "ada") == (2, ["ada", "bo"])
    assert await counted_and_listed(harness, "bo") == (3, ["ada", "bo", "eve"])


MEMBERS = {"ada": ("lobby",), "bob": ("lobby", "bar"), "eve": ("bar",)}


def scope(viewer: str, *parts: Visibility) -> ViewerScope:
    """Return what a viewer with these sessions may see, where `MEMBERS` says who is in which room."""
    harness = GrantsHarness("everyone")
    for user_id, names in MEMBERS.items():
        connection = harness.come(user_id, "watch=none")
        for name in names:
            harness.send(connection, "JOIN", room=name)
    node = harness.node
    return ViewerScope(viewer, parts, node.directory.users, node.rooms, with_causes=False)


def test_a_viewer_sees_every_user_that_any_of_their_sessions_may_see() -> None:
    viewer = scope("zoe", Visibility(False, frozenset({"ada"})), Visibility(False, frozenset({"bob"})))
    assert [name for name in ("ada", "bob", "eve", "zoe") if viewer.sees(name)] == ["ada", "bob", "zoe"]


def test_users_who_share_a_room_see_each_other_unless_every_session_blocks_them() -> None:
    narrow = Visibility(False)
    assert scope("ada", narrow).sees("bob")
    assert not scope("ada", narrow).sees("eve")
    blocking = Visibility(False, blocked=frozenset({"bob"}))
    assert not scope("ada", blocking).sees("bob")
    assert scope("ada", blocking, narrow).sees("bob")


def test_a_blocked_user_is_seen_if_another_session_may_see_everyone() -> None:
    both = scope(
        "zoe",
        Visibility(True, blocked=frozenset({"bob", "eve"})),
        Visibility(True, blocked=frozenset({"eve"})),
    )
    assert both.sees("bob")
    assert not both.sees("eve")
    assert both.blocked == frozenset({"eve"})


def test_rooms_may_be_entered_if_any_session_may() -> None:
    viewer = scope("zoe", Visibility(True, rooms=frozenset({"bar"})), Visibility(True, rooms=frozenset()))
    assert viewer.room("bar")
    assert viewer.room("lobby") is None


some = st.lists(st.sampled_from([*OTHERS, "ada"]), unique=True)
sessions = st.lists(
    st.fixed_dictionaries({}, optional={"watch": st.one_of(some, st.just("*")), "block": some}), max_size=3
)


@settings(max_examples=150)
@given(st.sampled_from(["everyone", "rooms", "claims"]), sessions, st.data())
def test_the_count_equals_the_number_of_listed_users(
    visibility: str, of_ada: list[dict[str, Any]], data: st.DataObject
) -> None:
    harness = GrantsHarness(visibility)
    people = [harness.come("ada", **presence) for presence in of_ada]
    for user_id in data.draw(some):
        query = data.draw(st.sampled_from(["", "status=busy", "status=invisible"]))
        people.append(harness.come(user_id, query))
    for connection in people:
        for room in data.draw(st.lists(st.sampled_from(ROOMS), unique=True)):
            harness.send(connection, "JOIN", room=room)
    for viewer in ("", "ada", "bo"):
        count, listed = asyncio.run(counted_and_listed(harness, viewer))
        assert count == len(listed), (viewer, listed)


async def test_a_hidden_user_looks_like_an_unknown_one() -> None:
    harness = GrantsHarness()
    harness.come("ada", watch=["bo", "nobody"])
    harness.come("bo"), harness.come("eve")
    service = PresenceService(harness.node)

    def seen(viewer: str | None) -> list[str | None]:
        def user_id(change: Change | None) -> str | None:
            return change.user_id if change else None

        return [user_id(change) for change in service.scope_of(viewer).last_changes(["ada", "bo", "eve", "nobody"])]

    assert seen(None) == ["ada", "bo", "eve", None]
    assert seen("ada") == ["ada", "bo", None, None]
    assert seen("nobody") == [None, None, None, None]
