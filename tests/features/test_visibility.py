"""Who may not see a user learns nothing about them, by any route (attack A13): to such a viewer the world looks exactly
as if the hidden users had never been.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, json
from tests.support.examples import examples
from tests.support.fakes import FakeConnection
from tests.support.talk import Talk, position, statuses

from presenced.auth.authenticator import Answer, Answered
from presenced.auth.grants import Allowed, visibility_of, with_allowed
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.node.service import PresenceService
from presenced.presence.model import Ending
from presenced.runtime.instant import Instant


class Guard:
    """Tokens are JSON: `{"sub": "ada", "presence": {...}}`."""

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer:
        claims = json.decode(token)
        principal = Principal(claims["sub"], None, token)
        return with_allowed(principal, claims["presence"]) if "presence" in claims else principal


def token(user_id: str, **presence: Any) -> str:
    return json.encode({"sub": user_id, **({"presence": presence} if presence else {})}).decode()


class House(Talk):
    def __init__(self, visibility: str = "claims", **more: object) -> None:
        super().__init__(Guard(), auth="ticket", visibility=visibility, **more)
        self.application = PresenceService(self.node)

    def come(self, user_id: str, query: str = "", classic: bool = False, **presence: Any) -> FakeConnection:
        return self.open(query, "" if classic else "presenced.v1", token(user_id, **presence))


ADA: dict[str, Any] = {"watch": ["bo", "carl"], "rooms": ["lobby"]}


@pytest.fixture
def house() -> House:
    return House()


def test_changes_reach_only_those_who_may_see_them(house: House) -> None:
    ada, classic = house.come("ada", **ADA), house.come("ada", classic=True, **ADA)
    house.heard(ada)
    bo, eve = house.come("bo"), house.come("eve")
    assert statuses(house.heard(ada)) == [("bo", "online")]
    assert classic.told() == [("USER_ONLINE", "bo")]
    house.say(eve, "SET_STATUS", status="busy")
    house.end(eve, Ending.CLOSED)
    house.end(bo, Ending.CLOSED)
    assert statuses(house.heard(ada)) == [("bo", "offline")]
    assert classic.told() == [("USER_ONLINE", "bo"), ("USER_OFFLINE", "bo")]
    assert statuses(house.heard(house.come("zoe", watch="*"))) == [("ada", "online"), ("zoe", "online")]


def test_who_names_nobody_sees_themselves_only(house: House) -> None:
    house.come("bo")
    ada = house.come("ada")
    assert statuses(house.heard(ada)) == [("ada", "online")]


def test_snapshots_and_watch_lists(house: House) -> None:
    house.come("bo"), house.come("eve")
    ada = house.come("ada", **ADA)
    assert sorted(statuses(house.heard(ada))) == [("ada", "online"), ("bo", "online")]
    house.say(ada, "UNWATCH", everyone=True)
    told = house.say(ada, "WATCH", users=["bo", "eve", "nobody"], id=1)
    assert sorted(statuses(told)) == [("bo", "online"), ("eve", "offline"), ("nobody", "offline")]
    records = {user["userId"]: user for message in told for user in message.get("users", [])}
    assert {**records["eve"], "userId": ""} == {**records["nobody"], "userId": ""}, "not to be told apart"
    house.come("eve")
    assert house.heard(ada) == []


def test_counts(house: House) -> None:
    ada = house.come("ada", "watch=none", **ADA)
    for user_id in ("bo", "eve", "fred"):
        house.come(user_id)
    house.heard(ada)
    (count,) = [m for m in house.say(ada, "WATCH", everyone=True, mode="count") if m["type"] == "PRESENCE_COUNT"]
    assert count["online"] == 2, "ada and bo"
    counts = house.say(ada, "WATCH", users=["bo", "eve"], mode="count")
    assert [m["online"] for m in counts if m.get("watch") == "users"] == [1]
    house.come("carl")
    house.come("gus")
    house.clock.advance(2)
    told = [m for m in house.heard(ada) if m["type"] == "PRESENCE_COUNT"]
    assert [(m["watch"], m["online"]) for m in told] == [("everyone", 3), ("users", 1)]


def test_rooms_are_entered_by_those_allowed_and_show_who_is_there(house: House) -> None:
    ada, eve = house.come("ada", **ADA), house.come("eve", rooms=["lobby", "den"])
    house.say(eve, "JOIN", room="den")
    house.heard(ada)
    for type_ in ("JOIN", "WATCH"):
        fields = {"room": "den"} if type_ == "JOIN" else {"rooms": ["den"]}
        (refused,) = house.say(ada, type_, **fields, id=1)
        assert (refused["type"], refused["name"]) == ("ERROR", "NOT_ALLOWED")
        (same,) = house.say(ada, type_, **{k: "nowhere" if k == "room" else ["nowhere"] for k in fields}, id=1)
        assert same == {**refused, "message": refused["message"].replace("den", "nowhere")}
    assert house.heard(ada) == []
    house.say(ada, "JOIN", room="lobby")
    house.say(eve, "JOIN", room="lobby")
    (joined,) = [m for m in house.heard(ada) if m["type"] == "ROOM_CHANGES"]
    assert joined["members"][0]["userId"] == "eve", "who is in a room is seen there"


def test_by_shared_rooms_alone() -> None:
    house = House("rooms")
    ada, bo = house.come("ada", watch=["bo"]), house.come("bo")
    house.come("eve")
    assert statuses(house.heard(ada)) == [("ada", "online")]
    house.say(ada, "JOIN", room="lobby")
    house.say(bo, "JOIN", room="lobby")
    house.heard(ada)
    house.say(bo, "SET_STATUS", status="busy")
    assert statuses(house.heard(ada)) == [("bo", "busy")]
    house.say(bo, "LEAVE", room="lobby")
    house.heard(ada)
    house.say(bo, "SET_STATUS", status="away")
    assert statuses(house.heard(ada)) == []


def test_where_everyone_is_seen_rooms_may_be_limited_all_the_same() -> None:
    house = House("everyone")
    ada = house.come("ada", rooms=["lobby"])
    house.heard(ada)
    house.come("eve")
    assert statuses(house.heard(ada)) == [("eve", "online")]
    assert house.say(ada, "JOIN", room="den")[0]["name"] == "NOT_ALLOWED"


def test_a_newer_token_shows_more_or_less(house: House) -> None:
    house.come("bo"), house.come("eve")
    ada = house.come("ada", **ADA)
    house.say(ada, "JOIN", room="lobby")
    house.heard(ada)
    told = house.say(ada, "AUTH", token=token("ada", watch=["eve"]), id=1)
    assert told[0] == {"type": "ACK", "id": 1}
    assert sorted(set(statuses(told))) == [("ada", "online"), ("eve", "online")]
    house.come("carl")
    assert statuses(house.heard(ada)) == [], "carl is not named any more"
    viewer = house.come("viewer", watch="*", rooms=["lobby"])
    house.heard(viewer)
    assert house.say(viewer, "WATCH", rooms=["lobby"])[-1]["members"] == [], "it may not be in the lobby any more"


def test_a_session_that_comes_back_with_another_token(house: House) -> None:
    house.come("bo"), house.come("eve")
    ada = house.come("ada", **ADA)
    house.say(ada, "JOIN", room="lobby")
    session, position = ada.messages[0]["sessionId"], [m["position"] for m in ada.messages if "position" in m][-1]
    house.end(ada, Ending.LOST)
    back = house.come("ada", f"session={session}&position={position}", watch=["eve"])
    told = house.heard(back)
    assert told[0]["resumed"] is False
    assert sorted(set(statuses(told))) == [("ada", "online"), ("eve", "online")]
    assert not any(m["type"] == "ROOM_SNAPSHOT" for m in told)


def test_a_slow_watcher_catches_up_with_what_it_may_see(house: House) -> None:
    ada, classic = house.come("ada", **ADA), house.come("ada", classic=True, **ADA)
    house.heard(ada)
    for watcher in (ada, classic):
        watcher.paused = True
        house.node.paused(watcher)
    house.come("bo"), house.come("eve")
    for watcher in (ada, classic):
        watcher.paused = False
        house.node.resumed(watcher)
    assert statuses(house.heard(ada)) == [("bo", "online")]
    assert classic.told() == [("USER_ONLINE", "bo")]


HIDDEN = ["eve", "fred"]
OTHERS = ["bo", *HIDDEN]
SEEING: dict[str, dict[str, Any]] = {
    "everyone": {"block": HIDDEN},
    "rooms": {"block": HIDDEN},
    "claims": {"block": HIDDEN, "watch": ["bo", "carl", "zed", *HIDDEN], "rooms": ["lobby", "den"]},
}
COMMON_STEPS = [
    st.tuples(st.just("come"), st.sampled_from(["bo", "carl"])),
    st.tuples(st.just("come hidden"), st.sampled_from(HIDDEN)),
    st.tuples(st.just("end"), st.sampled_from(["bo", "carl", *HIDDEN])),
    *(st.tuples(st.just(what), st.sampled_from(OTHERS)) for what in ("status", "watch", "count")),
    st.tuples(st.just("unwatch"), st.sampled_from(["everyone", *OTHERS])),
    st.tuples(st.sampled_from(["everyone", "count everyone", "wait"]), st.just("")),
    st.tuples(st.just("room"), st.sampled_from(["lobby", "den"])),
]
STEP = st.one_of(COMMON_STEPS)
STEP_WHERE_SOME_ARE_BLOCKED = st.one_of(
    *COMMON_STEPS,
    st.tuples(st.sampled_from(["join", "leave"]), st.sampled_from(["bo", "carl", *HIDDEN])),
    st.tuples(st.sampled_from(["watch room", "count room", "leave room"]), st.sampled_from(["lobby", "den"])),
    st.tuples(st.sampled_from(["read slowly", "read", "lose"]), st.just("")),
    st.tuples(st.just("block"), st.sampled_from(["", "bo", "carl"])),
)


class Viewer:
    """Ada, by both protocols, in a world with hidden users or without."""

    def __init__(self, house: House, **presence: Any) -> None:
        self.house, self.presence = house, presence
        self.ada, self.classic = house.come("ada", **presence), house.come("ada", classic=True, **presence)
        self.others: dict[str, FakeConnection] = {}
        self.before: list[dict[str, Any]] = []
        self.zed_is_online = False

    def ask(self, type_: str, **fields: Any) -> None:
        self.house.node.received(self.ada, json.encode({"type": type_, **fields}).decode())

    def read(self) -> None:
        """Something has happened that is no hidden user's: else there is nothing to be told of."""
        self.zed_is_online = not self.zed_is_online
        self.house.application.announce("zed", self.zed_is_online)
        for watcher in (self.ada, self.classic):
            watcher.paused = False
            self.house.node.resumed(watcher)

    def step(self, what: str, name: str) -> None:  # noqa: C901  # flat
        house, others = self.house, self.others
        match what:
            case "come" if name not in others:
                others[name] = house.come(name)
            case "end" if name in others:
                house.end(others.pop(name), Ending.CLOSED)
            case "status" if name in others:
                house.say(others[name], "SET_STATUS", status="busy")
            case "join" | "leave" if name in others:
                house.say(others[name], what.upper(), room="lobby")
            case "watch":
                self.ask("WATCH", users=[name])
            case "count":
                self.ask("WATCH", users=[name], mode="count")
            case "unwatch":
                self.ask("UNWATCH", **({"everyone": True} if name == "everyone" else {"users": [name]}))
            case "everyone":
                self.ask("WATCH", everyone=True)
            case "count everyone":
                self.ask("WATCH", everyone=True, mode="count")
            case "room":
                self.ask("JOIN", room=name, id=1)
            case "watch room" | "count room":
                self.ask("WATCH", rooms=[name], mode="count" if what == "count room" else "full")
            case "leave room":
                self.ask("LEAVE", room=name)
            case "read slowly":
                for watcher in (self.ada, self.classic):
                    watcher.paused = watcher.write_when_paused = True  # answers
                    house.node.paused(watcher)
            case "read":
                self.read()
            case "lose":
                self.read()
                session, at = self.ada.messages[0]["sessionId"], position(self.ada)
                house.end(self.ada, Ending.LOST)
                self.read()
                self.before += self.ada.messages
                self.ada = house.come("ada", f"session={session}&position={at}", **self.presence)
            case "block":
                given = token("ada", **{**self.presence, "block": [*HIDDEN, name] if name else HIDDEN})
                for watcher in (self.ada, self.classic):
                    house.node.received(watcher, json.encode({"type": "AUTH", "token": given}).decode())
            case "wait":
                house.clock.advance(2)
        house.clock.run_soon()

    def heard(self) -> list[dict[str, Any]]:
        """All she was told, without numbers that count all that happens on the server, and what clients drop."""
        told, known = self.before + self.ada.messages + self.classic.messages, dict[Any, int]()
        for message in told:
            if message["type"] == "PRESENCE_CHANGES":
                message["users"] = [user for user in message["users"] if user["version"] > known.get(user["userId"], 0)]
            known.update((user["userId"], user["version"]) for user in message.get("users", ()))
        return [plain(message) for message in told if not is_only_a_position(message)]


