"""Display data and roles over random histories, with slow clients and clients that reconnect.

Every viewer of a user sees the display data of the user's newest token. Only viewers with the role see causes.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.fakes import FakeConnection
from tests.support.node_harness import NodeHarness, position

from presenced.auth.authenticator import Authenticator, AuthResult, OnAuthResult
from presenced.auth.grants import with_grants
from presenced.auth.principal import Principal
from presenced.presence.model import Ending
from presenced.runtime.instant import Instant

NAMES = ["", "A", "B"]
"""The empty one takes away what was given."""


class DisplayAuthenticator(Authenticator):
    """Authenticator for `user issued name` or `user issued -` (no display data). `desk` has the role."""

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult:
        user_id, issued, name = token.split(" ")
        presence: dict[str, Any] = {} if name == "-" else {"display": {"name": name} if name else {}}
        presence |= {"roles": ["causes"]} if user_id == "desk" else {}
        return with_grants(Principal(user_id, None, token, float(issued)), presence)


class DisplayWorld:
    def __init__(self) -> None:
        self.harness = NodeHarness(
            DisplayAuthenticator(), auth="ticket", status_pause=0, grace_lost=5, log_size=4, room_coalesced=3
        )
        self.sessions: list[FakeConnection] = []
        self.newest = (-1, "")
        self.status = "auto"
        self.watchers = {name: self.harness.open("", token=f"{name} 0 -") for name in ("desk", "bo")}
        self.views: dict[str, dict[str, Any]] = {name: {} for name in self.watchers}
        for watcher in self.watchers.values():
            self.harness.send(watcher, "WATCH", rooms=["lobby"])

    def shown(self, issued: int, name: str) -> str:
        if name != "-" and issued >= self.newest[0]:
            self.newest = issued, name
        return f"ada {issued} {name}"

    def step(self, what: str, issued: int, name: str) -> None:  # noqa: C901  # flat
        harness, sessions = self.harness, self.sessions
        match what:
            case "open":
                sessions.append(harness.open("watch=none", token=self.shown(issued, name)))
            case "auth" if sessions:
                harness.send(sessions[-1], "AUTH", token=self.shown(issued, name))
            case "close" | "lose" if sessions:
                harness.end(sessions.pop(), Ending.CLOSED if what == "close" else Ending.LOST)
            case "hide" | "show" if sessions:
                self.status = "invisible" if what == "hide" else "auto"
                harness.send(sessions[0], "SET_STATUS", status=self.status)
            case "join" if sessions:
                harness.send(sessions[-1], "JOIN", room="lobby")
            case "wait":
                harness.clock.advance(6)
            case "come back":
                for user_id, watcher in self.watchers.items():
                    self.read(user_id)
                    session, at = watcher.messages[0]["sessionId"], position(watcher)
                    harness.end(watcher, Ending.LOST)
                    self.watchers[user_id] = harness.open(f"session={session}&position={at}", token=f"{user_id} 0 -")
            case "read slowly":
                for watcher in self.watchers.values():
                    watcher.paused = not watcher.paused
                    (harness.node.paused if watcher.paused else harness.node.resumed)(watcher)

    def read(self, user_id: str) -> None:
        for message in self.harness.all_new_messages(self.watchers[user_id]):
            records = [*message.get("users", []), *(member["presence"] for member in message.get("members", []))]
            if message["type"] == "PRESENCE_SNAPSHOT":
                self.views[user_id] = {}
            for record in records:
                known = self.views[user_id].get(record["userId"])
                if known is None or record["version"] >= known["version"]:
                    self.views[user_id][record["userId"]] = record
                assert ("cause" in record) is (user_id == "desk" and record["since"] > 0)

    def compare(self) -> None:
        self.harness.clock.advance(1.5)  # rooms send this once a second
        directory = self.harness.node.directory
        expected = {"name": self.newest[1]} if self.newest[1] and directory.users.status("ada") != "offline" else None
        for user_id, watcher in self.watchers.items():
            if watcher.paused:
                watcher.paused = False
                self.harness.node.resumed(watcher)
            self.read(user_id)
            assert self.views[user_id].get("ada", {}).get("display") == expected
        for session in self.sessions:
            own = [message for message in session.messages if message["type"] == "SELF"][-1]
            assert own.get("display") == ({"name": self.newest[1]} if self.newest[1] else None)


WHAT = ["open", "auth", "close", "lose", "hide", "show", "join", "wait", "come back", "read slowly"]
STEPS = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 3), st.sampled_from([*NAMES, "-"])), max_size=25)


@given(steps=STEPS, each=st.booleans())
def test_the_newest_display_data_is_visible_and_causes_only_to_entitled_viewers(
    steps: list[tuple[str, int, str]], each: bool
) -> None:
    world = DisplayWorld()
    for step in steps:
        world.step(*step)
        if each:
            world.compare()
    world.compare()
