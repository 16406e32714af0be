"""Rooms: memberships, missed changes, and modes."""

from itertools import count

import pytest

from presenced.presence.rooms import MAX_FORMER_MEMBERS, Mode, RoomChange, Rooms, Thresholds
from presenced.presence.session import MemberData, Session
from presenced.presence.subscriptions import Subscription
from presenced.presence.user import User
from presenced.presence.visibility import Visibility
from presenced.runtime.instant import Instant

NOW = Instant(0.0, 1_704_110_400_000)


@pytest.fixture
def rooms() -> Rooms:
    positions = count(1)
    return Rooms(Thresholds(coalesced=10, counts=20), max_members=30, next_position=lambda: next(positions))


def summary(changes: list[RoomChange]) -> list[tuple[int, str, str, bytes | None]]:
    return [(c.position, c.room, c.user_id, c.member.data if c.member else None) for c in changes]


def test_memberships_follow_the_wanted_rooms(rooms: Rooms) -> None:
    assert summary(rooms.update("ada", {"lobby": b"1"}, NOW)) == [(1, "lobby", "ada", b"1")]
    assert rooms.update("ada", {"lobby": b"1"}, NOW) == []
    assert summary(rooms.update("ada", {"lobby": b"2", "bar": b""}, NOW)) == [
        (2, "lobby", "ada", b"2"),
        (3, "bar", "ada", b""),
    ]
    assert set(rooms.of("ada")) == {"lobby", "bar"}
    assert summary(rooms.update("ada", {"bar": b""}, NOW)) == [(4, "lobby", "ada", None)]
    assert summary(rooms.update("ada", {}, NOW)) == [(5, "bar", "ada", None)]
    assert (rooms.of("ada"), rooms.get("bar"), rooms._rooms, rooms._of_user) == ((), None, {}, {})


def test_other_data_does_not_make_a_new_member(rooms: Rooms) -> None:
    rooms.update("ada", {"lobby": b"1"}, NOW)
    [change] = rooms.update("ada", {"lobby": b"2"}, Instant(5.0, NOW.epoch_ms + 5000))
    assert change.member
    assert change.member.joined_ms == NOW.epoch_ms


def test_since_a_position_each_member_appears_once(rooms: Rooms) -> None:
    rooms.update("ada", {"lobby": b""}, NOW)  # 1
    rooms.update("bob", {"lobby": b""}, NOW)  # 2
    rooms.update("ada", {"lobby": b"x"}, NOW)  # 3
    rooms.update("bob", {}, NOW)  # 4
    room = rooms.get("lobby")
    assert room

    def since(position: int) -> tuple[list[str], list[str]]:
        found = room.since(position)
        assert found is not None
        return [member.user_id for member in found[0]], found[1]

    assert since(0) == (["ada"], ["bob"])
    assert since(2) == (["ada"], ["bob"])
    assert since(3) == ([], ["bob"])
    assert since(4) == ([], [])
    rooms.update("bob", {"lobby": b""}, NOW)
    assert since(3) == (["bob"], []), "who is back has not left"


def test_a_new_room_knows_nothing_about_an_earlier_one_of_the_same_name(rooms: Rooms) -> None:
    rooms.update("ada", {"lobby": b""}, NOW)
    rooms.update("ada", {}, NOW)
    rooms.update("bob", {"lobby": b""}, NOW)
    room = rooms.get("lobby")
    assert room
    assert room.since(1) is None, "it would not be told that ada left"
    assert room.since(2) is not None


def test_former_members_are_bounded(rooms: Rooms) -> None:
    rooms.update("host", {"lobby": b""}, NOW)
    for number in range(MAX_FORMER_MEMBERS + 5):
        rooms.update(str(number), {"lobby": b""}, NOW)
        rooms.update(str(number), {}, NOW)
    room = rooms.get("lobby")
    assert room
    assert len(room.left) == MAX_FORMER_MEMBERS
    assert room.since(1) is None
    assert room.since(room.floor) is not None


