"""What of the node's events is to be kept, and what of that comes back at the next start.

Events cost next to nothing here: a user is noted, a change or a session put into a list. What that comes to is made
when it is given to the keeper, some milliseconds later, and of most the newest state is enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Protocol

from presenced.config.settings import Settings
from presenced.errors import CapacityError
from presenced.presence.choices import Made, choice_of
from presenced.presence.claims import CLAIMABLE, Claim
from presenced.presence.directory import Directory
from presenced.presence.model import Choice, Custom, Status
from presenced.presence.outcome import Outcome
from presenced.presence.rooms import Room, RoomChange, Rooms
from presenced.presence.since import Since
from presenced.presence.user import Session
from presenced.protocols.v1 import codec as v1
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.metrics import Metrics
from presenced.runtime.text import refused_character
from presenced.storage.noted import Noted
from presenced.storage.records import (
    Record,
    Restored,
    RestoredChoices,
    RestoredDisplay,
    RoomOccupancy,
    StoredChoice,
    StoredClaim,
    StoredRevocation,
    StoredSession,
    StoredUser,
)

PERIOD = 0.02
"""Seconds for which what happens is collected before it is given to the keeper."""

BLOCKED_PERIOD = 1.0
"""The same while the keeper takes nothing."""

MAX_SUBJECT = 255
"""Characters of the id of a token that is revoked; ids are shorter, and those that can't be read are not kept."""

_CLASSIC, _V1 = "classic", "presenced.v1"


class Keeper(Protocol):
    """Where facts are given to; `worker.client` has it."""

    @property
    def takes(self) -> bool:
        """Whether a batch may be given."""

    @property
    def warning(self) -> str:
        """What an operator should know; empty when all is well."""

    def give(self, facts: list[Record], position: int) -> None:
        """Store these; never fails, never waits. `position` is the newest change's."""


class Connection(Protocol):
    """What is read of a connection."""

    session: Session[Any]
    user_id: str
    connection_id: str
    address: str
    opened_ms: int


