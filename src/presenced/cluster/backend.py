"""The contract between a node and the store that it shares with other nodes.

A store keeps, for each shard of the users:

    user records     what all nodes have agreed on about a user
    contributions    what each node contributes to a user: its sessions, and their rooms
    log              the accepted changes, in one order, each with a number `n` above the one before
    members          the registered nodes, with their heartbeat counters

and for all shards together the revoked users and tokens, and values that one node leaves for another.

The store contains no rule of presence. It compares, numbers and logs. A node proposes that a user's record changes, and
names the number of the record that the change replaces. The store accepts the proposal only if that is still the
number; an accepted proposal is an *item*.
Every node, the proposer included, makes the change visible when it reads it back from the log:

    node A                      store                       nodes A, B, C
    commit(batch)    ------>    compare, number, log
    committed        <------                   ------>      entries

Bytes are opaque to the store (`cluster.records` makes them). `b""` stands for no record or no contribution.

An implementation makes these promises, which `presenced.testing.backend_suite` tests:

- *Order.* A receiver gets the items of a shard in the order of `n`, each once, or `interrupted`.
- *Atomicity.* A proposal changes the records, the contributions and the log, or none of them.
- *Comparison.* A proposal is accepted only if the record has the expected number.
- *Fencing.* Nothing is accepted from an incarnation that was declared dead.
- *Numbers.* A node's *floor* is the highest number that it has read or shown. The number of an item is above every
  floor that was passed with it or before it.
- *Loss.* A store may forget what it accepted. `reconnected` then has another generation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from presenced.storage.records import StoredRevocation

MAX_SLOTS = 64
"""Maximum number of nodes. A node's slot is its number, from 0."""

LOST_WRITES_JUMP = 1 << 20
"""Numbers that the store skips if it may have lost writes, so that it assigns none twice. A failover loses seconds of
writes, and this is 100 s of them at 10,000 items a second. The scripts in `cluster/redis/lua` have it as 1048576."""

MAX_PROPOSALS = 200
"""Maximum number of proposals in a batch. The rest waits for the next batch."""

MAX_BATCH_BYTES = 65_536
"""Maximum number of bytes in a batch, unless it has one proposal. The rest waits for the next batch."""

MESSAGE_TTL_S = 5.0
"""Seconds after which a message to another node is dropped. It arrives so late only if a node or the store was frozen
or out of reach."""

LOG_ITEMS = 200_000
"""Number of items that the log keeps, approximately. A node that is further behind loads everything."""


class ContributionUpdate(NamedTuple):
    """Change of one node's contribution to a user, in a proposal, an item or a page of a load."""

    slot: int
    """Slot of the node."""
    sessions: bytes | None = None
    """Its sessions; empty if it has none; None if they stay as they are."""
    rooms: bytes | None = None
    """Rooms of these sessions; empty or None as for `sessions`."""


class Proposal(NamedTuple):
    """Change of one user that a node asks the store to accept."""

    user_id: str
    expected: int
    """Number of the record that this one replaces; 0 for none."""
    record: bytes
    is_kept: bool
    """Whether the store keeps the record. It does not if the user is offline, and nothing else is set."""
    is_visible: bool
    """Whether others see the user differently: the version becomes the number of the item."""
    contributions: tuple[ContributionUpdate, ...] = ()


class Kind(StrEnum):
    """Kind of an entry of the log."""

    ITEMS = "items"
    """Changes of users."""
    REMOVED = "removed"
    """A node was removed, with all its contributions. `body` is its slot, a space, and its incarnation."""
    MARK = "mark"
    """A node's position (`cluster.marks`)."""
    KICK = "kick"
    """All nodes close the connections of a user."""
    FORGET = "forget"
    """First step of erasing a user: all nodes close the user's connections, and forget what only they remember."""
    REVOKE = "revoke"
    """Tokens of a user were revoked (`cluster.commands.revocations`)."""
    ERASE = "erase"
    """Last step of erasing a user, when the user is offline on all nodes. All nodes and the database forget what is in
    the log before this entry."""
    LATER = "later"
    """Something that only a later release knows. Nodes skip it, and never commit it."""

    @classmethod
    def _missing_(cls, value: object) -> Kind:
        return cls.LATER


class CommitBatch(NamedTuple):
    """Content of one commit. The store logs it as an `Entry` with the same serial, kind and body."""

    serial: int
    """Running number of the node's batches in this shard. It identifies the batch if the reply is lost."""
    proposals: tuple[Proposal, ...] = ()
    kind: Kind = Kind.ITEMS
    body: bytes = b""
    until_ms: int = 0
    """Time by the store's clock, in epoch milliseconds, after which the store must not accept the batch any more. A
    store that was frozen may execute it much later. 0 if there is no such time."""


class Item(NamedTuple):
    """An accepted proposal."""

    user_id: str
    n: int
    version: int
    """`n` of the last item that others saw."""
    record: bytes
    is_kept: bool
    contributions: tuple[ContributionUpdate, ...]


