"""Visibility: which users and rooms a session may see, decided in one place."""

from presenced.presence.visibility import EVERYTHING, Visibility


def test_rooms_may_be_entered_unless_the_token_names_others() -> None:
    assert EVERYTHING.may_enter("lobby")
    assert Visibility(True, rooms=frozenset({"bar"})).may_enter("bar")
    assert not Visibility(True, rooms=frozenset({"bar"})).may_enter("lobby")
