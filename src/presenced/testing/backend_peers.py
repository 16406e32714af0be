"""Nodes that the checks of `presenced.testing.backend_suite` direct, and what they need of an implementation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from presenced.cluster.backend import (
    Applicant,
    Backend,
    CommitBatch,
    Committed,
    ContributionUpdate,
    Counts,
    Entry,
    EntryKey,
    Excerpt,
    Kind,
    Member,
    Proposal,
    Registration,
    StoredKey,
    StoreRecord,
)

PATIENCE_S = 15.0
"""Seconds until a check fails because something has not happened."""

STAGE_LOG_ITEMS = 5000
"""Number of items that the log of a stage keeps, approximately."""


class Stage(Protocol):
    """An empty store, and its faults. The log keeps about `STAGE_LOG_ITEMS` items."""

    def backend(self, name: str) -> Backend:
        """Return a new backend, which is not started."""

    async def lose_reply(self, name: str) -> None:
        """Execute the next commit of this backend, but lose the reply and the connection."""

    async def cut(self, name: str) -> None:
        """Interrupt the connections of this backend, and refuse new ones until `heal`."""

    async def heal(self, name: str) -> None:
        """End `cut`."""

    async def save(self) -> None:
        """Keep the current state for `fail_over`."""

    async def fail_over(self) -> None:
        """Go back to the saved state, in a store with another run id. All connections fail."""

    async def flush(self) -> None:
        """Lose everything. The connections stay."""


class Recorder:
    """`Receiver` that keeps what was reported, and a replica made of it."""

    def __init__(self) -> None:
        self.registrations: list[Registration] = []
        self.rejections: list[str] = []
        self.events: list[str] = []
        """Names of the reports about the connection, and of loads, in order."""
        self.entries_read: list[Entry] = []
        """Entries since the last load."""
        self.n = 0
        self.users: dict[str, StoreRecord] = {}
        self.contributions: dict[tuple[str, int], tuple[bytes, bytes]] = {}
        """Sessions and rooms, by user and slot."""
        self.results: dict[int, Committed | str] = {}
        self.generations: list[int] = []
        self.nodes: dict[int, Member] = {}
        self.members_reports = 0
        """Number of reports about the members."""
        self.counts = Counts(0, 0, 0)
        self.messages: list[tuple[int, bytes]] = []
        self.loads: list[EntryKey | None] = []
        self.more_turns = 0
        """Number of further turns that this node takes to adopt the users of its next load."""
        self._in_flight = 0
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until a condition is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"{what or 'what the check waits for'} has not happened: {self.events[-20:]}"
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, 0.1))
            except TimeoutError:
                continue

    def sent(self, serial: int) -> None:
        """Expect a result for the batch with this serial number."""
        self._in_flight = serial

    # Receiver.

    def registered(self, shard: int, registration: Registration) -> None:
        """Keep the registration."""
        self.registrations.append(registration)
        self._event("registered")

    def rejected(self, reason: str) -> None:
        """Keep the reason."""
        self.rejections.append(reason)
        self._event("rejected")

    def page(self, shard: int, users: Sequence[StoreRecord], updates: Sequence[tuple[str, ContributionUpdate]]) -> None:
        """Put the page into the replica."""
        for user in users:
            self.users[user.user_id] = user
        for user_id, update in updates:
            self._put_contribution(user_id, update)
        self._changed.set()

    def loaded(self, shard: int, last: EntryKey | None, n: int) -> bool:
        """Keep the end of the load, after `more_turns`."""
        if self.more_turns:
            self.more_turns -= 1
            return False
        self.loads.append(last)
        self.n = n
        self._event("loaded")
        return True

    def entries(self, shard: int, entries: Sequence[Entry], n: int) -> None:
        """Check the numbers, and apply the entries to the replica."""
        for entry in entries:
            assert self.loads, "entries follow a load"
            before = self.entries_read[-1].n if self.entries_read else self.loads[-1].n if self.loads[-1] else 0
            assert entry.n - max(len(entry.items), 1) >= before, "numbers rise, and each item is reported once"
            self.entries_read.append(entry)
            self._apply(entry)
        if entries:
            assert n >= entries[-1].n
        self.n = max(self.n, n)
        self._changed.set()

    def interrupted(self, shard: int) -> None:
        """Keep the event."""
        self._event("interrupted")

    def committed(self, shard: int, result: Committed) -> None:
        """Keep the result."""
        self._result(result.serial, result)

    def unknown(self, shard: int, serial: int) -> None:
        """Keep the result."""
        self._result(serial, "unknown")

    def full(self, shard: int) -> None:
        """Keep the event."""
        self._event("full")

    def fenced(self, shard: int) -> None:
        """Keep the result, if a batch is in flight."""
        if self._in_flight:
            self._result(self._in_flight, "fenced")
        self._event("fenced")

    def reconnected(self, shard: int, generation: int) -> None:
        """Keep the generation."""
        self.generations.append(generation)
        self._event("reconnected")

    def disconnected(self, shard: int) -> None:
        """Keep the event."""
        self._event("disconnected")

    def members(self, shard: int, members: Sequence[Member]) -> None:
        """Keep the members."""
        self.nodes = {member.slot: member for member in members}
        self.members_reports += 1
        self._changed.set()

    def counted(self, shard: int, counts: Counts) -> None:
        """Keep the numbers."""
        self.counts = counts
        self._changed.set()

    def received(self, slot: int, message: bytes) -> None:
        """Keep the message."""
        self.messages.append((slot, message))
        self._changed.set()

    # Replica.

    def forget(self) -> None:
        """Empty the replica before a load."""
        self.users, self.contributions, self.entries_read = {}, {}, []

    def _apply(self, entry: Entry) -> None:
        if entry.kind is Kind.REMOVED:
            slot = int(entry.body.split()[0])
            self.contributions = {key: value for key, value in self.contributions.items() if key[1] != slot}
        for index, item in enumerate(entry.items):
            assert item.n == entry.n - len(entry.items) + 1 + index, "numbers of an entry are successive"
            if item.user_id in self.users and self.users[item.user_id].n >= item.n:
                continue  # a page had it already
            self.users[item.user_id] = StoreRecord(item.user_id, item.n, item.version, item.record)
            if not item.is_kept:
                del self.users[item.user_id]
            for update in item.contributions:
                self._put_contribution(item.user_id, update)

    def _put_contribution(self, user_id: str, update: ContributionUpdate) -> None:
        key = user_id, update.slot
        sessions, rooms = self.contributions.get(key, (b"", b""))
        sessions = sessions if update.sessions is None else update.sessions
        rooms = rooms if update.rooms is None else update.rooms
        self.contributions[key] = sessions, rooms
        if not sessions and not rooms:
            del self.contributions[key]

    def _result(self, serial: int, result: Committed | str) -> None:
        assert serial == self._in_flight, f"{result} for a batch that is not in flight"
        self._in_flight = 0
        self.results[serial] = result
        self._changed.set()

    def _event(self, name: str) -> None:
        self.events.append(name)
        self._changed.set()


class Peer:
    """A node that a check directs, with one shard."""

    def __init__(self, stage: Stage, name: str, slot: int) -> None:
        self.name = name
        self.recorder = Recorder()
        self.backend = stage.backend(name)
        self.floor = 0
        """Lower bound for the numbers of the next commits."""
        self._serial = 0
        self._wanted_slot = slot

    async def start(self) -> None:
        """Register and load."""
        self.backend.start(Applicant(self.name, self._wanted_slot), self.recorder)
        await self.recorder.until(lambda: self.recorder.registrations, f"{self.name} registers")
        await self.load()

    async def load(self) -> None:
        """Load everything."""
        loads = len(self.recorder.loads)
        self.recorder.forget()
        self.backend.load(0)
        await self.recorder.until(lambda: len(self.recorder.loads) > loads, f"{self.name} loads")

    @property
    def slot(self) -> int:
        """Slot of the last registration."""
        return self.recorder.registrations[-1].slot

    @property
    def incarnation(self) -> str:
        """Incarnation of the last registration."""
        return self.recorder.registrations[-1].incarnation

    def send(self, *proposals: Proposal, kind: Kind = Kind.ITEMS, body: bytes = b"", until_ms: int = 0) -> int:
        """Send a batch to be committed, and return its serial number."""
        self._serial += 1
        self.recorder.sent(self._serial)
        self.backend.commit(0, CommitBatch(self._serial, proposals, kind, body, until_ms), self.floor)
        return self._serial

    async def result(self, serial: int) -> Committed | str:
        """Wait for the result of a batch."""
        await self.recorder.until(lambda: serial in self.recorder.results, f"{self.name}: result of a commit")
        return self.recorder.results[serial]

    async def commit(
        self, *proposals: Proposal, kind: Kind = Kind.ITEMS, body: bytes = b"", until_ms: int = 0
    ) -> Committed:
        """Commit a batch, wait, and return its result. The check fails if the result is not known."""
        result = await self.result(self.send(*proposals, kind=kind, body=body, until_ms=until_ms))
        assert isinstance(result, Committed), result
        return result

    def set(self, user_id: str, record: bytes, *, visible: bool = True, kept: bool = True) -> Proposal:
        """Return a proposal that replaces the record as this node knows it, with a session of this node."""
        known = self.recorder.users.get(user_id)
        contributions = (ContributionUpdate(self.slot, sessions=record if kept else b""),)
        return Proposal(user_id, known.n if known else 0, record, kept, visible, contributions)

    async def reads(self, n: int) -> None:
        """Wait until this node has read everything up to a number."""

        def has_read() -> bool:
            read = self.recorder.entries_read
            return bool(read) and read[-1].n >= n

        await self.recorder.until(has_read, f"{self.name} reads {n}")

    async def reads_log(self, after: int) -> Excerpt:
        """Read the log after this number again."""
        answers: list[Excerpt] = []
        self.backend.read_log(0, after, answers.append)
        await self.recorder.until(lambda: answers, "an excerpt of the log")
        return answers[0]

    async def backend_answers(self) -> None:
        """Wait until the store answers calls about values again. These calls have connections of their own."""
        deadline = time.monotonic() + PATIENCE_S
        answers: list[bool] = []
        while True not in answers:
            assert time.monotonic() < deadline, f"{self.name}: no answer"
            before = len(answers)
            key = StoredKey("none", "none")
            self.backend.take(key, lambda _: answers.append(True), lambda: answers.append(False))
            await self.recorder.until(lambda: len(answers) > before, "an answer")  # noqa: B023, awaited here

    async def happens(self, event: str, count: int = 1) -> None:
        """Wait until an event was reported this many times."""
        await self.recorder.until(lambda: self.recorder.events.count(event) >= count, f"{self.name}: {event}")

    async def sees(self, condition: Callable[[Mapping[int, Member]], object], what: str) -> None:
        """Wait until the members are as described."""
        await self.recorder.until(lambda: condition(self.recorder.nodes), f"{self.name} sees {what}")


class PeerGroup:
    """Nodes of a check, which end with it."""

    def __init__(self, stage: Stage, *names: str) -> None:
        self.all = [Peer(stage, name, slot) for slot, name in enumerate(names, 3)]

    async def __aenter__(self) -> list[Peer]:
        for peer in self.all:
            await peer.start()
        return self.all

    async def __aexit__(self, *_: object) -> None:
        for peer in self.all:
            await peer.backend.stop()
