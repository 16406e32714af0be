"""What a node has to tell the others, from the decision until it is read back from the log: pure."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import NamedTuple

from presenced.cluster.backend import Batch, Committed, Kind, Proposal

MAX_CONTROLS = 1_000
"""Maximum number of waiting entries that are not about users' records."""

UNREAD_BATCHES = 1_000
"""Number of accepted batches that are remembered until they are read back. Beyond it, the oldest count as read."""


class _Control(NamedTuple):
    """Entry that is not about users' records."""

    kind: Kind
    body: bytes
    ends: float
    """Monotonic time after which it is not sent any more."""


class Answer(NamedTuple):
    """What the store has done with a batch."""

    accepted: tuple[Proposal, ...] = ()
    refused: tuple[Proposal, ...] = ()


class Outbox:
    """Batches of one node in one shard, and the entries of the log that are not about users' records.

        control --> waiting --send--> in flight --committed--> unread --read_up_to-->
                       ^                  |
                       '----- lost -------'

    Bounds: one batch in flight, `MAX_CONTROLS`, `UNREAD_BATCHES`.
    """

    def __init__(self) -> None:
        self.in_flight: Batch | None = None
        """Batch that was sent, and has no answer yet."""
        self._serial = 0
        self._controls: deque[_Control] = deque()
        self._sent: _Control | None = None  # the control entry in flight
        self._unread: deque[tuple[int, Batch]] = deque(maxlen=UNREAD_BATCHES)  # with the numbers of their entries

    def control(self, kind: Kind, body: bytes, ends: float = inf) -> bool:
        """Add an entry that is not about users' records. Return False if too many wait already.

        Args:
            ends: Monotonic time after which it is not sent any more.
        """
        if len(self._controls) >= MAX_CONTROLS:
            return False
        self._controls.append(_Control(kind, body, ends))
        return True

    def send_control(self, now: float) -> Batch | None:
        """Send the entry that waits longest, in a batch of its own; None if none waits (`now`: monotonic seconds)."""
        while self._controls:
            control = self._controls.popleft()
            if now < control.ends:
                self._sent = control
                return self.send((), control.kind, control.body)
        return None

    @property
    def in_flight_ends(self) -> float:
        """Monotonic time after which the batch in flight must not be accepted any more; infinity if it may be."""
        is_control = self.in_flight is not None and self.in_flight.kind is not Kind.ITEMS
        return self._sent.ends if is_control and self._sent is not None else inf

    def send(self, proposals: tuple[Proposal, ...], kind: Kind = Kind.ITEMS, body: bytes = b"") -> Batch:
        """Return a batch, which is in flight from now on."""
        self._serial += 1
        self.in_flight = Batch(self._serial, proposals, kind, body)
        return self.in_flight

    def committed(self, result: Committed, applied_n: int) -> Answer | None:
        """Take the answer to the batch in flight. Return None if it is for another one.

        Args:
            applied_n: Number up to which the log was read.
        """
        batch = self.in_flight
        if batch is None or batch.serial != result.serial:
            return None
        if result.is_late:
            self.lost()  # it waits again, and ends by the clock of this node
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
        """Nothing is known of the batch in flight. Return its proposals. An entry of another kind waits again."""
        batch, self.in_flight = self.in_flight, None
        if batch is not None and batch.kind is not Kind.ITEMS:
            assert self._sent is not None, "it was sent by `send_control`"
            self._controls.appendleft(self._sent)  # all kinds may be repeated
        return batch.proposals if batch is not None else ()

    def read_up_to(self, n: int) -> None:
        """The log was read up to a number."""
        while self._unread and self._unread[0][0] <= n:
            self._unread.popleft()

    def read_all(self) -> None:
        """The log was read to its end. Batches that were not in it are lost."""
        self._unread.clear()

    def unread(self) -> tuple[set[Kind], set[str]]:
        """Return kinds of entries, and users, of which something has not been read back."""
        batches = [batch for _, batch in self._unread]
        if self.in_flight is not None:
            batches.append(self.in_flight)
        kinds = {batch.kind for batch in batches}.union(control.kind for control in self._controls)
        return kinds, {proposal.user_id for batch in batches for proposal in batch.proposals}
