"""The Python interface in memory, without a socket, on a fake clock and fake connections."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from tests.support.memory_api import FakeStorage
from tests.support.node_harness import NodeHarness

from presenced.auth.tickets import Tickets
from presenced.node.service import PresenceService
from presenced.python_api.following import ChangeFollowers
from presenced.python_api.operations import PresenceOperations, RunningParts


class Embedded(PresenceOperations):
    """Operations of the program that contains a node, and the clients of the node.

    Args:
        clients: Node with its clients; None for one with these settings.
    """

    def __init__(self, clients: NodeHarness | None = None, storage: FakeStorage | None = None, **settings: Any) -> None:
        self.clients = clients or NodeHarness(None, **settings)
        self.node, self.clock = self.clients.node, self.clients.clock
        self.settings = self.node.settings
        self.service = PresenceService(self.node, Tickets(), storage)
        self.followers = ChangeFollowers(self.service, self.clock)

    def _running_parts(self) -> RunningParts:
        return RunningParts(self.service, self.followers, self.clock)


def as_http(value: Any) -> Any:
    """Return a result as the HTTP API writes it, without empty fields."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {_camel(field.name): as_http(getattr(value, field.name)) for field in fields(value)}
        if found.pop("certain", True) is False:
            found["certainty"] = "stale"
        return {name: item for name, item in found.items() if item not in EMPTY}
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, list | tuple):
        return [as_http(item) for item in value]
    return value


def without_empty(value: Any) -> Any:
    """Return JSON without its empty fields."""
    if isinstance(value, dict):
        return {name: without_empty(item) for name, item in value.items() if without_empty(item) not in EMPTY}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


EMPTY: tuple[Any, ...] = (None, "", [], {}, ())
"""Values that the HTTP API omits, or that stand for nothing. 0 is one only as a time."""


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))
