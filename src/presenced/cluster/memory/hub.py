"""Store in memory for several nodes in one process, for tests and the simulation.

    MemoryHub ──── MemoryShard ...              the store, and the faults that a test injects
        │
    MemoryBackend ──── Link ── LogReader ...    a node's side: one link for each shard

A request takes the node's delay on its way to the store, and its reply takes the same time back. Messages in one
direction keep their order. All steps happen in turns of the clock, so a `FakeClock` makes a run deterministic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from presenced.cluster.backend import (
    LOG_ITEMS,
    MESSAGE_TTL_S,
    Applicant,
    CommitBatch,
    Excerpt,
    Member,
    Receiver,
    State,
    StoredKey,
    StoreRecord,
)
from presenced.cluster.memory.link import Link
from presenced.cluster.memory.store import MemoryShard, Undo
from presenced.runtime.clock import Action, Clock
from presenced.storage.records import StoredRevocation


class _Suspension:
    """Actions of a process that wait while it is suspended."""

    def __init__(self) -> None:
        self._waiting: deque[Action] | None = None  # None while the process runs

    def begin(self) -> None:
        """Suspend the process. No-op if it is suspended already."""
        if self._waiting is None:
            self._waiting = deque()

    def end(self) -> Iterable[Action]:
        """Resume the process. Return what has waited, in order."""
        waiting, self._waiting = self._waiting or (), None
        return waiting

    def run(self, action: Action) -> None:
        """Execute an action now, or let it wait."""
        if self._waiting is not None:
            self._waiting.append(action)
        else:
            action()

    def forget(self) -> None:
        """Forget what waits."""
        if self._waiting is not None:
            self._waiting.clear()


class MemoryHub:
    """Store of several nodes, with the faults that a test injects.

    Args:
        delay: Seconds that a message takes between a node and the store. `set_delay` changes it for one node.
        log_items: Number of items after which the log is trimmed.
        page_size: Number of users or contributions in one page of a load.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        shards: int = 1,
        delay: float = 0.0,
        log_items: int = LOG_ITEMS,
        page_size: int = 1000,
    ) -> None:
        self.clock = clock
        self.delay = delay
        self.page_size = page_size
        self.run_id = 1
        """Id of the store's process. `fail_over` changes it."""
        self.is_out_of_memory = False
        """Whether the store refuses commits. Reads, heartbeats and removals go on."""
        self._undo = Undo()
        self.shards = [MemoryShard(self._undo, log_items) for _ in range(shards)]
        self._values: dict[StoredKey, tuple[bytes, float]] = {}
        self._revoked: dict[tuple[str, str], StoredRevocation] = {}
        self._backends: dict[str, MemoryBackend] = {}
        self.is_reachable = True
        """Whether messages between the store and the nodes arrive."""
        self._suspension = _Suspension()
        self._nonces = 0

    def backend(self, name: str) -> MemoryBackend:
        """Return the backend of a new process. If there is one with this name, it is killed."""
        if former := self._backends.get(name):
            former.kill()
        self._backends[name] = MemoryBackend(self, name)
        return self._backends[name]

    # Faults of one node.

    def set_delay(self, name: str, seconds: float) -> None:
        """Set the seconds that a message takes between this node and the store."""
        self._backends[name].delay = seconds

    def lose_requests(self, name: str, count: int = 1) -> None:
        """Lose the next commits on their way to the store. The node's link fails."""
        self._backends[name].requests_to_lose += count

    def lose_replies(self, name: str, count: int = 1) -> None:
        """Lose the replies to the next commits. The node's link fails."""
        self._backends[name].replies_to_lose += count

    def cut(self, name: str) -> None:
        """Lose all messages that reach or leave the store until `heal`. Those on their way to the node arrive."""
        self._backends[name].is_cut = True

    def heal(self, name: str) -> None:
        """End `cut`."""
        self._backends[name].is_cut = False

    def freeze_node(self, name: str) -> None:
        """Suspend the node: messages that arrive there wait until `thaw_node`."""
        self._backends[name].freeze()

    def thaw_node(self, name: str) -> None:
        """End `freeze_node`."""
        self._backends[name].thaw()

    def kill_node(self, name: str) -> None:
        """Stop the node abruptly. Messages that it has sent may still arrive."""
        self._backends[name].kill()

    # Faults of the store.

    @property
    def writes(self) -> int:
        """Number of writes to shards so far."""
        return self._undo.count

    def freeze(self) -> None:
        """Suspend the store: requests wait until `thaw`, and are then executed."""
        self._suspension.begin()

    def thaw(self) -> None:
        """End `freeze`."""
        for action in self._suspension.end():
            self.clock.call_soon(action)

    def fail_over(self, lost_writes: int = 0) -> None:
        """Continue as another process, without the last writes to shards (at most `LOSABLE_WRITES`). All links fail."""
        self._undo.take_back(lost_writes)
        self.run_id += 1
        self._suspension.forget()
        for backend in self._backends.values():
            backend.dropped()

    def flush(self) -> None:
        """Lose everything, as FLUSHALL does. The links stay connected."""
        self._undo.take_back(0)  # nothing is left that could be taken back later
        for shard in self.shards:
            shard.clear()
        self._values.clear()
        self._revoked.clear()

    def evict(self, shard: int, user_id: str) -> None:
        """Lose the record of a user, as a store with a wrong eviction policy does."""
        self.shards[shard].users.pop(user_id, None)

    def evict_contributions(self, shard: int, slot: int) -> None:
        """Lose what a node contributes, as a store with a wrong eviction policy does."""
        store = self.shards[shard]
        for table in (store.sessions, store.rooms):
            for key in [key for key in table if key[0] == slot]:
                del table[key]

    # Used by the backends.

    def execute(self, action: Action) -> None:
        """Execute a request that has arrived, now or when the store is thawed."""
        self._suspension.run(action)

    def log_grew(self, index: int) -> None:
        """Answer the reads that wait for an entry of a shard."""
        for backend in list(self._backends.values()):
            backend.links[index].reader.wake()

    def nonce(self) -> str:
        """Return six hexadecimal digits that were not returned before."""
        self._nonces += 1
        return f"{self._nonces:06x}"

    def deliver(self, author: MemoryBackend, slot: int, message: bytes, sent_at: float) -> None:
        """Pass a message to the node in a slot; drop it if there is none."""
        member = self.shards[0].nodes.get(slot)
        for backend in self._backends.values():
            if member and backend.links[0].registration_is(slot, member.incarnation) and not backend.is_cut:
                backend.reply(partial(backend.receive, author.slot, message, sent_at))

    def put(self, key: StoredKey, value: bytes, seconds: float) -> None:
        """Keep a value for some seconds. No-op without memory."""
        if not self.is_out_of_memory:
            self._values[key] = value, self.clock.monotonic() + seconds

    def take(self, key: StoredKey) -> bytes | None:
        """Return and delete a value; None if there is none, or it has expired."""
        value, until = self._values.pop(key, (b"", 0.0))
        return value if until > self.clock.monotonic() else None

    def add_revoked(self, revoked: Sequence[StoredRevocation], now: float) -> bool:
        """Remember revoked users and tokens, and delete those whose time is over."""
        for one in revoked:
            known = self._revoked.get((one.kind, one.subject))
            if known is None or known.at < one.at:
                self._revoked[one.kind, one.subject] = one
        self._revoked = {key: one for key, one in self._revoked.items() if one.until > now}
        return True

    def read_revoked(self) -> list[StoredRevocation]:
        """Return all revoked users and tokens."""
        return list(self._revoked.values())