class Entry(NamedTuple):
    """One entry of the log: the accepted items of a batch, which have consecutive numbers."""

    n: int
    """Number of its last item. An entry without items has a number of its own."""
    slot: int
    """Slot of the node that wrote it."""
    incarnation: str
    """Incarnation of that node."""
    serial: int
    kind: Kind
    items: tuple[Item, ...]
    body: bytes = b""

    @property
    def key(self) -> EntryKey:
        """Identity of the entry. After lost writes, another entry may have the same number."""
        return EntryKey(self.n, self.slot, self.incarnation, self.serial)


class Excerpt(NamedTuple):
    """First entries of the log after a number."""

    entries: tuple[Entry, ...]
    """Empty if the log has no later entries."""
    is_whole: bool
    """Whether the log reaches back to that number. If not, entries before these were dropped."""


class EntryKey(NamedTuple):
    """Identity of an entry of the log."""

    n: int
    slot: int
    incarnation: str
    serial: int


class StoreRecord(NamedTuple):
    """Record of a user in the store."""

    user_id: str
    n: int
    version: int
    record: bytes


class State(StrEnum):
    """State of a registered node."""

    LOADING = "loading"
    """It loads everything from the store, and accepts no connections yet."""
    READY = "ready"
    LEAVING = "leaving"
    """It is stopping. Its users have some seconds to reconnect to other nodes."""
    DEAD = "dead"
    """It was declared dead: the store accepts nothing more from this incarnation."""

    @classmethod
    def _missing_(cls, value: object) -> State:
        return cls.LOADING  # a state of a later release: the node lives, and is not chosen as designated writer


class Member(NamedTuple):
    """A registered node."""

    slot: int
    name: str
    incarnation: str
    heartbeat: int
    """Number of heartbeats so far. It says nothing about the time of the last one."""
    state: State
    figures: bytes = b""
    """Figures of the node (`cluster.members.Figures`), encoded."""
    remover: str = ""
    """Incarnation of the node that declared this one dead, and that removes it; empty for a live node."""


class Counts(NamedTuple):
    """Numbers of users in a shard."""

    records: int
    """Users with a record."""
    users_with_sessions: int
    """Users to whom this node contributes sessions."""
    users_with_rooms: int
    """Users to whom this node contributes rooms."""


class Registration(NamedTuple):
    """Answer of the store to a node that registers in a shard."""

    slot: int
    incarnation: str
    """Id of this registration. It is unique, even if the store was emptied."""
    n: int
    """Highest number of the shard so far."""
    generation: int
    """Number of times that the store may have lost writes."""
    epoch: str
    """Id of this start of the cluster. It is part of every position. An empty store gives a new one unless a node knows
    the old one."""


class Committed(NamedTuple):
    """Answer of the store to a batch."""

    serial: int
    """Serial of the batch."""
    n: int
    """Number of the batch's entry in the log; the highest number of the shard if everything was refused."""
    refused: tuple[str, ...]
    """Users whose record has another number than expected."""
    time_ms: int
    """The store's clock: cluster time, in epoch milliseconds."""
    is_late: bool = False
    """Whether the store has not accepted the batch because its `until_ms` had passed."""


class Applicant(NamedTuple):
    """Registration request of a node."""

    name: str
    slot: int
    """Preferred slot. If it is taken, the node gets another one."""
    incarnation: str = ""
    """Incarnation so far; empty for a node that has just started."""


class StoredKey(NamedTuple):
    """Name of a value that one node leaves for another: a saved session, or a ticket."""

    kind: str
    digest: str
    """Digest of a secret: the session's id, or the ticket."""


