"""Extensions of the feed of presenced.v1: how a module, such as chat, sends events of its own.

A module publishes events with its topic. The feed asks the module's extension which connections receive an event and
how it is encoded. It puts the messages into the same write as rooms and presence. The last message of a write has the
position, so a client that resumes from there has the module's events too.

    lane     events of one flush       a client that was slow or comes back
    -----    ----------------------    --------------------------------------------------------------
    STATE    the newest of each key    the state as it is then: the extension's `missed` computes it
    LOG      all, in order             each event once, in order: the extension's `missed` reads its history
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import Protocol

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event
from presenced.presence.visibility import Visibility


class Lane(Enum):
    """Kind of delivery: which events a client receives if it was slow."""

    STATE = "state"
    """Only the newest event of each key."""
    LOG = "log"
    """Every event, in order."""


class ExtensionEvent(Event, Protocol):
    """An event of a module."""

    @property
    def topic(self) -> str:
        """Topic of the extension that encodes the event."""

    @property
    def key(self) -> str:
        """Subject of the event. In the lane STATE a newer event replaces an older one with the same key."""


class FeedExtension(Protocol):
    """Messages of one topic for connections of presenced.v1."""

    topic: str
    """Topic of the events that this extension encodes. No two extensions have the same one."""
    lane: Lane
    """Lane in which the events of a flush are sent. The extension's `missed` follows the same rule."""

    def connections(self, event: ExtensionEvent) -> Collection[Connection]:
        """Return the connections that receive an event, whether they keep up or not."""

    def messages(self, events: Sequence[ExtensionEvent], visibility: Visibility | None) -> list[bytes]:
        """Return the messages for some events, in order.

        Args:
            visibility: Visibility of the one receiver; None for receivers that block no user, which share the messages.
        """

    def missed(self, connection: Connection, position: int | None) -> Iterable[Batch]:
        """Return the messages that a connection at `position` has missed until now, some 30 KB at a time.

        Args:
            position: None for a connection that has nothing yet.
        """