class _Channel:
    """Messages in one direction. They keep their order, even if the delay becomes shorter."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._actions: deque[Action] = deque()
        self._last = 0.0  # monotonic time at which the newest message arrives

    def send(self, delay: float, action: Action) -> None:
        """Call `action` after `delay` seconds, in a turn of its own."""
        self._actions.append(action)
        at = self._last = max(self._last, self._clock.monotonic() + delay)
        if at <= self._clock.monotonic():
            self._clock.call_soon(self._arrive)
        else:
            self._clock.call_at(at, self._arrive)

    def _arrive(self) -> None:
        self._actions.popleft()()


class CommitFaults(NamedTuple):
    """Messages of one commit that get lost."""

    loses_request: bool
    loses_reply: bool


class MemoryBackend:
    """`Backend` of one node of a `MemoryHub`."""

    # Without a pause, a node that has lost the store would retry forever at one time of the clock.
    commit_pause_s = 0.001

    def __init__(self, hub: MemoryHub, name: str) -> None:
        self.hub = hub
        self.name = name
        self.shards = len(hub.shards)
        self.delay = hub.delay
        self.requests_to_lose = self.replies_to_lose = 0
        self.is_cut = False
        self.is_stopped = False
        self.links = [Link(self, index) for index in range(self.shards)]
        self._to_store = _Channel(hub.clock)
        self._to_node = _Channel(hub.clock)
        self._suspension = _Suspension()
        self.receiver: Receiver
        self.applicant: Applicant
        self.slot = -1
        """Slot from the registration in shard 0; -1 before it."""

    # The contract.

    def start(self, applicant: Applicant, receiver: Receiver) -> None:
        """Connect and register."""
        self.applicant, self.receiver = applicant, receiver
        for link in self.links:
            self.hub.clock.call_soon(partial(self.run_here, link.connect))

    def load(self, shard: int) -> None:
        """Read everything, and then the log."""
        self.links[shard].reader.load()

    def commit(self, shard: int, batch: CommitBatch, floor: int) -> None:
        """Ask the store to accept a batch."""
        self.links[shard].commit(batch, floor)

    def heartbeat(self, shard: int, state: State, figures: bytes) -> None:
        """Increment the heartbeat counter."""
        self.links[shard].write(lambda store, slot, incarnation: store.heartbeat(slot, incarnation, state, figures))

    def declare_dead(self, shard: int, member: Member) -> None:
        """Fence a node."""
        self.links[shard].write(lambda store, slot, incarnation: store.declare_dead(slot, incarnation, member))

    def remove(self, shard: int, member: Member) -> None:
        """Remove a dead node."""
        self.links[shard].remove(member)

    def send(self, slot: int, message: bytes) -> None:
        """Send a message to another node."""
        sent_at = self.hub.clock.monotonic()
        self.request(lambda: self.hub.deliver(self, slot, message, sent_at))

    def put(self, key: StoredKey, value: bytes, seconds: float) -> None:
        """Leave a value for another node."""
        self.request(lambda: self.hub.put(key, value, seconds))

    def take(
        self,
        key: StoredKey,
        on_answer: Callable[[bytes | None], None],
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Take a value."""
        self.links[0].request(lambda _: self.hub.take(key), on_answer, on_lost or (lambda: on_answer(None)))

    def add_revoked(self, revoked: Sequence[StoredRevocation], now: float, on_answer: Callable[[bool], None]) -> None:
        """Remember revoked users and tokens."""
        self.links[0].request(lambda _: self.hub.add_revoked(revoked, now), on_answer, lambda: on_answer(False))

    def read_revoked(self, on_answer: Callable[[Sequence[StoredRevocation] | None], None]) -> None:
        """Read all revoked users and tokens."""
        self.links[0].request(lambda _: self.hub.read_revoked(), on_answer, lambda: on_answer(None))

    def read(self, shard: int, user_ids: Sequence[str], on_answer: Callable[[Mapping[str, StoreRecord]], None]) -> None:
        """Read the records of some users."""
        self.links[shard].read(tuple(user_ids), on_answer)

    def read_log(self, shard: int, after: int, on_answer: Callable[[Excerpt], None]) -> None:
        """Read entries of the log again."""
        self.links[shard].read_log(after, on_answer)

    async def stop(self) -> None:
        """Stop reporting."""
        self.kill()

    # Used by the hub and the links.

    @property
    def is_reachable(self) -> bool:
        """Whether messages between this node and the store arrive."""
        return self.hub.is_reachable and not self.is_cut

    def request(self, action: Action) -> None:
        """Execute `action` at the store, unless it gets lost on the way."""

        def arrive() -> None:
            if self.is_reachable:
                self.hub.execute(action)

        if not self.is_stopped:
            self._to_store.send(self.delay, arrive)

    def reply(self, action: Action) -> None:
        """Execute `action` at this node."""
        self._to_node.send(self.delay, lambda: self.run_here(action))

    def receive(self, slot: int, message: bytes, sent_at: float) -> None:
        """Pass a message of another node on, unless it is late."""
        if self.hub.clock.monotonic() - sent_at <= MESSAGE_TTL_S:
            self.receiver.received(slot, message)

    def run_here(self, action: Action) -> None:
        """Execute `action` as soon as the node is not frozen; never if it has stopped."""
        if not self.is_stopped:
            self._suspension.run(action)

    def call_at(self, at: float, action: Action) -> None:
        """Execute `action` at a monotonic time."""
        self.hub.clock.call_at(at, lambda: self.run_here(action))

    def freeze(self) -> None:
        """Suspend this node."""
        self._suspension.begin()

    def thaw(self) -> None:
        """End `freeze`, and execute everything that has waited."""
        for action in self._suspension.end():
            self.hub.clock.call_soon(partial(self.run_here, action))

    def kill(self) -> None:
        """Stop abruptly."""
        self.is_stopped = True

    def next_commit_faults(self) -> CommitFaults:
        """Return what gets lost of the next commit."""
        loses_request = self.requests_to_lose > 0
        loses_reply = not loses_request and self.replies_to_lose > 0
        self.requests_to_lose -= loses_request
        self.replies_to_lose -= loses_reply
        return CommitFaults(loses_request, loses_reply)

    def set_slot(self, slot: int) -> None:
        """Use the slot from shard 0 in the other shards as well."""
        self.slot = slot
        for link in self.links[1:]:
            link.register_again()

    def dropped(self) -> None:
        """Fail all links, because the store has closed the connections."""
        for link in self.links:
            link.connection_closed_by_store()
