"""A client of presenced.v1 that believes what it is told, exactly as the protocol says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes import FakeConnection

from presenced.core.model import Ending
from presenced.testing import FakeClock


class Client(FakeConnection):
    """Its connection and what it makes of the messages; `room` writes fill its transport."""

    def __init__(self, on_closed: Callable[[FakeConnection, Ending, str], None], clock: FakeClock) -> None:
        super().__init__(on_closed, clock)
        self.write_when_paused = True  # answers
        self.room = 10**9
        self.on_full: Callable[[FakeConnection], None] = lambda _: None
        self.seen: dict[str, tuple[str, int]] = {}
        """By user, status and version."""
        self.rooms: dict[str, dict[str, Any]] = {}
        self.modes: dict[str, str] = {}
        self.own: dict[str, Any] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self.session_id = ""
        self.position = ""
        self.resumed = False
        self.read = 0

    def _send(self, data: bytes) -> None:
        super()._send(data)
        self.room -= 1
        if self.room == 0:
            self.paused = True
            self.on_full(self)

    def believe(self) -> None:
        """Take in what has come."""
        for message in self.messages[self.read :]:
            self._take(message)
        self.read = len(self.messages)

    def goes_on_as(self, other: Client) -> None:
        """What the session knew before."""
        self.seen, self.rooms, self.modes = dict(other.seen), dict(other.rooms), dict(other.modes)
        self.counts = dict(other.counts)

    def _take(self, message: dict[str, Any]) -> None:
        self.position = message.get("position", self.position)
        match message["type"]:
            case "CONNECTION_ESTABLISHED":
                self.session_id, self.resumed = message["sessionId"], message["resumed"]
                if not self.resumed:
                    self.seen, self.rooms = {}, {}
            case "SELF":
                self.own = message
            case "PRESENCE_COUNT":
                self.counts[message["watch"], message.get("room", "")] = message["online"]
            case "ROOM_SNAPSHOT" | "ROOM_CHANGES":
                self._enter(message)
            case "PRESENCE_SNAPSHOT" | "PRESENCE_CHANGES":
                if message.get("watch") == "everyone" and message["page"] == 1:
                    self.seen = {}
                users = [record["userId"] for record in message["users"]]
                assert len(users) == len(set(users)), "each user once"
                self._see(message["users"])

    def _see(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            user_id, version = str(record["userId"]), record["version"]
            if version > self.seen.get(user_id, ("", -1))[1]:
                self.seen[user_id] = (record["status"], version)

    def _enter(self, message: dict[str, Any]) -> None:
        room = message["room"]
        self.modes[room] = message["mode"]
        if message.get("page") == 1:
            self.rooms[room] = {}
        members = self.rooms.setdefault(room, {})
        for member in message.get("members", []):
            members[str(member["userId"])] = member.get("data")
            self._see([member["presence"]])
        for user_id in message.get("left", []):
            members.pop(str(user_id), None)
