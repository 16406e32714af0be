"""A third protocol, registered by this test, needs only a class and a line of composition.

Its clients send `{"do":"away"}` and `{"do":"back"}`. They receive `+ada` and `-ada` when others connect and leave.
The protocol has its own path, requests in a registry, and a feed. Its clients name their user after connecting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct, json
from tests.support.fakes import FakeConnection
from tests.support.nodes import make_node, request

from presenced.config.settings import Settings
from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event, Missed, Portion
from presenced.presence.model import Change, Ending, Status
from presenced.protocols.base import Admitted, ClientProtocol, ConnectRequest, ProtocolParts
from presenced.protocols.requests import Handlers
from presenced.runtime.instant import Instant
from presenced.testing import FakeClock


class Away(Struct, tag_field="do", tag="away"):
    """The person is away."""


class Back(Struct, tag_field="do", tag="back"):
    """The person is back."""


class Context(NamedTuple):
    parts: ProtocolParts
    connection: Connection
    now: Instant


handlers: Handlers[Context] = Handlers()


@handlers.handles(Away, Back)
def set_activity(context: Context, message: Away | Back) -> None:
    parts, connection, now = context
    active = isinstance(message, Back)
    parts.publisher.apply(parts.directory.set_active(connection.user_id, connection, active, now), now)


class SignsFeed:
    """Feed that sends a sign and a name for each user who connects or leaves."""

    def __init__(self) -> None:
        self.connections: dict[Connection, None] = {}

    def published(self, event: Event) -> None: ...

    def include(self, connection: Connection) -> None:
        self.connections[connection] = None

    def exclude(self, connection: Connection) -> bool:
        return self.connections.pop(connection, self) is None

    def portions(self, events: Sequence[Event], first_unsent: Mapping[Connection, int]) -> Iterable[Portion]:
        for connection in self.connections:
            portion = self.portion_for(connection, events[first_unsent.get(connection, 0) :])
            if portion.batch:
                yield portion

    def portion_for(self, connection: Connection, events: Sequence[Event]) -> Portion:
        changes = [event for event in events if isinstance(event, Change) and event.went_online_or_offline]
        signs = ["-" if change.status is Status.OFFLINE else "+" for change in changes]
        messages = [f'"{sign}{change.user_id}"'.encode() for sign, change in zip(signs, changes, strict=True)]
        return Portion((connection,), Batch(messages), len(messages))

    def missed(self, connection: Connection, position: int) -> Missed | None:
        return None


class SignsProtocol(ClientProtocol):
    name = "signs"
    path = b"/signs"
    subprotocols = ("",)

    def __init__(self, parts: ProtocolParts) -> None:
        self.feed = SignsFeed()
        self._parts = parts

    def user_id(self, request: ConnectRequest, placeholders: bool) -> str:
        return request.query.decode()

    def opened(self, connection: Connection, user: Admitted, parameters: Any, now: Instant) -> None:
        outcome = self._parts.directory.open(user.user_id, connection, now, session_id=f"signs-{connection.serial}")
        assert outcome.session
        connection.session = outcome.session
        connection.send(b'"hello"')
        self._parts.publisher.apply(outcome, now)
        self._parts.broadcaster.add(connection)

    def received(self, connection: Connection, message: str | bytes, now: Instant) -> None:
        assert isinstance(message, str)
        handlers.call(Context(self._parts, connection, now), handlers.parse(message))

    def goodbye(self, connection: Connection, retry_in: float) -> None:
        connection.send(b'"bye"')


def test_another_protocol_needs_one_class_and_one_line_of_composition() -> None:
    clock = FakeClock()
    node = make_node(Settings(stats_interval=0), clock, more_protocols=[SignsProtocol])
    node.start()
    assert node.subprotocols == {b"/ws-online-status": ["presenced.v1", "presenced.classic"], b"/signs": []}

    ada, bo = FakeConnection(node.closed), FakeConnection(node.closed)
    node.opened(ada, request("ada", path="/signs"))
    node.opened(bo, request("userId=bo", "presenced.v1"))
    clock.run_soon()
    assert ada.writes == [b'"hello"', b'"+bo"']

    node.received(ada, json.encode(Away()).decode())
    clock.run_soon()
    assert [user["status"] for m in bo.messages for user in m.get("users", [])] == ["online", "online", "away"]

    node.closed(bo, Ending.CLOSED, "closed")
    clock.run_soon()
    list(node.drain())
    assert ada.writes[2:] == [b'"-bo"', b'"bye"']
