"""The conversations in `spec/vectors`: the test plays the server, a session of `presenced_client` is the client.

At each line `expect` the session must know what the reference model knows.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from itertools import takewhile
from typing import Any
from urllib.parse import parse_qs

import pytest
from tests.support.vectors import FILES, lines_of

from presenced_client.desired_state import DesiredRoom, K, Readers
from presenced_client.presence import UserPresence, user_key
from presenced_client.requested_state import EVERYONE
from presenced_client.self import Choice, Self
from presenced_client.session import Session

Line = dict[str, Any]

VERSION = re.compile(r"\$version-.*-(\d+)")

MEANT = range(110, 120)
"""Errors of requests that a client may mean. The others are refusals of requests that this client never sends."""


class ConversationClient:
    """A session that wants what the client of a conversation requests."""

    def __init__(self) -> None:
        self.session = Session()

    def connect(self, line: Line, now: float) -> None:
        """Connect, with the URL of the conversation."""
        query = {name: values[0] for name, values in parse_qs(line["query"]).items()}
        parameters = self.session.parameters(now)
        if "session" in query and not line.get("syntheticPosition"):
            assert (parameters["session"], parameters.get("position")) == (query["session"], query.get("position"))
        if query.get("watch") != "none" and None not in self.session.desired.everyone:
            self.session.desired.everyone.acquire(None)
        self.session.desired.is_idle = query.get("activity") == "idle"
        self.session.parameters(now)
        self.flush(now)

    def hear(self, message: Line, now: float) -> None:
        """Receive a message of the conversation. Its answers have the ids of other requests, so they are left out."""
        if message["type"] not in ("ACK", "ERROR", "PONG"):
            self.session.received(message, now)
            self.flush(now)

    def flush(self, now: float, error: Line | None = None) -> None:
        """Answer what the session requests."""
        while requests := self.session.outgoing(now):
            for request in requests:
                answer = {"type": "ACK"} if error is None else error
                self.session.received({**answer, "id": request["id"]}, now)
            if error is not None:
                return

    def send(self, request: Line, now: float, error: Line | None) -> None:
        """Want what a request of the conversation requests."""
        if error is not None and error["code"] not in MEANT:
            return
        wanted = self.session.desired
        match request["type"]:
            case "SET_STATUS":
                fields = {key: request[key] for key in ("status", "text", "emoji", "data") if key in request}
                ends_at = now + request["expiresIn"] if "expiresIn" in request else None
                self.session.set_status(Choice(**fields, ends_at=ends_at))
            case "ACTIVITY":
                wanted.is_idle = request["state"] == "idle"
            case "JOIN":
                wanted.rooms[request["room"]] = DesiredRoom(joiners=1, data=request.get("data"))
            case "SET_MEMBER":
                wanted.rooms[request["room"]].data = request["data"]
            case "LEAVE":
                wanted.rooms.pop(request["room"], None)
            case "WATCH" | "UNWATCH":
                self.subscribe(request)
        self.session.changed()
        self.flush(now, error)

    def subscribe(self, request: Line) -> None:
        wanted, is_watch = self.session.desired, request["type"] == "WATCH"
        is_count = request.get("mode") == "count"
        if is_count or not is_watch:
            keys = [*request.get("rooms", ()), *([EVERYONE] if request.get("everyone") else [])]
            self.read(wanted.counts, keys, is_watch)
        if is_count:
            return
        self.read(wanted.users, map(user_key, request.get("users", ())), is_watch)
        self.read(wanted.everyone, [None] if request.get("everyone") else [], is_watch)
        for room in request.get("rooms", ()):
            if is_watch:
                wanted.rooms.setdefault(room, DesiredRoom(watchers=1))
            elif room in wanted.rooms and not wanted.rooms[room].joiners:
                del wanted.rooms[room]

    @staticmethod
    def read(readers: Readers[K], keys: Iterable[K], is_read: bool) -> None:
        for key in keys:
            readers.active.pop(key, None)
            if is_read:
                readers.acquire(key)

    def expect(self, line: Line) -> None:
        """Compare what the session knows."""
        session = self.session
        for user, record in line["users"].items():
            known = session.user(user)
            if "version" in record:
                assert known == UserPresence.from_record({"userId": known.user_id, **record})
            else:
                assert known.status == "offline"
        for name, expected in line["rooms"].items():
            room = session.room(name)
            assert (room.mode, room.count) == (expected["mode"], expected["count"])
            assert room.known is ("members" in expected or expected["mode"] == "counts")
            if "members" in expected:
                assert {key: member.data for key, member in room.members.items()} == expected["members"]
        counts = line.get("counts", {})
        for key, online in {
            **counts.get("rooms", {}),
            **({EVERYONE: counts["everyone"]} if "everyone" in counts else {}),
        }.items():
            assert session.counts[key] == online
        assert session.roster.is_outdated is line.get("stale", False)
        if "self" in line:
            assert session.own == Self.from_message(line["self"])


def numbered(part: Any) -> Any:
    """Return a message with numbers in place of names of versions."""
    if isinstance(part, dict):
        return {key: numbered(value) for key, value in part.items()}
    if isinstance(part, list):
        return [numbered(value) for value in part]
    match = VERSION.fullmatch(part) if isinstance(part, str) else None
    return int(match[1]) if match else part


def error_of(line: Line, later: list[Line]) -> Line | None:
    """Return the ERROR with which the server answers a request; None if it accepts it."""
    answers = takewhile(lambda step: step["do"] in ("hear", "be closed"), later)
    heard = [step["message"] for step in answers if step["do"] == "hear" and step["client"] == line["client"]]
    asked = line.get("message", {}).get("id")
    return next((message for message in heard if message["type"] == "ERROR" and message.get("id") == asked), None)


def find_session(clients: dict[str, ConversationClient], line: Line) -> ConversationClient:
    """Return the earlier client of this name, a copy of the one whose session it names, or a new one."""
    named = parse_qs(line["query"]).get("session", [""])[0]
    if line["client"] in clients and named:
        return clients[line["client"]]
    others = (client for client in clients.values() if named and client.session.session_id == named)
    return copy.deepcopy(next(others, ConversationClient()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_session_knows_what_the_reference_model_knows(path: Any) -> None:
    _, *steps = [numbered(line) for line in lines_of(path)]
    clients: dict[str, ConversationClient] = {}
    for number, line in enumerate(steps):
        for other in clients.values():
            other.session.tick(line["at"])
        if line["do"] == "connect" and "subprotocol" in line:
            clients[line["client"]] = find_session(clients, line)
        if (client := clients.get(line.get("client", ""))) is not None:
            play(client, line, steps[number + 1 :])
    assert any(line["do"] == "expect" for line in steps)


def play(client: ConversationClient, line: Line, later: list[Line]) -> None:
    """Do what a line says about a client."""
    match line["do"]:
        case "connect":
            client.connect(line, line["at"])
        case "hear":
            client.hear(line["message"], line["at"])
        case "send" if "message" in line:
            client.send(line["message"], line["at"], error_of(line, later))
        case "close" | "lose" | "be closed":
            client.session.lost(line["at"])
        case "expect":
            client.expect(line)


def test_all_conversations_are_found() -> None:
    assert len(FILES) > 20
