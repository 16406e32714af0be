"""A viewer learns nothing about hidden users, by any route (attack A13).

The viewer's messages are exactly the same as on a server on which the hidden users never existed.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, json
from tests.support.examples import examples
from tests.support.fakes import FakeConnection
from tests.support.grants_harness import GrantsHarness, token
from tests.support.node_harness import position, statuses
from tests.support.nodes import v1

from presenced.auth.grants import Grants, visibility_of, with_grants
from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.presence.model import Ending

ADA: dict[str, Any] = {"watch": ["bo", "carl"], "rooms": ["lobby"]}


@pytest.fixture
def harness() -> GrantsHarness:
    return GrantsHarness()


def test_changes_reach_only_viewers_who_may_see_them(harness: GrantsHarness) -> None:
    ada, classic = harness.come("ada", **ADA), harness.come("ada", classic=True, **ADA)
    harness.new_messages(ada)
    bo, eve = harness.come("bo"), harness.come("eve")
    assert statuses(harness.new_messages(ada)) == [("bo", "online")]
    assert classic.about_others() == [("USER_ONLINE", "bo")]
    harness.send(eve, "SET_STATUS", status="busy")
    harness.end(eve, Ending.CLOSED)
    harness.end(bo, Ending.CLOSED)
    assert statuses(harness.new_messages(ada)) == [("bo", "offline")]
    assert classic.about_others() == [("USER_ONLINE", "bo"), ("USER_OFFLINE", "bo")]
    assert statuses(harness.new_messages(harness.come("zoe", watch="*"))) == [("ada", "online"), ("zoe", "online")]


def test_a_token_that_names_nobody_shows_only_its_own_user(harness: GrantsHarness) -> None:
    harness.come("bo")
    ada = harness.come("ada")
    assert statuses(harness.new_messages(ada)) == [("ada", "online")]


def test_snapshots_and_watched_users_show_only_visible_users(harness: GrantsHarness) -> None:
    harness.come("bo"), harness.come("eve")
    ada = harness.come("ada", **ADA)
    assert sorted(statuses(harness.new_messages(ada))) == [("ada", "online"), ("bo", "online")]
    harness.send(ada, "UNWATCH", everyone=True)
    told = harness.send(ada, "WATCH", users=["bo", "eve", "nobody"], id=1)
    assert sorted(statuses(told)) == [("bo", "online"), ("eve", "offline"), ("nobody", "offline")]
    records = {user["userId"]: user for message in told for user in message.get("users", [])}
    assert {**records["eve"], "userId": ""} == {**records["nobody"], "userId": ""}, "not to be told apart"
    harness.come("eve")
    assert harness.new_messages(ada) == []


def test_counts_include_only_visible_users(harness: GrantsHarness) -> None:
    ada = harness.come("ada", "watch=none", **ADA)
    for user_id in ("bo", "eve", "fred"):
        harness.come(user_id)
    harness.new_messages(ada)
    (count,) = [m for m in harness.send(ada, "WATCH", everyone=True, mode="count") if m["type"] == "PRESENCE_COUNT"]
    assert count["online"] == 2, "ada and bo"
    counts = harness.send(ada, "WATCH", users=["bo", "eve"], mode="count")
    assert [m["online"] for m in counts if m.get("watch") == "users"] == [1]
    harness.come("carl")
    harness.come("gus")
    harness.clock.advance(2)
    told = [m for m in harness.new_messages(ada) if m["type"] == "PRESENCE_COUNT"]
    assert [(m["watch"], m["online"]) for m in told] == [("everyone", 3), ("users", 1)]


def test_only_permitted_users_enter_a_room_and_see_its_members(harness: GrantsHarness) -> None:
    ada, eve = harness.come("ada", **ADA), harness.come("eve", rooms=["lobby", "den"])
    harness.send(eve, "JOIN", room="den")
    harness.new_messages(ada)
    for type_ in ("JOIN", "WATCH"):
        fields = {"room": "den"} if type_ == "JOIN" else {"rooms": ["den"]}
        (refused,) = harness.send(ada, type_, **fields, id=1)
        assert (refused["type"], refused["name"]) == ("ERROR", "NOT_ALLOWED")
        (same,) = harness.send(ada, type_, **{k: "nowhere" if k == "room" else ["nowhere"] for k in fields}, id=1)
        assert same == {**refused, "message": refused["message"].replace("den", "nowhere")}
    assert harness.new_messages(ada) == []
    harness.send(ada, "JOIN", room="lobby")
    harness.send(eve, "JOIN", room="lobby")
    (joined,) = [m for m in harness.new_messages(ada) if m["type"] == "ROOM_CHANGES"]
    assert joined["members"][0]["userId"] == "eve", "who is in a room is seen there"


def test_with_visibility_rooms_users_see_each_other_only_in_shared_rooms() -> None:
    harness = GrantsHarness("rooms")
    ada, bo = harness.come("ada", watch=["bo"]), harness.come("bo")
    harness.come("eve")
    assert statuses(harness.new_messages(ada)) == [("ada", "online")]
    harness.send(ada, "JOIN", room="lobby")
    harness.send(bo, "JOIN", room="lobby")
    harness.new_messages(ada)
    harness.send(bo, "SET_STATUS", status="busy")
    assert statuses(harness.new_messages(ada)) == [("bo", "busy")]
    harness.send(bo, "LEAVE", room="lobby")
    harness.new_messages(ada)
    harness.send(bo, "SET_STATUS", status="away")
    assert statuses(harness.new_messages(ada)) == []


def test_rooms_can_be_restricted_although_everyone_is_visible() -> None:
    harness = GrantsHarness("everyone")
    ada = harness.come("ada", rooms=["lobby"])
    harness.new_messages(ada)
    harness.come("eve")
    assert statuses(harness.new_messages(ada)) == [("eve", "online")]
    assert harness.send(ada, "JOIN", room="den")[0]["name"] == "NOT_ALLOWED"


def test_a_newer_token_widens_or_narrows_visibility(harness: GrantsHarness) -> None:
    harness.come("bo"), harness.come("eve")
    ada = harness.come("ada", **ADA)
    harness.send(ada, "JOIN", room="lobby")
    harness.new_messages(ada)
    told = harness.send(ada, "AUTH", token=token("ada", watch=["eve"]), id=1)
    assert told[0] == {"type": "ACK", "id": 1}
    assert sorted(set(statuses(told))) == [("ada", "online"), ("eve", "online")]
    harness.come("carl")
    assert statuses(harness.new_messages(ada)) == [], "carl is not named any more"
    viewer = harness.come("viewer", watch="*", rooms=["lobby"])
    harness.new_messages(viewer)
    assert harness.send(viewer, "WATCH", rooms=["lobby"])[-1]["members"] == [], "it may not be in the lobby any more"


def test_a_session_resumed_with_another_visibility_receives_everything_again(harness: GrantsHarness) -> None:
    harness.come("bo"), harness.come("eve")
    ada = harness.come("ada", **ADA)
    harness.send(ada, "JOIN", room="lobby")
    session, position = ada.messages[0]["sessionId"], [m["position"] for m in ada.messages if "position" in m][-1]
    harness.end(ada, Ending.LOST)
    back = harness.come("ada", f"session={session}&position={position}", watch=["eve"])
    told = harness.new_messages(back)
    assert told[0]["resumed"] is False
    assert sorted(set(statuses(told))) == [("ada", "online"), ("eve", "online")]
    assert not any(m["type"] == "ROOM_SNAPSHOT" for m in told)


def test_a_slow_watcher_catches_up_with_visible_users_only(harness: GrantsHarness) -> None:
    ada, classic = harness.come("ada", **ADA), harness.come("ada", classic=True, **ADA)
    harness.new_messages(ada)
    for watcher in (ada, classic):
        watcher.paused = True
        harness.node.paused(watcher)
    harness.come("bo"), harness.come("eve")
    for watcher in (ada, classic):
        watcher.paused = False
        harness.node.resumed(watcher)
    assert statuses(harness.new_messages(ada)) == [("bo", "online")]
    assert classic.about_others() == [("USER_ONLINE", "bo")]


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
    """Ada, connected with both protocols, on a server with or without hidden users."""

    def __init__(self, harness: GrantsHarness, **presence: Any) -> None:
        self.harness, self.presence = harness, presence
        self.ada, self.classic = harness.come("ada", **presence), harness.come("ada", classic=True, **presence)
        self.others: dict[str, FakeConnection] = {}
        self.before: list[dict[str, Any]] = []
        self.zed_is_online = False

    def ask(self, type_: str, **fields: Any) -> None:
        self.harness.node.received(self.ada, json.encode({"type": type_, **fields}).decode())

    def read(self) -> None:
        """Cause a change of a visible user, because otherwise no message is due."""
        self.zed_is_online = not self.zed_is_online
        self.harness.service.announce("zed", self.zed_is_online)
        for watcher in (self.ada, self.classic):
            watcher.paused = False
            self.harness.node.resumed(watcher)

    def step(self, what: str, name: str) -> None:  # noqa: C901  # flat
        harness, others = self.harness, self.others
        match what:
            case "come" if name not in others:
                others[name] = harness.come(name)
            case "end" if name in others:
                harness.end(others.pop(name), Ending.CLOSED)
            case "status" if name in others:
                harness.send(others[name], "SET_STATUS", status="busy")
            case "join" | "leave" if name in others:
                harness.send(others[name], what.upper(), room="lobby")
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
                    harness.node.paused(watcher)
            case "read":
                self.read()
            case "lose":
                self.read()
                session, at = self.ada.messages[0]["sessionId"], position(self.ada)
                harness.end(self.ada, Ending.LOST)
                self.read()
                self.before += self.ada.messages
                self.ada = harness.come("ada", f"session={session}&position={at}", **self.presence)
            case "block":
                given = token("ada", **{**self.presence, "block": [*HIDDEN, name] if name else HIDDEN})
                for watcher in (self.ada, self.classic):
                    harness.node.received(watcher, json.encode({"type": "AUTH", "token": given}).decode())
            case "wait":
                harness.clock.advance(2)
        harness.clock.run_soon()

    def received(self) -> list[dict[str, Any]]:
        """Return all messages to Ada without server-wide counters and without messages that clients drop."""
        told, known = self.before + self.ada.messages + self.classic.messages, dict[Any, int]()
        for message in told:
            if message["type"] == "PRESENCE_CHANGES":
                message["users"] = [user for user in message["users"] if user["version"] > known.get(user["userId"], 0)]
            known.update((user["userId"], user["version"]) for user in message.get("users", ()))
        return [plain(message) for message in told if not is_only_a_position(message)]


def transcript(viewer: Viewer, steps: list[tuple[str, str]], hidden_in: list[str] | None) -> list[dict[str, Any]]:
    """Return the messages that Ada receives.

    Args:
        hidden_in: Rooms that hidden users join when they connect. None means that there are no hidden users.
    """
    for what, name in steps:
        if what == "come hidden" and hidden_in is not None and name not in viewer.others:
            viewer.others[name] = viewer.harness.come(name, rooms=["lobby", "den"])
            for room in hidden_in:
                viewer.harness.send(viewer.others[name], "JOIN", room=room, data={"name": name})
        viewer.step(what, name)
    viewer.read()
    viewer.step("wait", "")
    return viewer.received()


def is_only_a_position(message: dict[str, Any]) -> bool:
    return message["type"] == "PRESENCE_CHANGES" and not message["users"]


def plain(part: Any) -> Any:
    """Return the part without values that differ between servers or count all changes of a server."""
    if isinstance(part, dict):
        secret = ("sessionId", "epoch", "position", "version")
        return {key: plain(value) for key, value in part.items() if key not in secret}
    if isinstance(part, list):
        return sorted((plain(value) for value in part), key=str)
    return part


@settings(max_examples=examples(150))
@given(st.lists(STEP, max_size=25))
def test_hidden_users_look_as_if_they_never_existed(steps: list[tuple[str, str]]) -> None:
    with_hidden, without = (
        transcript(Viewer(GrantsHarness(log_size=4), **ADA), steps, hidden_in) for hidden_in in (["den"], None)
    )
    assert with_hidden == without


@pytest.mark.parametrize("visibility", ["everyone", "claims", "rooms"])
@settings(max_examples=examples(150))
@given(st.lists(STEP_WHERE_SOME_ARE_BLOCKED, max_size=25))
def test_blocked_users_look_as_if_they_never_existed(visibility: str, steps: list[tuple[str, str]]) -> None:
    """This holds in rooms, too, and for any visibility."""
    with_blocked, without = (
        transcript(Viewer(GrantsHarness(visibility, request_burst=100), **SEEING[visibility]), steps, hidden_in)
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
def test_invalid_visibility_is_refused(given_: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        with_grants(Principal("ada"), given_)


def test_a_misspelt_restriction_is_refused_with_the_similar_name() -> None:
    """`blok` would block nobody."""
    with pytest.raises(
        ValueError, match=r"unknown field blok \(did you mean block\?\); known fields: watch, rooms, block"
    ):
        with_grants(Principal("ada"), {"blok": ["eve"]})
    assert with_grants(Principal("ada"), {"x-blok": ["eve"]}) == with_grants(Principal("ada"), {})


def test_a_valid_restriction_is_read() -> None:
    assert Grants() == Grants(watch=UNSET, rooms=UNSET)
    visibility = visibility_of(
        Settings(auth="ticket", visibility="claims"), with_grants(Principal("ada"), {"watch": [7, "bo"]})
    )
    assert visibility.users == {"ada", "bo", "7"}
    assert not visibility.may_enter("lobby")


def test_a_replaced_connection_frees_its_visibility(harness: GrantsHarness) -> None:
    ada = harness.come("ada", **ADA)
    session = harness.new_messages(ada)[0]["sessionId"]
    harness.send(ada, "WATCH", rooms=["lobby"])
    back = harness.come("ada", f"session={session}&position={position(ada)}", watch=["eve"], rooms=["bar"])
    index = v1(harness.node).feed._index
    assert set(index.subscribers_of("eve")) == {back}
    assert not index.subscribers_of("bo")
    assert not index.subscribers_of_room("lobby")
