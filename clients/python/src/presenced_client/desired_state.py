"""Subscriptions that the program wants, and the requests that bring the server there.

Readers of users, rooms and counts form the desired state. The client keeps it beside the state that it has requested.
Requests are the difference, so they are idempotent and need no queue while there is no connection.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from presenced_client.refusals import Refusals
from presenced_client.requested_state import EVERYONE, Request, RequestedState

K = TypeVar("K", bound=Hashable)

OVERHEAD_BYTES = 200
"""Bytes of a request beside its list of users."""


class Readers(Generic[K]):
    """Counts the readers of each key. A key stays wanted for a while after its last reader has left."""

    def __init__(self) -> None:
        self.active: dict[K, int] = {}
        self.lingering: dict[K, float] = {}
        """Keys without a reader and when they are dropped, the one that has lingered longest first."""

    def __contains__(self, key: K) -> bool:
        return key in self.active or key in self.lingering

    def acquire(self, key: K) -> None:
        """Add a reader."""
        self.active[key] = self.active.get(key, 0) + 1
        self.lingering.pop(key, None)

    def release(self, key: K, until: float) -> None:
        """Remove a reader. The key stays wanted until then, unless another reader comes."""
        if self.active[key] > 1:
            self.active[key] -= 1
        else:
            del self.active[key]
            self.lingering[key] = until

    def expire(self, now: float) -> bool:
        """Drop the keys that have lingered long enough. Return whether there were any."""
        over = [key for key, until in self.lingering.items() if until <= now]
        for key in over:
            del self.lingering[key]
        return bool(over)

    def first(self, maximum: int) -> list[K]:
        """Return the wanted keys, at most `maximum`: read ones first, then those that have lingered least."""
        return [*self.active, *reversed(self.lingering)][:maximum]


@dataclass
class DesiredRoom:
    """A wanted room."""

    watchers: int = 0
    joiners: int = 0
    data: Any = None


class DesiredState:
    """Everything that is wanted, across connections and sessions."""

    def __init__(self) -> None:
        self.users: Readers[str] = Readers()
        self.everyone: Readers[None] = Readers()
        self.counts: Readers[str] = Readers()
        self.rooms: dict[str, DesiredRoom] = {}
        self.is_idle = False

    def expire(self, now: float) -> bool:
        """Drop what has lingered long enough. Return whether there was anything."""
        users, everyone, counts = (readers.expire(now) for readers in (self.users, self.everyone, self.counts))
        return users or everyone or counts

    def next_expiry(self) -> float | None:
        """Return when the next key is dropped."""
        times = [t for r in (self.users, self.everyone, self.counts) for t in r.lingering.values()]
        return min(times, default=None)


@dataclass
class Limits:
    """Limits of CONNECTION_ESTABLISHED."""

    max_message_bytes: int = 65_536
    max_users: int = 1000
    max_rooms: int = 100


@dataclass
class Difference:
    """The requests between two states, one after the other, in the order in which the server must receive them."""

    desired: DesiredState
    requested: RequestedState
    limits: Limits
    refusals: Refusals

    def requests(self) -> Iterator[Request]:
        """Yield the next request. The caller applies it to `requested` before it asks for another one."""
        yield from self._activity()
        yield from self._unwatch()
        yield from self._leave()
        yield from self._join()
        yield from self._watch()

    def wanted_users(self) -> set[str]:
        """Return the users to watch: at the server's limit, those who have lingered longest are left out."""
        return set(self.desired.users.first(self.limits.max_users))

    def _activity(self) -> Iterator[Request]:
        if self.desired.is_idle is not self.requested.is_idle:
            yield {"type": "ACTIVITY", "state": "idle" if self.desired.is_idle else "active"}

    def _unwatch(self) -> Iterator[Request]:
        desired, requested = self.desired, self.requested
        everyone_goes = requested.everyone and (None not in desired.everyone or EVERYONE in self.refusals.renew)
        count_goes = EVERYONE in requested.counts and EVERYONE not in desired.counts
        if everyone_goes or count_goes:  # one request ends both; the one that stays is requested again
            yield {"type": "UNWATCH", "everyone": True}
        for users in self._chunks(requested.users - (self.wanted_users() - self.refusals.renew)):
            yield {"type": "UNWATCH", "users": users}
        rooms = {name for name, room in requested.rooms.items() if not room.joined and (name not in desired.rooms)} | {
            name for name in requested.counts if name and name not in desired.counts
        }
        if rooms:
            yield {"type": "UNWATCH", "rooms": sorted(rooms)}

    def _leave(self) -> Iterator[Request]:
        for name, room in list(self.requested.rooms.items()):
            if room.joined and not self._is_joined(name):
                yield {"type": "LEAVE", "room": name}

    def _join(self) -> Iterator[Request]:
        for name, wanted in self.desired.rooms.items():
            room = self.requested.rooms.get(name)
            if not wanted.joiners or ("room", name) in self.refusals.refused:
                continue
            if room is None or not room.joined:
                yield {"type": "JOIN", "room": name, **({} if wanted.data is None else {"data": wanted.data})}
            elif room.data != wanted.data and ("data", name) not in self.refusals.refused:
                yield {"type": "SET_MEMBER", "room": name, "data": wanted.data}

    def _watch(self) -> Iterator[Request]:
        desired, requested = self.desired, self.requested
        if None in desired.everyone and not requested.everyone:
            yield {"type": "WATCH", "everyone": True}
        missing = self.wanted_users() - requested.users - self.refusals.keys("user")
        for part in [part for part in self.refusals.alone if missing.issuperset(part)]:
            missing.difference_update(part)
            yield {"type": "WATCH", "users": part}
        for users in self._chunks(missing):
            yield {"type": "WATCH", "users": users}
        rooms = {name for name in desired.rooms if name not in requested.rooms} | (
            self.refusals.refresh & requested.rooms.keys()
        )
        rooms -= self.refusals.keys("room")
        for name in sorted(rooms & {name for part in self.refusals.alone for name in part}):
            rooms.discard(name)
            yield {"type": "WATCH", "rooms": [name]}
        if rooms:
            yield {"type": "WATCH", "rooms": sorted(rooms)}
        counts = {key for key in desired.counts.first(self.limits.max_rooms + 1) if key not in requested.counts}
        for key in sorted(counts - self.refusals.keys("count")):
            yield {"type": "WATCH", **({"rooms": [key]} if key else {"everyone": True}), "mode": "count"}

    def _is_joined(self, name: str) -> bool:
        wanted = self.desired.rooms.get(name)
        return wanted is not None and wanted.joiners > 0

    def _chunks(self, users: Iterable[str]) -> Iterator[list[str]]:
        """Split a list so that each request stays below the server's bound for a message."""
        space = self.limits.max_message_bytes - OVERHEAD_BYTES
        chunk: list[str] = []
        size = 0
        for user in sorted(users):
            needed = len(json.dumps(user)) + 1  # ASCII with escapes, the longest form
            if chunk and size + needed > space:
                yield chunk
                chunk, size = [], 0
            chunk.append(user)
            size += needed
        if chunk:
            yield chunk
