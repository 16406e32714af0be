"""Access of one node to one shard in Redis.

    writer   ──▶ register, commit, heartbeat, declare dead, remove: scripts, one after the other
    reader   ──▶ XREAD, which waits for entries of the log
    queries  ──▶ pages of a load, members, single records

These three connections form a *link*. They lead to the same process of the store. If one fails, all are replaced. A
late reply ends the link as well. The store may then execute a commit after the end of the link, and refuses its items
if their expected numbers are outdated by then.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from presenced.cluster.backend import (
    MAX_SLOTS,
    CommitBatch,
    Committed,
    Counts,
    Excerpt,
    Member,
    Receiver,
    Registration,
    State,
    StoreRecord,
)
from presenced.cluster.log import LastKnown
from presenced.cluster.redis.connection import Argument, OutOfMemory, StoreConnection, StoreLost
from presenced.cluster.redis.format import (
    LAYOUT,
    Keys,
    decode_entry,
    decode_members,
    decode_user,
    encode_about,
    encode_commit,
    other_layout,
)
from presenced.cluster.redis.reader import READ_ENTRIES, RedisReader
from presenced.cluster.redis.scripts import COMMIT, DECLARE_DEAD, HEARTBEAT, REGISTER, REMOVE, Script
from presenced.errors import BackendError
from presenced.runtime.logs import logger

if TYPE_CHECKING:
    from presenced.cluster.redis.backend import RedisBackend

WRITE_TIMEOUT_S = 1.0
"""Seconds without a reply to a script after which a link ends."""

READ_TIMEOUT_S = 3.0
"""Seconds without a reply to a read after which a link ends. A read waits for up to a second."""

MEMBERS_PERIOD_S = 1.0
"""Seconds between reports of the members."""

RETRY_S = 0.25
"""Seconds between attempts to register, and until a batch that the store had no memory for is reported."""

FIRST_BACKOFF_S = 0.05
"""Seconds until the second attempt to connect. They double with each failure."""

LAST_BACKOFF_S = 1.0
"""Maximum number of seconds between two attempts to connect."""

MAX_READ_USERS = 1000
"""Maximum number of records in one command."""

LOG_STEPS = 20
"""Number of steps into which the items of the log are divided. After each step, `commit.lua` deletes the oldest one."""

FENCED = b"FENCED"
"""Reply of a script if the caller's incarnation may not write."""

OnAnswer = Callable[[Mapping[str, StoreRecord]], None]
"""Gets the records that exist."""

Query = Callable[[StoreConnection], Awaitable[Callable[[], None]]]
"""Coroutine that asks the store, and returns a function that reports the answer."""


class _Job(NamedTuple):
    """Coroutine for the writer's connection. It is dropped if the registration has ended meanwhile."""

    registration: Registration
    run: Callable[[StoreConnection], Awaitable[None]]


