"""The feed of the classic protocol: every change of other users from offline to online and back.

Most connections see everyone, so a flush is one portion for all of them. The exceptions have portions of their own:

    included during the batch      the messages of later events
    its own user changed           all but the changes of its own user
    blocks a user who changed      all but the changes of that user
    may see some users only        the changes of these users (indexed by user, so that others cost nothing)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from presenced.delivery.batch import Batch
from presenced.delivery.connection import Connection
from presenced.delivery.events import Event, Missed, Portion
from presenced.presence.model import Change
from presenced.presence.subscriptions import Selection, SubscriptionIndex
from presenced.presence.users import Users
from presenced.protocols.classic.codec import change_message

CATCH_UP_CHANGES = 256
"""Maximum number of changes in one portion for a connection that catches up. They take some 20 KB, well below a
transport's write buffer."""


class ClassicFeed:
    """The feed of the classic protocol (`delivery.events.Feed`)."""

    def __init__(self, users: Users[Any]) -> None:
        self._users = users
        self._unlimited: dict[Connection, None] = {}
        """Connections that may see everyone."""
        self._limited: SubscriptionIndex[Connection] = SubscriptionIndex()
        """The others, by the users that they may see."""
        self._limits: dict[Connection, Selection] = {}
        """Users that each of these others may see."""
        self._blocking: SubscriptionIndex[Connection] = SubscriptionIndex()
        """Connections that may see everyone except a few, by these few."""

    def __len__(self) -> int:
        return len(self._unlimited) + len(self._limits)

    def published(self, event: Event) -> None:
        """Do nothing: this feed sends events with flushes only."""

    def include(self, connection: Connection) -> None:
        """Include a connection in the portions from now on."""
        visibility = connection.session.visibility
        if visibility.everyone:
            self._unlimited[connection] = None
            if visibility.blocked:
                self._blocking.add(connection, Selection(users=set(visibility.blocked)))
        else:
            self._limits[connection] = visibility.visible_part(Selection(everyone=True))
            self._limited.add(connection, self._limits[connection])

    def exclude(self, connection: Connection) -> bool:
        """Exclude a connection. Return whether it was included."""
        if (seen := self._limits.pop(connection, None)) is not None:
            self._limited.remove(connection, seen)
            return True
        if connection not in self._unlimited:
            return False
        del self._unlimited[connection]
        if blocked := connection.session.visibility.blocked:
            self._blocking.remove(connection, Selection(users=set(blocked)))
        return True

    def portions(self, events: Sequence[Event], first_unsent: Mapping[Connection, int]) -> Iterable[Portion]:
        """Return one portion for connections that were included before the batch, and one for each exception."""
        if not len(self):
            return
        messages = _BatchMessages(events)
        if self._limits:
            yield from self._portions_of_limited(messages, first_unsent)
        if not self._unlimited:
            return
        exclusions = self._exclusions(messages, first_unsent)
        for connection, excluded in exclusions.items():
            if batch := messages.since(first_unsent.get(connection, 0), excluded):
                yield Portion((connection,), batch, len(batch))
        for connection, index in first_unsent.items():
            if connection in self._unlimited and connection not in exclusions and (batch := messages.since(index)):
                yield Portion((connection,), batch, len(batch))
        if messages.encoded:
            others = first_unsent.keys() | exclusions.keys()
            common = tuple(c for c in self._unlimited if c not in others) if others else tuple(self._unlimited)
            yield Portion(common, messages.batch, len(messages.batch))

    def portion_for(self, connection: Connection, events: Sequence[Event]) -> Portion:
        """Return the changes of other users that the connection may see."""
        return self._portion(
            connection, [event for event in events if isinstance(event, Change) and event.went_online_or_offline]
        )

    def missed(self, connection: Connection, position: int) -> Missed | None:
        """Return the last change of each user who changed after `position`."""
        changes = self._users.log.since(position, CATCH_UP_CHANGES)
        if changes is None:
            return None
        # If there may be more changes, the broadcaster asks again from the last one.
        reached = changes[-1].position if len(changes) == CATCH_UP_CHANGES else self._users.journal.position
        portion = self._portion(connection, changes)
        return Missed(iter((portion,) if portion.batch else ()), reached)

    def _portion(self, connection: Connection, changes: Sequence[Change]) -> Portion:
        visibility = connection.session.visibility
        messages = [
            change_message(change)
            for change in changes
            if visibility.sees(change.user_id) and connection not in self._users.connections(change.user_id)
        ]
        return Portion((connection,), Batch(messages), len(messages))

    def _portions_of_limited(
        self, messages: _BatchMessages, first_unsent: Mapping[Connection, int]
    ) -> Iterable[Portion]:
        seen: dict[Connection, list[int]] = {}
        for number, (index, user_id) in enumerate(messages.users):
            own = self._users.connections(user_id)
            for connection in self._limited.subscribers_of(user_id):
                if index >= first_unsent.get(connection, 0) and connection not in own:
                    seen.setdefault(connection, []).append(number)
        for connection, numbers in seen.items():
            yield Portion((connection,), messages.batch.part(numbers), len(numbers))

    def _exclusions(
        self, messages: _BatchMessages, first_unsent: Mapping[Connection, int]
    ) -> dict[Connection, set[int]]:
        """Return the numbers of the messages that a connection must not receive: about its own or a blocked user."""
        found: dict[Connection, set[int]] = {}
        for number, (index, user_id) in enumerate(messages.users):
            for connection in chain(self._users.connections(user_id), self._blocking.subscribers_of(user_id)):
                if index >= first_unsent.get(connection, 0) and connection in self._unlimited:
                    found.setdefault(connection, set()).add(number)
        return found


class _BatchMessages:
    """The messages of a batch. Only a change to online or offline has one.

    In this file, `index` is the place of an event in the batch, and `number` that of a message among the messages.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.encoded: list[bytes] = []
        self.users: list[tuple[int, str]] = []
        """For each message the index of its event, and the user."""
        self._starts: list[int] = []  # for each event, the number of messages before it
        for index, event in enumerate(events):
            self._starts.append(len(self.encoded))
            if isinstance(event, Change) and event.went_online_or_offline:  # the only event that this protocol knows
                self.users.append((index, event.user_id))
                self.encoded.append(change_message(event))
        self._starts.append(len(self.encoded))
        self.batch = Batch(self.encoded)

    def since(self, index: int, excluded: Collection[int] = ()) -> Batch:
        """Return the messages of the events from `index` on, without the messages with the numbers `excluded`."""
        start = self._starts[index]
        if not excluded:
            return self.batch.part(slice(start, None))
        return self.batch.part([number for number in range(start, len(self.encoded)) if number not in excluded])
