"""One node on a fake clock, with clients that have no sockets: the harness of all tests of a node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec import json
from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request

from presenced.auth.authenticator import Authenticator
from presenced.auth.tickets import Tickets
from presenced.config.settings import Settings
from presenced.node.service import PresenceService
from presenced.presence.model import Ending
from presenced.testing import FakeClock


class NodeHarness:
    """A node and its clients. Each client has read everything up to its last `heard`."""

    def __init__(
        self,
        authenticator: Authenticator | None = None,
        clock: FakeClock | None = None,
        parts: Mapping[str, Any] = MappingProxyType({}),
        **settings: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        options = Settings.model_validate({"stats_interval": 0, **settings})
        self.node = make_node(options, self.clock, authenticator=authenticator, **parts)
        self.node.start()
        self.service = PresenceService(self.node, authenticator if isinstance(authenticator, Tickets) else None)
        self._read: dict[FakeConnection, int] = {}

    def open(self, query: str, subprotocol: str = "presenced.v1", token: str = "") -> FakeConnection:
        """Connect. The first messages stay unread."""
        connection = FakeConnection(on_closed=self.node.closed, clock=self.clock)
        self.node.opened(connection, request(query, subprotocol, token))
        self.clock.run_soon()
        return connection

    def connect(self, user_id: str = "ada") -> FakeConnection:
        """Connect a client of the classic protocol."""
        return self.open(f"userId={user_id}", "")

    def connection(self) -> FakeConnection:
        """Return a connection that the node does not know yet."""
        return FakeConnection(on_closed=self.node.closed, clock=self.clock)

    def enter(self, query: str) -> FakeConnection:
        """Connect, and read the first messages."""
        connection = self.open(query)
        self.new_messages(connection)
        return connection

    def send(self, connection: FakeConnection, type_: str, **fields: object) -> list[dict[str, Any]]:
        """Send a request, and return the messages that arrive by the end of the turn."""
        connection.heard_at = self.clock.monotonic()  # as the transport sets it
        self.node.received(connection, json.encode({"type": type_, **fields}).decode())
        self.clock.run_soon()
        return self.new_messages(connection)

    def new_messages(self, connection: FakeConnection) -> list[dict[str, Any]]:
        """Return new messages, except positions without changes."""
        return [m for m in self.all_new_messages(connection) if m.get("users", True) or m["type"] != "PRESENCE_CHANGES"]

    def all_new_messages(self, connection: FakeConnection) -> list[dict[str, Any]]:
        """Return new messages."""
        start = self._read.get(connection, 0)
        self._read[connection] = len(connection.messages)
        return connection.messages[start:]

    def end(self, connection: FakeConnection, ending: Ending = Ending.CLOSED) -> None:
        """End a connection."""
        self.node.closed(connection, ending, ending)
        self.clock.run_soon()

    def count(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.node.metrics.registry.get_sample_value(name, labels)


def position(connection: FakeConnection) -> str:
    """Return the last position that the session received."""
    return str([message["position"] for message in connection.messages if "position" in message][-1])


def statuses(messages: list[dict[str, Any]]) -> list[tuple[int | str, str]]:
    """Return users with their statuses, in the order of the messages."""
    return [(user["userId"], user["status"]) for m in messages for user in m.get("users", [])]


def types(messages: list[dict[str, Any]]) -> list[str]:
    """Return the types of messages."""
    return [message["type"] for message in messages]
