"""Batches of a node and a shard, from the decision until they are read back from the log. Pure."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import NamedTuple

from presenced.cluster.backend import CommitBatch, Committed, Kind, Proposal

MAX_CONTROLS = 1_000
"""Maximum number of waiting control entries. At the bound, one more is refused."""

UNREAD_BATCHES = 1_000
"""Number of accepted batches that are remembered until they are read back. Beyond it, the oldest count as read."""


class _Control(NamedTuple):
    """Entry that is not about users' records."""

    kind: Kind
    body: bytes
    expires_at: float
    """Monotonic time after which it is not sent any more."""


class Answer(NamedTuple):
    """Answer of the store to a batch."""

    accepted: tuple[Proposal, ...] = ()
    refused: tuple[Proposal, ...] = ()


class Unread(NamedTuple):
    """Everything that was decided and not read back yet."""

    kinds: set[Kind]
    """Kinds of the entries, including control entries that still wait."""
    users: set[str]
    """Users whose records were sent."""


class Outbox:
    """Batches of one node in one shard. *Control entries* are entries of the log that are not about users' records.

        control --> waiting --send--> in flight --committed--> unread --read_up_to-->
                       ^                  |
                       '----- lost -------'

    Bounds: one batch in flight, `MAX_CONTROLS`, `UNREAD_BATCHES`.
    """

    def __init__(self) -> None:
        self.in_flight: CommitBatch | None = None
        """Batch that was sent, and has no answer yet; None if there is none."""
        self._serial = 0
        self._controls: deque[_Control] = deque()
        self._sent: _Control | None = None  # the control entry in flight
        self._unread: deque[tuple[int, CommitBatch]] = deque(maxlen=UNREAD_BATCHES)  # with numbers of their entries

    def add_control(self, kind: Kind, body: bytes, expires_at: float = inf) -> bool:
        """Add a control entry. Return False if too many wait already.

        Args:
            expires_at: Monotonic time after which it is not sent any more.
        """
        if len(self._controls) >= MAX_CONTROLS:
            return False
        self._controls.append(_Control(kind, body, expires_at))
        return True

    def send_control(self, now: float) -> CommitBatch | None:
        """Return a batch with the control entry that waits longest; None if none waits (`now`: monotonic seconds)."""
        while self._controls:
            control = self._controls.popleft()
            if now < control.expires_at:
                self._sent = control
                return self.send((), control.kind, control.body)
        return None

    @property
    def in_flight_expires_at(self) -> float:
        """Monotonic time after which the batch in flight must not be accepted any more; infinity if always allowed."""
        is_control = self.in_flight is not None and self.in_flight.kind is not Kind.ITEMS
        return self._sent.expires_at if is_control and self._sent is not None else inf

    def send(self, proposals: tuple[Proposal, ...], kind: Kind = Kind.ITEMS, body: bytes = b"") -> CommitBatch:
        """Return a batch, which is in flight from now on."""
        self._serial += 1
        self.in_flight = CommitBatch(self._serial, proposals, kind, body)
        return self.in_flight

    def committed(self, result: Committed, applied_n: int) -> Answer | None:
        """Take the answer to the batch in flight. Return None if it is for another batch.

        Args:
            applied_n: Number up to which the log was applied. The entry may have been read before the answer.
        """
        batch = self.in_flight
        if batch is None or batch.serial != result.serial:
            return None
        if result.is_late:
            self.lost()  # it waits again, and expires by the clock of this node
            return Answer()
        self.in_flight = None
        refused = set(result.refused)
        answer = Answer(
            tuple(proposal for proposal in batch.proposals if proposal.user_id not in refused),
            tuple(proposal for proposal in batch.proposals if proposal.user_id in refused),
        )
        if result.n > applied_n and (answer.accepted or batch.kind is not Kind.ITEMS):
            self._unread.append((result.n, batch))
        return answer

    def lost(self) -> tuple[Proposal, ...]:
        """Return the proposals of the batch in flight, because its answer is lost. A control entry waits again."""
        batch, self.in_flight = self.in_flight, None
        if batch is not None and batch.kind is not Kind.ITEMS:
            assert self._sent is not None, "it was sent by `send_control`"
            self._controls.appendleft(self._sent)  # if it was accepted, it is logged twice: all kinds allow that
        return batch.proposals if batch is not None else ()

    def read_up_to(self, n: int) -> None:
        """Forget the batches that were read back, because the log was read up to a number."""
        while self._unread and self._unread[0][0] <= n:
            self._unread.popleft()

    @property
    def users_in_flight(self) -> list[str]:
        """Users in the batch in flight."""
        return [proposal.user_id for proposal in self.in_flight.proposals] if self.in_flight is not None else []

    def unread(self) -> Unread:
        """Return everything that has not been read back yet."""
        batches = [batch for _, batch in self._unread]
        if self.in_flight is not None:
            batches.append(self.in_flight)
        kinds = {batch.kind for batch in batches}.union(control.kind for control in self._controls)
        return Unread(kinds, {proposal.user_id for batch in batches for proposal in batch.proposals})
