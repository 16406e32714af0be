"""The events of one flush as messages of presenced.v1: each user once, each member once, encoded when first needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import NamedTuple, cast

from presenced.delivery.batch import EMPTY, Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event, Portion
from presenced.presence.model import Change
from presenced.presence.rooms import RoomChange
from presenced.presence.visibility import NOBODY, Visibility
from presenced.protocols.v1.encoder import V1Encoder
from presenced.protocols.v1.extensions import ExtensionEvent, FeedExtension, Lane


class Content(NamedTuple):
    """Contents of a portion. Connections with equal content share a portion."""

    users: tuple[str, ...] = ()
    """Ids of users who changed."""
    rooms: tuple[str, ...] = ()
    """Names of rooms that changed."""
    extension_events: tuple[int, ...] = ()
    """Events of modules, by their index in `EventBatch.extension_events`."""


class EventBatch:
    """Events of one flush, in order, and their messages.

    Args:
        extensions: Extensions of modules by topic.
        visibility: Visibility of the one receiver; None if the messages are for receivers that block no user.
    """

    def __init__(
        self,
        events: Sequence[Event],
        encoder: V1Encoder,
        extensions: Mapping[str, FeedExtension],
        visibility: Visibility | None = None,
    ) -> None:
        self._encoder = encoder
        self._extensions = extensions
        self._visibility = visibility
        self._blocked: Set[str] = visibility.blocked if visibility else NOBODY
        self._position = events[-1].position
        self.users: dict[str, Change] = {}
        """The last change of each user."""
        self.rooms: dict[str, dict[str, RoomChange]] = {}
        """The last change of each member, by room."""
        self.extension_events: list[ExtensionEvent] = []
        """Events of modules."""
        for event in events:
            if isinstance(event, Change):
                if event.user_id not in self._blocked:
                    self.users[event.user_id] = event
            elif isinstance(event, RoomChange):
                if event.user_id not in self._blocked:
                    self.rooms.setdefault(event.room, {})[event.user_id] = event
            else:  # every other type is an event of a module
                self.extension_events.append(cast(ExtensionEvent, event))
        # Encoded messages: by the users that they contain, by room, and by indexes of `extension_events`.
        self._presence: dict[tuple[str, ...], bytes] = {}
        self._room: dict[str, bytes] = {}
        self._extension_batches: dict[tuple[int, ...], list[bytes]] = {}

    def has_joined(self, user_id: str, room: str) -> bool:
        """Return whether a user joined a room. If so, the message about the room has the user's state."""
        event = self.rooms.get(room, {}).get(user_id)
        return event is not None and event.member is not None

    def connections_of(self, event: ExtensionEvent) -> Collection[Connection]:
        """Return the connections that receive an event of a module."""
        return self._extensions[event.topic].connections(event)

    def portions(self, by_content: Mapping[Content, Collection[Connection]]) -> Iterator[Portion]:
        """Return a portion for each content that some connections receive."""
        for content, connections in by_content.items():
            if connections and any(content):
                yield self.portion(connections, content)

    def portion(self, connections: Collection[Connection], content: Content) -> Portion:
        """Return a portion with this content, empty if the content is. PRESENCE_CHANGES is its last message."""
        if not any(content):
            return Portion(connections, EMPTY, 0)
        messages = list(map(self._room_changes, content.rooms))
        if content.extension_events:
            messages += self._extension_messages(content.extension_events)
        messages.append(self._presence_changes(content.users))
        return Portion(connections, Batch(messages), sum(map(len, content)))

    def _presence_changes(self, user_ids: tuple[str, ...]) -> bytes:
        message = self._presence.get(user_ids)
        if message is None:
            records = [self._encoder.record(self.users[user_id]) for user_id in user_ids]
            message = self._presence[user_ids] = self._encoder.changes(self._position, records)
        return message

    def _room_changes(self, name: str) -> bytes:
        message = self._room.get(name)
        if message is None:
            events = self.rooms[name].values()
            message = self._room[name] = self._encoder.room_changes(
                self._encoder.rooms.get(name),
                name,
                [event.member for event in events if event.member],
                [event.user_id for event in events if event.member is None],
                self._blocked,
            )
        return message

    def _extension_messages(self, indexes: tuple[int, ...]) -> list[bytes]:
        """Return the messages of modules: in the lane STATE of the newest event of each key, in LOG of every event."""
        messages = self._extension_batches.get(indexes)
        if messages is None:
            messages = self._extension_batches[indexes] = []
            by_topic: dict[str, list[ExtensionEvent]] = {}
            for event in (self.extension_events[index] for index in indexes):
                by_topic.setdefault(event.topic, []).append(event)
            for topic, some in sorted(by_topic.items()):
                extension = self._extensions[topic]
                if extension.lane is Lane.STATE:
                    some = list({event.key: event for event in some}.values())
                messages += extension.messages(some, self._visibility)
        return messages