def test_the_mode_follows_the_size_and_does_not_flap(rooms: Rooms) -> None:
    modes = []
    for number in range(20):
        rooms.update(str(number), {"lobby": b""}, NOW)
        room = rooms.get("lobby")
        assert room
        modes.append(room.mode)
    assert modes == [Mode.FULL] * 9 + [Mode.COALESCED] * 10 + [Mode.COUNTS]
    assert room
    for number in range(4):
        rooms.update(str(number), {}, NOW)
        assert room.mode is Mode.COUNTS, f"{len(room.members)} members"
    rooms.update("4", {}, NOW)
    assert room.mode is Mode.COALESCED
    for number in range(5, 12):
        rooms.update(str(number), {}, NOW)
        assert room.mode is Mode.COALESCED, f"{len(room.members)} members"
    rooms.update("12", {}, NOW)
    assert str(room.mode) == "full"


def test_nobody_can_join_a_full_room(rooms: Rooms) -> None:
    for number in range(30):
        assert rooms.has_place("lobby", str(number))
        rooms.update(str(number), {"lobby": b""}, NOW)
    assert not rooms.has_place("lobby", "30")
    assert rooms.has_place("lobby", "7"), "who is in it already"
    assert rooms.has_place("bar", "30")


def test_a_room_is_occupied_by_its_first_member_and_vacated_by_its_last(rooms: Rooms) -> None:
    changes = [
        *rooms.update("ada", {"lobby": b""}, NOW),
        *rooms.update("bob", {"lobby": b""}, NOW),
        *rooms.update("ada", {"lobby": b"x"}, NOW),
        *rooms.update("ada", {}, NOW),
        *rooms.update("bob", {}, NOW),
        *rooms.update("eve", {"lobby": b""}, NOW),
    ]
    assert [change.occupied for change in changes] == [True, None, None, None, False, True]


def test_a_session_joins_updates_and_leaves_rooms(rooms: Rooms) -> None:
    phone, laptop = (Session("ada", name, name, "", Subscription()) for name in ("phone", "laptop"))
    rooms.join(phone, "lobby", b"1", NOW)
    rooms.join(laptop, "lobby", b"2", NOW)
    rooms.join(laptop, "bar", b"", NOW)
    user: User[str] = User("ada")
    for session in (phone, laptop):
        user.add(session)
    assert user.rooms() == {"lobby": b"2", "bar": b""}, "the data that was given last"
    rooms.join(phone, "lobby", b"3", NOW)
    assert user.rooms() == {"lobby": b"3", "bar": b""}
    rooms.leave(phone, "lobby")
    assert user.rooms() == {"lobby": b"2", "bar": b""}, "in it with the other session"
    rooms.leave_forbidden(laptop, Visibility(everyone=True, rooms=frozenset({"bar"})))
    assert user.rooms() == {"bar": b""}


def test_sessions_on_two_nodes_that_set_data_at_the_same_time_show_the_same_on_both() -> None:
    def session(data: bytes) -> Session[str]:
        return Session("ada", data.decode(), "phone", "", Subscription(), rooms={"lobby": MemberData(7, data)})

    for order in ((b"1", b"2"), (b"2", b"1")):
        user: User[str] = User("ada")
        for data in order:
            user.add(session(data))
        assert user.rooms() == {"lobby": b"2"}


def test_rooms_come_in_the_order_of_their_first_members(rooms: Rooms) -> None:
    for name in ("lobby", "bar", "attic", "cellar"):
        rooms.update(f"keeper of {name}", {name: b""}, NOW)
    rooms.update("keeper of bar", {}, NOW)
    first = rooms.after(0, 2)
    assert [room.name for room in first] == ["lobby", "attic"]
    rooms.update("keeper of attic", {}, NOW)
    rooms.update("keeper of bar", {"bar": b""}, NOW)
    assert [room.name for room in rooms.after(first[-1].number, 10)] == ["cellar", "bar"], "bar is a new room"
    assert rooms.after(rooms.after(0, 10)[-1].number, 10) == []