class RedisShard:
    """Access of one node to one shard."""

    def __init__(self, backend: RedisBackend, index: int) -> None:
        self._backend = backend
        self.index = index
        self.keys = Keys(backend.cluster_name, index)
        self.known = LastKnown()
        self.reader = RedisReader(self)
        self._registration: Registration | None = None
        self._is_attached = False  # registered in this link, and not fenced
        self._is_fenced = False  # the receiver knows that the registration has ended
        self._is_lost = False  # the receiver knows that the link was lost
        self.trouble = ""
        """Why the store cannot be reached; empty if it can."""
        self._rejection = ""  # the last reason that was reported
        self._nonce = _nonce()
        self._in_flight: CommitBatch | None = None
        # One batch, one heartbeat, and a few calls about each dead node are in the queue at a time.
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._queries: asyncio.Queue[Query] = asyncio.Queue()
        self._backoff_s = FIRST_BACKOFF_S

    @property
    def receiver(self) -> Receiver:
        """Receiver of this node."""
        return self._backend.receiver

    @property
    def read_pause_s(self) -> float:
        """Seconds between two reads of the log."""
        return self._backend.read_pause_s

    def raise_floor(self, n: int) -> None:
        """Raise the floor to `n`, a number that this node has read from the log or shown to clients.

        After lost writes, the store continues above the floor.
        """
        self.known = self.known.above(n)

    # The contract.

    def commit(self, batch: CommitBatch, floor: int) -> None:
        """Ask the store to accept a batch."""
        self.raise_floor(floor)
        registered = self._registration
        if registered is None or not self._is_attached:
            asyncio.get_running_loop().call_soon(self.receiver.unknown, self.index, batch.serial)
            return
        assert self._in_flight is None, "one batch in flight"
        self._in_flight = batch

        async def run(writer: StoreConnection) -> None:
            await self._commit(writer, registered, batch)

        self._jobs.put_nowait(_Job(registered, run))

    def heartbeat(self, state: State, figures: bytes) -> None:
        """Increment the heartbeat counter."""
        about = encode_about(self._backend.applicant.name, figures)
        self._write(HEARTBEAT, [self.keys.nodes], lambda: [state.value, about])

    def declare_dead(self, member: Member) -> None:
        """Fence a node."""
        arguments: list[Argument] = [member.slot, member.incarnation, member.heartbeat]
        self._write(DECLARE_DEAD, [self.keys.nodes], lambda: arguments)

    def remove(self, member: Member) -> None:
        """Remove a dead node."""
        keys = self.keys
        slot = member.slot

        def arguments() -> list[Argument]:
            return [*self._floor_and_generation(), slot, member.incarnation]

        self._write(REMOVE, [keys.head, keys.log, keys.nodes, keys.sessions[slot], keys.rooms[slot]], arguments)

    def read(self, user_ids: Sequence[str], on_answer: OnAnswer) -> None:
        """Read the records of some users."""

        async def query(queries: StoreConnection) -> Callable[[], None]:
            users: dict[str, StoreRecord] = {}
            for start in range(0, len(user_ids), MAX_READ_USERS):
                ids = [user_id.encode() for user_id in user_ids[start : start + MAX_READ_USERS]]
                values = await queries.call("HMGET", self.keys.users, *ids)
                found = [decode_user(*one) for one in zip(ids, values, strict=True) if one[1] is not None]
                users |= {user.user_id: user for user in found}
            return lambda: on_answer(users)

        self._queries.put_nowait(query)

    def read_log(self, after: int, on_answer: Callable[[Excerpt], None]) -> None:
        """Read entries of the log again."""

        async def query(queries: StoreConnection) -> Callable[[], None]:
            last, found = await queries.pipeline(
                [
                    ("HGET", self.keys.head, "last"),
                    ("XRANGE", self.keys.log, f"{after}-1", "+", "COUNT", READ_ENTRIES),
                ]
            )
            logged = [decode_entry(stream_id, fields) for stream_id, fields in found]
            is_whole = (logged[0].previous if logged else int(last or 0)) <= after
            excerpt = Excerpt(tuple(one.entry for one in logged), is_whole)
            return lambda: on_answer(excerpt)

        self._queries.put_nowait(query)

    def register_again(self) -> None:
        """Register with the slot from shard 0."""
        registered = self._registration
        if registered is not None and self._is_attached and registered.slot != self._backend.slot:
            self._jobs.put_nowait(_Job(registered, self._end_registration))

    # Links.

    async def run(self) -> None:
        """Keep a link open until this is cancelled."""
        while True:
            try:
                await self._run_link()
            except StoreLost as error:
                logger.debug("shard %d: %s", self.index, error)
                self.trouble = str(error)
            except BackendError as error:
                self._backoff_s = LAST_BACKOFF_S
                self._reject(str(error))
            except Exception:
                logger.exception("shard %d of the cluster's store: unexpected error", self.index)
                self._backoff_s = LAST_BACKOFF_S
            self._lost()
            await asyncio.sleep(self._backoff_s * random.uniform(0.7, 1.0))  # noqa: S311 -- not a secret
            self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)

    async def _run_link(self) -> None:
        connections: list[StoreConnection] = []
        try:
            for timeout in (WRITE_TIMEOUT_S, READ_TIMEOUT_S, READ_TIMEOUT_S):
                connection = await self._backend.connect(self.keys.head, timeout)
                connections.append(connection)  # one by one, so that the open ones are closed if the next one fails
            writer, reader, queries = connections
            if len({connection.run for connection in connections}) > 1:
                raise StoreLost("the store was replaced")
            await self._register(writer)
            await _first_to_end(
                self._do_jobs(writer),
                self.reader.run(reader, queries),
                self._poll_members(queries),
                self._answer_queries(queries),
            )
        finally:
            for connection in connections:
                connection.close()

    def _lost(self) -> None:
        self._is_attached = False
        self._unknown(self._in_flight)
        self._backend.lost()
        if self._registration is not None and not self._is_lost:
            self._is_lost = True
            self.receiver.disconnected(self.index)

    def _reject(self, reason: str) -> None:
        if reason != self._rejection:
            self._rejection = reason
            self.receiver.rejected(reason)

    # Registering.

    async def _register(self, writer: StoreConnection) -> None:
        """Register, or confirm that the registration still exists. Repeat this until it succeeds."""
        while not await self._try_to_register(writer):  # noqa: ASYNC110 -- the store does not report a free slot
            await asyncio.sleep(RETRY_S)

    async def _try_to_register(self, writer: StoreConnection) -> bool:
        if self.index:
            await self._backend.has_slot.wait()
        applicant, former = self._backend.applicant, self._registration
        slot = self._backend.slot if self.index else former.slot if former else applicant.slot
        is_former = former is not None and former.slot == slot
        keys = self.keys
        reply = await writer.script(
            REGISTER,
            [keys.head, keys.log, keys.users, keys.nodes, *keys.sessions, *keys.rooms],
            [
                *(slot, int(self.index > 0), encode_about(applicant.name, b"")),
                *(former.incarnation if former and is_former else applicant.incarnation, self._nonce, writer.run),
                *self.known,
                *(LAYOUT, self._backend.shards, MAX_SLOTS),
            ],
        )
        status = reply[0]
        if status == b"OK":
            _, given, incarnation, n, generation, epoch, is_kept, seconds, microseconds = reply
            if self.index == 0:
                self._backend.registered_ms = int(seconds) * 1000 + int(microseconds) // 1000
            registration = Registration(int(given), incarnation.decode(), int(n), int(generation), epoch.decode())
            self._registered(registration, is_kept == b"1")
            return True
        self._set_fenced()
        if status == b"FULL":
            self._reject(f"all {MAX_SLOTS} slots are taken by other nodes")
        elif status == b"LAYOUT":
            _, layout, shards = reply
            self._backend.conflict = other_layout(layout, shards, self._backend.shards)
            self._reject(self._backend.conflict)
        return False

    def _registered(self, registration: Registration, is_kept: bool) -> None:
        if not is_kept:
            self._set_fenced()
            self._nonce = _nonce()
        # After a failover the store may not know that it declared this node dead, and keeps the incarnation. The reader
        # was stopped when the node was fenced, so the receiver must load again.
        is_new = not is_kept or self._is_fenced
        self._registration = registration
        self.known = LastKnown(max(self.known.floor, registration.n), registration.generation, registration.epoch)
        self._is_attached, self._is_fenced = True, False
        self._backoff_s, self._rejection, self.trouble = FIRST_BACKOFF_S, "", ""
        if self._is_lost:
            self._is_lost = False
            self.receiver.reconnected(self.index, registration.generation)
        if is_new:
            self.receiver.registered(self.index, registration)
        if self.index == 0:
            self._backend.set_slot(registration.slot)

    async def _end_registration(self, writer: StoreConnection) -> None:
        """Register again, because the store has refused a write of this incarnation."""
        self._set_fenced()
        await self._register(writer)

    def _set_fenced(self) -> None:
        """Report that the registration has ended, unless the receiver knows that already."""
        self._is_attached = False
        if self._registration is not None and not self._is_fenced:
            self._is_fenced = True
            self._in_flight = None
            self.reader.stop()
            self.receiver.fenced(self.index)

    # Writing.

    async def _do_jobs(self, writer: StoreConnection) -> None:
        while True:
            job = await self._jobs.get()
            if job.registration is self._registration and self._is_attached:
                await job.run(writer)

    def _write(self, script: Script, keys: list[bytes], arguments: Callable[[], list[Argument]]) -> None:
        """Execute a script that needs a live incarnation, and report the members."""
        registered = self._registration
        if registered is None or not self._is_attached:
            return

        async def run(writer: StoreConnection) -> None:
            caller = (registered.slot, registered.incarnation)
            run_id = (writer.run,) if script is REMOVE else ()
            reply = await writer.script(script, keys, [*caller, *run_id, *arguments()])
            if reply == FENCED:
                await self._end_registration(writer)
            else:
                self._report_members(reply)

        self._jobs.put_nowait(_Job(registered, run))

    async def _commit(self, writer: StoreConnection, registered: Registration, batch: CommitBatch) -> None:
        keys = self.keys
        contributions, proposals = encode_commit(keys, batch)
        try:
            reply = await writer.script(
                COMMIT,
                [keys.head, keys.log, keys.users, keys.nodes, *contributions],
                [
                    *(registered.slot, registered.incarnation, writer.run, *self._floor_and_generation()),
                    *(batch.serial, batch.kind.value, batch.body, max(1, self._backend.log_items // LOG_STEPS)),
                    batch.until_ms,
                    *proposals,
                ],
            )
        except OutOfMemory:
            self.receiver.full(self.index)
            self._unknown(batch)
            return
        if reply == FENCED:
            await self._end_registration(writer)
            return
        n, seconds, microseconds, refused, outcome = reply
        self._in_flight = None
        self.raise_floor(int(n))
        time_ms = int(seconds) * 1000 + int(microseconds) // 1000
        users = tuple(user_id.decode() for user_id in refused)
        self.receiver.committed(self.index, Committed(batch.serial, int(n), users, time_ms, outcome == b"LATE"))

    def _unknown(self, batch: CommitBatch | None) -> None:
        """Report that the result of a batch is unknown, unless the result was reported."""
        if batch is not None and batch is self._in_flight:
            self._in_flight = None
            self.receiver.unknown(self.index, batch.serial)

    def _floor_and_generation(self) -> tuple[int, int]:
        return self.known.floor, self.known.generation

    # Reading.

    async def _poll_members(self, queries: StoreConnection) -> None:
        while True:
            began = time.monotonic()
            slot = self._registration.slot if self._registration is not None else 0
            keys = self.keys.users, self.keys.sessions[slot], self.keys.rooms[slot]
            members, *counts = await queries.pipeline([("HGETALL", self.keys.nodes), *(("HLEN", key) for key in keys)])
            self._backend.on_round_trip(time.monotonic() - began)
            self._report_members(members)
            if self._is_attached:
                self.receiver.counted(self.index, Counts(*map(int, counts)))
            await asyncio.sleep(MEMBERS_PERIOD_S)

    def _report_members(self, flat: Sequence[bytes]) -> None:
        members = decode_members(flat)
        self._backend.nodes = max(1, len(members))
        self.receiver.members(self.index, members)

    async def _answer_queries(self, queries: StoreConnection) -> None:
        while True:
            query = await self._queries.get()
            try:
                answer = await query(queries)
            except BaseException:
                self._queries.put_nowait(query)  # the next link repeats it
                raise
            answer()


def _nonce() -> str:
    """Return six hexadecimal digits, which make an incarnation unique even if the store was emptied."""
    return secrets.token_hex(3)


async def _first_to_end(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until one of them ends. Then cancel the others, and raise its exception."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