def transcript(viewer: Viewer, steps: list[tuple[str, str]], hidden_in: list[str] | None) -> list[dict[str, Any]]:
    """What ada is told.

    Args:
        hidden_in: The rooms that hidden users join when they come; None: there are none in this world.
    """
    for what, name in steps:
        if what == "come hidden" and hidden_in is not None and name not in viewer.others:
            viewer.others[name] = viewer.house.come(name, rooms=["lobby", "den"])
            for room in hidden_in:
                viewer.house.say(viewer.others[name], "JOIN", room=room, data={"name": name})
        viewer.step(what, name)
    viewer.read()
    viewer.step("wait", "")
    return viewer.heard()


def is_only_a_position(message: dict[str, Any]) -> bool:
    return message["type"] == "PRESENCE_CHANGES" and not message["users"]


def plain(part: Any) -> Any:
    """Without what differs from server to server, and what counts the server's changes."""
    if isinstance(part, dict):
        secret = ("sessionId", "epoch", "position", "version")
        return {key: plain(value) for key, value in part.items() if key not in secret}
    if isinstance(part, list):
        return sorted((plain(value) for value in part), key=str)
    return part


@settings(max_examples=examples(150))
@given(st.lists(STEP, max_size=25))
def test_the_world_looks_as_if_hidden_users_had_never_been(steps: list[tuple[str, str]]) -> None:
    with_hidden, without = (
        transcript(Viewer(House(log_size=4), **ADA), steps, hidden_in) for hidden_in in (["den"], None)
    )
    assert with_hidden == without


