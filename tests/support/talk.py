"""An node and clients of presenced.v1 that talk to it, on a fake clock."""

from __future__ import annotations

from typing import Any

from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request

from presenced.auth.authenticator import Authenticator
from presenced.config.settings import Settings
from presenced.presence.model import Ending
from presenced.testing import FakeClock


class Talk:
    """The node; each client has read everything up to its last `heard`."""

    def __init__(self, authenticator: Authenticator | None = None, **settings: object) -> None:
        self.clock = FakeClock()
        options = Settings.model_validate({"stats_interval": 0, **settings})
        self.node = make_node(options, self.clock, authenticator=authenticator)
        self.node.start()
        self._read: dict[FakeConnection, int] = {}

    def open(self, query: str, subprotocol: str = "presenced.v1", token: str = "") -> FakeConnection:
        """Connect; what comes at once is not read yet."""
        connection = FakeConnection(on_closed=self.node.closed, clock=self.clock)
        self.node.opened(connection, request(query, subprotocol, token))
        self.clock.run_soon()
        return connection

    def enter(self, query: str) -> FakeConnection:
        """Connect and read what comes at once."""
        connection = self.open(query)
        self.heard(connection)
        return connection

    def say(self, connection: FakeConnection, type_: str, **fields: object) -> list[dict[str, Any]]:
        """Ask, and what is answered by the end of the turn."""
        connection.heard_at = self.clock.monotonic()  # as the transport sets it
        self.node.received(connection, json.encode({"type": type_, **fields}).decode())
        self.clock.run_soon()
        return self.heard(connection)

    def heard(self, connection: FakeConnection) -> list[dict[str, Any]]:
        """What came since the last time, but for positions that come with no changes."""
        return [m for m in self.heard_all(connection) if m.get("users", True) or m["type"] != "PRESENCE_CHANGES"]

    def heard_all(self, connection: FakeConnection) -> list[dict[str, Any]]:
        """What came since the last time."""
        start = self._read.get(connection, 0)
        self._read[connection] = len(connection.messages)
        return connection.messages[start:]

    def end(self, connection: FakeConnection, ending: Ending) -> None:
        """The client's connection ends."""
        self.node.closed(connection, ending, ending)
        self.clock.run_soon()


def position(connection: FakeConnection) -> str:
    """Where its session is."""
    return str([message["position"] for message in connection.messages if "position" in message][-1])


def statuses(messages: list[dict[str, Any]]) -> list[tuple[int | str, str]]:
    """What was told of users, in order."""
    return [(user["userId"], user["status"]) for m in messages for user in m.get("users", [])]


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]
