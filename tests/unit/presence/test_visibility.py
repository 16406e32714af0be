"""Visibility: which users a viewer may see, decided in one place."""

from collections.abc import Iterable

from presenced.presence.visibility import EVERYTHING, ViewerVisibility, Visibility

ROOMS = {"ada": ("lobby",), "bob": ("lobby", "bar"), "eve": ("bar",)}


def rooms_of(user_id: str) -> Iterable[str]:
    return ROOMS.get(user_id, ())


def test_a_viewer_sees_every_user_that_any_of_their_sessions_may_see() -> None:
    viewer = ViewerVisibility(
        "zoe", [Visibility(False, frozenset({"ada"})), Visibility(False, frozenset({"bob"}))], rooms_of
    )
    assert [name for name in ("ada", "bob", "eve", "zoe") if viewer.may_see(name)] == ["ada", "bob", "zoe"]
    assert (viewer.named, viewer.blocked_by_widest) == ({"ada", "bob", "zoe"}, None)


def test_users_who_share_a_room_see_each_other_unless_every_session_blocks_them() -> None:
    narrow = Visibility(False)
    assert ViewerVisibility("ada", [narrow], rooms_of).may_see("bob")
    assert not ViewerVisibility("ada", [narrow], rooms_of).may_see("eve")
    blocking = Visibility(False, blocked=frozenset({"bob"}))
    assert not ViewerVisibility("ada", [blocking], rooms_of).may_see("bob")
    assert ViewerVisibility("ada", [blocking, narrow], rooms_of).may_see("bob")


def test_a_blocked_user_is_seen_if_another_session_may_see_everyone() -> None:
    blocking = Visibility(True, blocked=frozenset({"bob", "eve"}))
    both = ViewerVisibility("zoe", [blocking, Visibility(True, blocked=frozenset({"eve"}))], rooms_of)
    assert both.may_see("bob")
    assert not both.may_see("eve")
    assert (both.blocked, both.blocked_by_widest) == (frozenset({"eve"}), frozenset({"eve"}))


def test_rooms_may_be_entered_if_any_session_may() -> None:
    viewer = ViewerVisibility(
        "zoe", [Visibility(True, rooms=frozenset({"bar"})), Visibility(True, rooms=frozenset())], rooms_of
    )
    assert viewer.may_enter("bar")
    assert not viewer.may_enter("lobby")
    assert EVERYTHING.may_enter("lobby")