@pytest.mark.parametrize("visibility", ["everyone", "claims", "rooms"])
@settings(max_examples=examples(150))
@given(st.lists(STEP_WHERE_SOME_ARE_BLOCKED, max_size=25))
def test_the_world_looks_as_if_blocked_users_had_never_been(visibility: str, steps: list[tuple[str, str]]) -> None:
    """In rooms, too, and whoever else is seen."""
    with_blocked, without = (
        transcript(Viewer(House(visibility, request_burst=100), **SEEING[visibility]), steps, hidden_in)
        for hidden_in in (["lobby", "den"], None)
    )
    assert with_blocked == without


@pytest.mark.parametrize(
    "given_",
    [
        [],
        {"watch": "all"},
        {"watch": ["a\nb"]},
        {"watch": ["x"] * 1001},
        {"rooms": [""]},
        {"rooms": "lobby"},
        7,
        {"rooms": None},
        {"watch": None},
    ],
)
def test_what_can_not_be_used_is_refused(given_: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_allowed(Principal("ada"), given_)


def test_a_restriction_that_is_misspelt_is_named_with_the_one_that_is_meant() -> None:
    """`blok` would block nobody."""
    with pytest.raises(ValueError, match=r"unknown field blok \(did you mean block\?\); known are watch, rooms, block"):
        with_allowed(Principal("ada"), {"blok": ["eve"]})
    assert with_allowed(Principal("ada"), {"x-blok": ["eve"]}) == with_allowed(Principal("ada"), {})


def test_what_is_allowed_is_read() -> None:
    assert Allowed() == Allowed(watch=UNSET, rooms=UNSET)
    visibility = visibility_of(
        Settings(auth="ticket", visibility="claims"), with_allowed(Principal("ada"), {"watch": [7, "bo"]})
    )
    assert visibility.users == {"ada", "bo", "7"}
    assert not visibility.may_enter("lobby")


def test_a_connection_that_is_replaced_by_one_that_sees_something_else_leaves_nothing_behind(house: House) -> None:
    ada = house.come("ada", **ADA)
    session = house.heard(ada)[0]["sessionId"]
    house.say(ada, "WATCH", rooms=["lobby"])
    back = house.come("ada", f"session={session}&position={position(ada)}", watch=["eve"], rooms=["bar"])
    index = house.node._v1._index
    assert set(index.watchers_of("eve")) == {back}
    assert not index.watchers_of("bo")
    assert not index.watchers_of_room("lobby")