class Receiver(Protocol):
    """Reports of a backend. All calls happen on the thread of the event loop, and none during a call of the backend."""

    def registered(self, shard: int, registration: Registration) -> None:
        """Take the slot and the incarnation that the node has from now on. The receiver then calls `load`."""

    def rejected(self, reason: str) -> None:
        """Report that the node cannot register: the store has another layout, or too many nodes."""

    def page(self, shard: int, users: Sequence[StoreRecord], updates: Sequence[tuple[str, ContributionUpdate]]) -> None:
        """Take one page of a load.

        All pages of records come before those of contributions. A contribution is therefore never older than the record
        of its user, and the receiver may skip items of the log that are not newer than the record.

        Args:
            users: Records.
            updates: Contributions, each with the id of its user.
        """

    def loaded(self, shard: int, last: EntryKey | None, n: int) -> bool:
        """End a load, because all pages were sent.

        Return whether the receiver has adopted all users. If not, call this again in the next turn, and before
        `entries`. The receiver adopts some users in each turn, to do other things in between.

        Args:
            last: Entry after which the log continues; None if it was empty.
            n: Highest number of the shard so far.
        """

    def entries(self, shard: int, entries: Sequence[Entry], n: int) -> None:
        """Take the next entries of the log. It is called right after `loaded`, and then at least once a second.

        Args:
            n: Highest number of the shard. It is above the last entry only if more entries wait. If there are no
                entries, the node has read everything.
        """

    def interrupted(self, shard: int) -> None:
        """Call `load`: the log does not continue where this node is, or a load was cut off after some pages."""

    def committed(self, shard: int, result: Committed) -> None:
        """Take the result of a batch that the store has processed."""

    def unknown(self, shard: int, serial: int) -> None:
        """Record that a batch could not be sent, or its reply was lost. The log shows whether it was accepted."""

    def full(self, shard: int) -> None:
        """Record that the store has no memory for the batch in flight.

        `unknown` follows in the same turn. Reading goes on.
        """

    def fenced(self, shard: int) -> None:
        """Record that this incarnation may no longer write. No result of a batch in flight follows.

        The backend registers the node again, which `registered` reports.
        """

    def reconnected(self, shard: int, generation: int) -> None:
        """Record that the store is reachable again. Another generation means that it may have lost writes.

        If the registration was lost meanwhile, `fenced` comes before, and `registered` after. Otherwise reading goes
        on, or `interrupted` is reported.
        """

    def disconnected(self, shard: int) -> None:
        """Record that a call to the store failed. The backend tries again until `reconnected`."""

    def members(self, shard: int, members: Sequence[Member]) -> None:
        """Take the nodes that are registered now. Each call proves that reads succeed.

        Called about once a second, and after each heartbeat.
        """

    def counted(self, shard: int, counts: Counts) -> None:
        """Take how many users the store has now. Called about once a second."""

    def received(self, slot: int, message: bytes) -> None:
        """Process a message from the node in a slot."""


class Backend(Protocol):
    """Access of one node to the store. No call waits; results go to the `Receiver`.

    Bounds: one batch in flight per shard.
    """

    shards: int
    """Number of shards."""

    @property
    def commit_pause_s(self) -> float:
        """Seconds from one commit of a shard to the next, so that all nodes together do not overload the store."""

    def start(self, applicant: Applicant, receiver: Receiver) -> None:
        """Connect, register in all shards, and report everything to `receiver` until `stop`."""

    def load(self, shard: int) -> None:
        """Read all records and contributions, and then the log from before the first page."""

    def commit(self, shard: int, batch: CommitBatch, floor: int) -> None:
        """Ask the store to accept a batch. `committed`, `unknown` or `fenced` follows.

        Do not call this again for the shard before one of them.

        Args:
            floor: Highest number that this node has read or shown.
        """

    def heartbeat(self, shard: int, state: State, figures: bytes) -> None:
        """Show that this node is alive. `members` or `fenced` follows, unless the connection is lost."""

    def declare_dead(self, shard: int, member: Member) -> None:
        """Fence a node if its incarnation and heartbeat are still the same. `members` then names the remover.

        If the remover is gone, a node that was declared dead can be declared dead again by another node.
        """

    def remove(self, shard: int, member: Member) -> None:
        """Remove a dead node and what is left of its contributions, and log an entry of kind `REMOVED`."""

    def send(self, slot: int, message: bytes) -> None:
        """Send a message to another node. Messages keep their order, but may be lost.

        A message that would arrive later than `MESSAGE_TTL_S` is lost, because nobody expects its effect any more.
        """

    def put(self, key: StoredKey, value: bytes, seconds: float) -> None:
        """Leave a value for the first node that takes it in the next `seconds`."""

    def take(
        self,
        key: StoredKey,
        on_answer: Callable[[bytes | None], None],
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        """Take a value, which at most one caller gets.

        Args:
            on_answer: Gets the value; None if there is none.
            on_lost: Called instead if the store gives no answer, in which case the value may be gone. By default,
                `on_answer` gets None.
        """

    def add_revoked(self, revoked: Sequence[StoredRevocation], now: float, on_answer: Callable[[bool], None]) -> None:
        """Store revocations of users and tokens, each until it expires. For each subject, only the newest is kept.

        The nodes do not add more than `auth.revocations.MAX_REVOCATIONS`.

        Args:
            now: Epoch seconds. The store deletes some of the revocations that have expired by then.
            on_answer: Gets True if all of them are certainly stored.
        """

    def read_revoked(self, on_answer: Callable[[Sequence[StoredRevocation] | None], None]) -> None:
        """Read all revocations that were added before the call. Some may have expired.

        Args:
            on_answer: Gets the revocations; None if the store gives no answer.
        """

    def read(self, shard: int, user_ids: Sequence[str], on_answer: Callable[[Mapping[str, StoreRecord]], None]) -> None:
        """Read the records of some users. The answer omits users who have none."""

    def read_log(self, shard: int, after: int, on_answer: Callable[[Excerpt], None]) -> None:
        """Read entries of the log after a number again. The read is repeated until the store answers."""

    async def stop(self) -> None:
        """Stop reporting, and disconnect. The node stays registered, with the state of its last heartbeat."""