class WriteBehind:
    """Collects what is to be kept.

    Bounds: `MAX_WAITING` of each kind.

    Args:
        apply: Tell everyone what came of something.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        keeper: Keeper,
        directory: Directory[Any],
        rooms: Rooms,
        apply: Callable[[Outcome[Any]], None],
    ) -> None:
        self._keeper = keeper
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._directory = directory
        self._rooms = rooms
        self._apply = apply
        self._is_told = True
        self._with_changes = settings.history_age > 0 or bool(settings.webhook_urls)
        self._with_addresses = settings.keep_addresses
        self.restore_revocations: Callable[[Sequence[StoredRevocation]], None] = lambda _: None
        """Who is told what was revoked before the start."""
        self._noted = Noted(metrics.records_merged.inc)
        self.blocked = False
        """The keeper takes nothing, and something waits."""
        directory.since_start = Since()
        metrics.gauge("presenced_storage_waiting_facts", "Facts that wait to be stored.", lambda: self.waiting)

    # Events.

    def event(self, outcome: Outcome[Any], is_told: bool) -> None:
        """Something of a user may be another now.

        Args:
            is_told: Others are told of the change, if it is one.
        """
        noted = self._noted
        self._is_told = is_told
        if (user := self._directory.user(outcome.user_id)) is not None:
            noted.users[outcome.user_id] = user
        if (change := outcome.change) is not None and is_told and self._with_changes:
            noted.changes.append(change)
        if noted.since is None:
            self._wait()

    def opened(self, connection: Connection) -> None:
        """A session opened, or is open again."""
        session = connection.session
        known = session.kept
        if isinstance(known, StoredSession):
            fact = known
            fact.connection_id, fact.closed_ms, fact.reason = connection.connection_id, 0, ""
        else:
            fact = StoredSession(
                connection.connection_id,
                connection.user_id,
                connection.connection_id,
                hashlib.blake2b(session.session_id.encode(), digest_size=16).hexdigest() if session.session_id else "",
                _V1 if session.session_id else _CLASSIC,
                session.device,
                connection.address if self._with_addresses else "",
                connection.opened_ms,
            )
        session.kept = self._noted.sessions[fact.key] = fact

    def closed(self, connection: Connection, reason: str, now: Instant) -> None:
        """A connection ended; no-op for one whose session has another by now."""
        fact = connection.session.kept
        if connection.session.connection is connection and isinstance(fact, StoredSession):
            fact.closed_ms, fact.reason = now.epoch_ms, reason
            self._noted.sessions[fact.key] = fact

    def room_changed(self, change: RoomChange, room: Room | None, now: Instant) -> None:
        """A membership of `room` changed, which is None when it has no member any more."""
        if not self._with_changes:
            return
        if room is None or room.floor == change.position - 1:  # which is so for its first member only
            self._noted.changes.append(RoomOccupancy(change.position, change.room, room is not None, now.epoch_ms))
            self._wait()

    def revoked(self, kind: str, subject: str, at: float, until: float) -> None:
        """Tokens are accepted no longer: all of a `user`, or one `token`."""
        if len(subject) <= MAX_SUBJECT and not refused_character(subject):
            self._noted.others[kind, subject] = StoredRevocation(kind, subject, at, until)
            self._wait()

    @property
    def is_restoring(self) -> bool:
        """Whether stored data remains to be restored."""
        return self._directory.since_start is not None

    def claimed(self, user_id: str, claim: Claim) -> None:
        """A backend claims something of a user."""
        custom = claim.custom
        self._noted.others[user_id, claim.source] = StoredClaim(
            user_id,
            claim.source,
            claim.status,
            custom.text,
            custom.emoji,
            custom.data,
            claim.priority,
            claim.set_ms,
            custom.until_ms,
        )
        self._wait()

    def unclaimed(self, user_id: str, source: str) -> None:
        """A backend claims no longer what it claimed."""
        self._noted.others[user_id, source] = StoredClaim(user_id, source)
        self._wait()

    def forget(self, user_id: str) -> None:
        """Give nothing of what waits about this user, who is to be erased."""
        self._noted.forget(user_id)

    # To the keeper.

    def absent(self, users: Iterable[str], rooms: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return those of these users who are shown offline now, and those of these rooms that are empty.

        Return None while the server stops. Connections end then, and nobody is notified that their users have left.
        """
        if not self._is_told:
            return [], []
        offline = [user_id for user_id in users if self._directory.status(user_id) is Status.OFFLINE]
        return offline, [name for name in rooms if self._rooms.get(name) is None]

    def waiting_of(self, user_ids: Collection[str]) -> dict[str, StoredUser]:
        """Return the state of those of these users whose facts wait to be sent."""
        return self._noted.waiting_of(user_ids)

    @property
    def waiting(self) -> int:
        """How much waits to be given."""
        return len(self._noted)

    @property
    def warning(self) -> str:
        """What an operator should know of the keeper; empty when all is well."""
        return self._keeper.warning

    @property
    def position(self) -> int:
        """Of the newest change."""
        return self._directory.position

    @property
    def since(self) -> float | None:
        """Monotonic: what waits longest, waits since then; None when nothing does."""
        return self._noted.waiting_since

    def flush(self) -> None:
        """Give a portion of what is due, if the keeper takes it; to be called when it takes more, too."""
        now = self._clock.monotonic()
        if self._keeper.takes and (facts := self._noted.portion(now)):
            self._keeper.give(facts, self._directory.position)
        self.blocked = bool(self.waiting) and not self._keeper.takes
        if not self.waiting:
            self._timer.cancel(self.flush)
        elif self.blocked:
            self._metrics.records_dropped.inc(self._noted.bound())
            self._timer.set(self.flush, now + BLOCKED_PERIOD)
        else:
            self._timer.set(self.flush, now + PERIOD)

    def finish(self) -> None:
        """Give all from now on, for the end is near."""
        self._noted.end()
        self.flush()

    def _wait(self) -> None:
        if self._noted.since is None:
            self._noted.since = now = self._clock.monotonic()
            self._timer.set(self.flush, now + PERIOD)

    # From the keeper.

    def restore(self, facts: Sequence[Restored]) -> None:
        """Restore stored data from before the start. Decisions made since then take precedence (`presence.since`)."""
        now = self._clock.now()
        for fact in facts:
            if isinstance(fact, RestoredChoices):
                self._restore_choice(fact, now)
            elif isinstance(fact, RestoredDisplay):
                if v1.is_display(fact.display):  # else somebody else has written it
                    self._apply(self._directory.restore_display(fact.user_id, v1.compact(fact.display), now))
            elif isinstance(fact, StoredClaim):
                self._restore_claim(fact, now)
        if revocations := [fact for fact in facts if isinstance(fact, StoredRevocation)]:
            self.restore_revocations(revocations)

    def begin_at(self, position: int) -> None:
        """Positions begin at `position`; before anything else."""
        assert self._directory.position == 0, "nobody was told one yet"
        self._directory.position = self._directory.origin = position

    def begin(self, position: int) -> None:
        """All is restored; positions go on from `position` at least."""
        self._directory.position = max(self._directory.position, position)
        self._directory.since_start = None
        self.flush()

    def _restore_choice(self, fact: RestoredChoices, now: Instant) -> None:
        stored = [Made(choice) for choice in _choices(fact.chosen)]
        for choice in _choices(fact.timed):
            lasts = (choice.custom.until_ms - now.epoch_ms) / 1000
            stored += [Made(choice, now.monotonic + lasts)] if lasts > 0 else []
        self._apply(self._directory.restore_choices(fact.user_id, tuple(stored), now))

    def _restore_claim(self, fact: StoredClaim, now: Instant) -> None:
        user, since = self._directory.user(fact.user_id), self._directory.since_start
        is_decided = since is not None and since.has_claim(fact.user_id, fact.source)
        if is_decided or (user is not None and any(claim.source == fact.source for claim in user.claims)):
            return
        lasts = (fact.until_ms - now.epoch_ms) / 1000 if fact.until_ms else inf
        if fact.status not in CLAIMABLE or lasts <= 0:
            return
        custom = Custom(fact.text, fact.emoji, _data(fact.data), fact.until_ms)
        claim = Claim(fact.source, Status(fact.status), custom, fact.priority, fact.set_ms, now.monotonic + lasts)
        with suppress(CapacityError):  # others have claimed as much since
            self._apply(self._directory.set_claim(fact.user_id, claim, now))


def _choices(fact: StoredChoice | None) -> list[Choice]:
    """Return the stored choice; None if it is invalid, since another program may have written the row."""
    if fact is None:
        return []
    with suppress(ValueError):
        return [choice_of(fact.status, fact.text, fact.emoji, _data(fact.data), fact.until_ms)]
    return []


def _data(stored: bytes) -> bytes:
    """Return stored JSON as clients receive it, on one line; nothing if clients could not read it. Another program, or
    an earlier version, may have written it."""
    return v1.compact(stored) if v1.can_be_read(stored) else b""
