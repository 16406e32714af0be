"""Link of one node to one shard of a `MemoryHub`.

A link executes requests at the store. If no reply arrives in time, the link fails, as a connection to a real store
does. Everything that waits for a reply is then lost, and the node connects and registers again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from presenced.cluster.backend import (
    CommitBatch,
    Committed,
    Counts,
    Excerpt,
    Member,
    Receiver,
    Registration,
    StoreRecord,
)
from presenced.cluster.log import LastKnown
from presenced.cluster.memory.reader import READ_ENTRIES, LogReader
from presenced.cluster.memory.store import Fenced, MemoryShard, NoFreeSlot, Waiting
from presenced.runtime.clock import Action

if TYPE_CHECKING:
    from presenced.cluster.memory.hub import MemoryBackend

CALL_TIMEOUT_S = 1.0
"""Seconds without a reply to a request after which a link fails."""

RETRY_S = 0.25
"""Seconds between attempts to connect or to register."""

MEMBERS_PERIOD_S = 1.0
"""Seconds between reports of the members."""

OnReply = Callable[[Any], None]
"""Function called with what the store replies."""


class _Call:
    """Request that waits for its reply."""

    def __init__(self, on_lost: Action) -> None:
        self.on_lost = on_lost


class Link:
    """Link of one node to one shard."""

    def __init__(self, backend: MemoryBackend, index: int) -> None:
        self.backend = backend
        self.hub = backend.hub
        self.index = index
        self.store = backend.hub.shards[index]
        self.known = LastKnown()
        self._connection = 0  # number of the connection; messages of an earlier one are dropped
        self._is_connected = False
        self._calls: dict[_Call, None] = {}
        self._registration: Registration | None = None
        self._nonce = self.hub.nonce()  # of the next registration
        self._is_attached = False  # registered on this connection, and not fenced
        self._is_fenced = False  # the receiver knows that the registration has ended
        self._is_lost = False  # the receiver knows that the connection was lost
        self._has_commit_in_flight = False
        self._reads_to_repeat: list[Action] = []
        self.reader = LogReader(self)

    @property
    def receiver(self) -> Receiver:
        """Receiver of this node."""
        return self.backend.receiver

    def registration_is(self, slot: int, incarnation: str) -> bool:
        """Return whether this node has this slot and this incarnation."""
        registered = self._registration
        return registered is not None and (registered.slot, registered.incarnation) == (slot, incarnation)

    def raise_floor(self, n: int) -> None:
        """Raise the floor to `n`, a number that this node has read from the log or shown to clients.

        After lost writes, the store continues above the floor.
        """
        self.known = self.known.above(n)

    # Connecting.

    def connect(self) -> None:
        """Connect and register, and repeat this until it succeeds."""
        if not self._is_connected:
            self._connection += 1
            self._is_connected = True
            self._register()

    def connection_closed_by_store(self) -> None:
        """Fail the link after the network delay, because the store has closed the connection."""
        if self._is_connected:
            self._connection += 1  # replies on their way are lost
            connection = self._connection
            self.backend.reply(lambda: self._fail(connection))

    def _fail(self, connection: int) -> None:
        """Give up the connection, and try to connect again."""
        if connection != self._connection or not self._is_connected:
            return
        self._is_connected = self._is_attached = False
        self.reader.disconnected()
        calls, self._calls = self._calls, {}
        for call in calls:
            call.on_lost()
        if self._registration and not self._is_lost:
            self._is_lost = True
            self.receiver.disconnected(self.index)
        self.later(RETRY_S, self.connect)

    def later(self, seconds: float, action: Action) -> None:
        """Call `action` after some seconds."""
        self.backend.call_at(self.hub.clock.monotonic() + seconds, action)

    # Registering.

    def _register(self) -> None:
        if self.index and self.backend.slot < 0:
            self._register_later()  # shard 0 gives the slot
            return
        applicant = self.backend.applicant
        if former := self._registration:
            applicant = applicant._replace(slot=former.slot, incarnation=former.incarnation)
        if self.index:
            applicant = applicant._replace(slot=self.backend.slot)
        run_id, known, nonce = self.hub.run_id, self.known, self._nonce

        def register(store: MemoryShard) -> tuple[Registration, bool] | str:
            try:
                return store.register(applicant, bool(self.index), run_id, known, nonce)
            except Waiting:
                return ""
            except NoFreeSlot:
                return "all slots are taken by other nodes"

        self.request(register, self._registered, lambda: None)

    def _register_later(self) -> None:
        connection = self._connection

        def again() -> None:
            if connection == self._connection and self._is_connected:
                self._register()

        self.later(RETRY_S, again)

    def _registered(self, result: tuple[Registration, bool] | str) -> None:
        if isinstance(result, str):
            self._set_fenced()
            if result:
                self.receiver.rejected(result)
            self._register_later()
            return
        registration, is_kept = result
        if not is_kept:
            self._set_fenced()
            self._nonce = self.hub.nonce()
        # After a failover the store may not know that it declared this node dead, and keeps the incarnation. The reader
        # was stopped when the node was fenced, so the receiver must load again.
        is_new = not is_kept or self._is_fenced
        self._registration = registration
        self.known = LastKnown(max(self.known.floor, registration.n), registration.generation, registration.epoch)
        self._is_attached, self._is_fenced = True, False
        if self._is_lost:
            self._is_lost = False
            self.receiver.reconnected(self.index, registration.generation)
        if is_new:
            self.receiver.registered(self.index, registration)
        self._attached()

    def _attached(self) -> None:
        assert self._registration is not None, "just registered"
        if self.index == 0:
            self.backend.set_slot(self._registration.slot)
        self.reader.attached()
        repeated, self._reads_to_repeat = self._reads_to_repeat, []
        for action in repeated:
            action()
        self._poll_members(self._connection, self._registration)

    def register_again(self) -> None:
        """Register with the slot from shard 0."""
        if self._registration and self._registration.slot != self.backend.slot:
            self._end_registration(self._registration)

    def _end_registration(self, registered: Registration) -> None:
        """Register again, because the store has refused a write of this incarnation."""
        if registered == self._registration and not self._is_fenced:
            self._set_fenced()
            self._register()

    def _set_fenced(self) -> None:
        """Report that the registration has ended, unless the receiver knows that already."""
        self._is_attached = False
        if self._registration is not None and not self._is_fenced:
            self._is_fenced = True
            self._has_commit_in_flight = False
            self.reader.stop()
            self.receiver.fenced(self.index)

    # Requests.

    def request(self, execute: Callable[[MemoryShard], Any], on_reply: OnReply, on_lost: Action) -> None:
        """Execute a function at the store. Then either `on_reply` gets the result, or `on_lost` is called."""
        self.send(lambda reply: reply(execute(self.store)), on_reply, on_lost)

    def send(
        self,
        execute: Callable[[OnReply], None],
        on_reply: OnReply,
        on_lost: Action,
        *,
        timeout: float = CALL_TIMEOUT_S,
        loses_reply: bool = False,
    ) -> None:
        """Execute a function at the store that passes its result to its argument, immediately or later.

        Args:
            on_reply: Gets the result.
            on_lost: Called instead if the reply does not arrive.
            timeout: Seconds without a reply after which the link fails.
            loses_reply: Injected fault: drop the reply.
        """
        if not self._is_connected:
            self.hub.clock.call_soon(lambda: self.backend.run_here(on_lost))
            return
        connection = self._connection
        call = _Call(on_lost)
        self._calls[call] = None

        def reply(result: object) -> None:
            if connection == self._connection and self.backend.is_reachable and not loses_reply:
                self.backend.reply(lambda: arrive(result))

        def arrive(result: object) -> None:
            if connection == self._connection and call in self._calls:
                del self._calls[call]
                on_reply(result)

        def expire() -> None:
            if call in self._calls:
                self._fail(connection)

        self.backend.request(lambda: execute(reply))
        self.later(timeout, expire)

    def write(self, script: Callable[[MemoryShard, int, str], None]) -> None:
        """Execute a script that needs a live incarnation, and report the members."""
        registered = self._registration
        if registered is None or not self._is_attached:
            return

        def execute(store: MemoryShard) -> list[Member] | None:
            try:
                script(store, registered.slot, registered.incarnation)
            except Fenced:
                return None
            return list(store.nodes.values())

        def on_reply(members: list[Member] | None) -> None:
            if members is None:
                self._end_registration(registered)
            else:
                self.receiver.members(self.index, members)

        self.request(execute, on_reply, lambda: None)

    def remove(self, member: Member) -> None:
        """Remove a dead node."""
        run_id, known = self.hub.run_id, self.known

        def script(store: MemoryShard, slot: int, incarnation: str) -> None:
            store.remove(slot, incarnation, run_id, known, member)
            self.hub.log_grew(self.index)

        self.write(script)

    def commit(self, batch: CommitBatch, floor: int) -> None:
        """Ask the store to accept a batch."""
        self.raise_floor(floor)
        registered = self._registration

        def report_unknown() -> None:
            self.receiver.unknown(self.index, batch.serial)

        if registered is None or not self._is_attached:
            self.hub.clock.call_soon(lambda: self.backend.run_here(report_unknown))
            return
        assert not self._has_commit_in_flight, "one batch in flight"
        self._has_commit_in_flight = True
        loses_request, loses_reply = self.backend.next_commit_faults()

        def on_lost() -> None:
            if self._end_commit(registered):
                report_unknown()

        def on_reply(result: Committed | str | None) -> None:
            if result is None:
                self._end_registration(registered)
            elif not self._end_commit(registered):
                return
            elif isinstance(result, Committed):
                self.raise_floor(result.n)
                self.receiver.committed(self.index, result)
            else:  # out of memory
                self.receiver.full(self.index)
                report_unknown()

        execute = (lambda _: None) if loses_request else self._committing(registered, batch)
        self.send(execute, on_reply, on_lost, loses_reply=loses_reply)

    def _end_commit(self, registered: Registration) -> bool:
        """End a commit. Return whether to report its result: no result follows after `fenced`."""
        if registered != self._registration or self._is_fenced:
            return False
        self._has_commit_in_flight = False
        return True

    def _committing(self, registered: Registration, batch: CommitBatch) -> Callable[[OnReply], None]:
        run_id, known = self.hub.run_id, self.known

        def execute(reply: OnReply) -> None:
            if self.hub.is_out_of_memory:
                reply("out of memory")
                return
            now_ms = self.hub.clock.now().epoch_ms
            try:
                result = self.store.commit(registered.slot, registered.incarnation, run_id, known, batch, now_ms)
            except Fenced:
                reply(None)
                return
            reply(result)
            self.hub.log_grew(self.index)

        return execute

    # Reading.

    def read(self, user_ids: tuple[str, ...], on_answer: Callable[[Mapping[str, StoreRecord]], None]) -> None:
        """Read records. The read is repeated if the reply is lost."""

        def execute(store: MemoryShard) -> dict[str, StoreRecord]:
            return {user_id: store.users[user_id] for user_id in user_ids if user_id in store.users}

        self.request(execute, on_answer, lambda: self._reads_to_repeat.append(lambda: self.read(user_ids, on_answer)))

    def read_log(self, after: int, on_answer: Callable[[Excerpt], None]) -> None:
        """Read entries of the log again. The read is repeated if the reply is lost."""

        def execute(store: MemoryShard) -> Excerpt:
            return store.excerpt(after, READ_ENTRIES)

        self.request(execute, on_answer, lambda: self._reads_to_repeat.append(lambda: self.read_log(after, on_answer)))

    def _poll_members(self, connection: int, registered: Registration) -> None:
        """Report the members once a second, while this registration and this connection last."""
        if connection != self._connection or not self._is_attached or registered != self._registration:
            return

        def on_reply(found: tuple[list[Member], Counts]) -> None:
            members, counts = found
            self.receiver.members(self.index, members)
            self.receiver.counted(self.index, counts)

        def look(store: MemoryShard) -> tuple[list[Member], Counts]:
            return list(store.nodes.values()), store.counts(registered.slot)

        self.request(look, on_reply, lambda: None)
        self.later(MEMBERS_PERIOD_S, lambda: self._poll_members(connection, registered))
