"""Program of the storage worker: stores batches until the stream ends, answers calls, and runs the webhooks.

    stream --> _take --> items (batches, erasures, absences) --> _store_items: one transaction --> BatchStored
                 |
                 +-----> calls: one task each, with a connection of its own --> CallResult

There is one writer. It takes all items that have arrived and stores them in one transaction, in their order. While
nothing arrives, it renews the server's row (`Store.renew`) every `RENEW_S`.

A transaction that fails is repeated with the same items until it succeeds, and the server learns why (`StorageState`).
There are two exceptions:

- The database refuses a value (`refuses_values`). The items are then stored record by record, and refused records are
  left out.
- An unexpected exception ends the process, because a new process may succeed. The server starts it and sends everything
  again.

After the end of the stream the worker continues until all items are stored, for up to `LAST_TRIES_S` seconds. If it has
never been able to open the database, it stops at the next failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import groupby
from math import inf

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.errors import ConfigError, StorageError
from presenced.presence.model import Change
from presenced.storage import migrate
from presenced.storage.database import (
    explain_error,
    is_corrupt,
    is_driver_error,
    open_database,
    refuses_values,
    writing,
)
from presenced.storage.records import Record, RoomOccupancy
from presenced.storage.store import LOST, Store
from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.worker.absence_check import AbsenceCheck
from presenced.worker.methods import run_call
from presenced.worker.rpc import (
    Absent,
    BatchStored,
    BrokenStream,
    CallResult,
    CheckAbsences,
    EndSessions,
    LeaveShard,
    MessageTooLong,
    Method,
    ProcessStarted,
    Ready,
    RecordBatch,
    Refused,
    RestoredPage,
    Setup,
    Splitter,
    Stop,
    StorageState,
    TakeShard,
    ToServer,
    ToWorker,
    WorkerCall,
    encode_message,
    send_in_parts,
    to_worker,
)
from presenced.worker.shards import WorkerShards

RENEW_S = 0.5
"""Seconds between two renewals of the server's row, and between two reports about webhooks. A server that is killed
should lose at most one second of last seen, and this leaves the rest of that second for writing."""

TRANSACTION_TIMEOUT_S = 120.0
"""Seconds for each transaction of the start, and for that of the end. They touch all users of a dead server."""

FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
"""Seconds between two attempts if something fails: doubled each time."""

LAST_TRIES_S = 30.0
"""Seconds for which the worker keeps trying after its server has ended."""

PRUNE_S = 60.0
"""Seconds between two searches for rows that are too old."""

DISPOSE_TIMEOUT_S = 2.0
"""Seconds for closing connections properly. A database that does not answer would never let them close."""

MAX_READ_BYTES = 1 << 18
"""Maximum number of bytes read from the stream at a time."""

ShardMessage = TakeShard | LeaveShard | EndSessions | CheckAbsences
"""Messages of a node of a cluster about its shards."""

WorkItem = RecordBatch | WorkerCall | Absent | ShardMessage
"""Unit of writing, in order of arrival. `Method.ERASE` is the only call among them."""

_logger = logging.getLogger("presenced")


async def run_worker(sock: socket.socket) -> None:
    """Run the worker on the stream from the server, until it ends and everything is stored."""
    reader, writer = await asyncio.open_connection(sock=sock)
    messages = _messages(reader)
    setup = await anext(messages, None)
    if not isinstance(setup, Setup):
        return
    writer.write(encode_message(ProcessStarted()))
    try:
        program = WorkerProgram(setup, writer)
    except ConfigError as error:  # the URL is invalid
        writer.write(encode_message(Refused(str(error))))
        await writer.drain()
        await reader.read()  # until the server has ended, so that it does not start another process
        return
    await program.run(messages)


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[ToWorker]:
    """Yield the messages of the server until the stream ends.

    Raises:
        BrokenStream: A message is too long.
    """
    splitter = Splitter()
    with contextlib.suppress(ConnectionError):  # the server has died, which ends the stream as well
        while data := await reader.read(MAX_READ_BYTES):
            for message in splitter.split(data):
                yield to_worker.decode(message)


def now_ms() -> int:
    """Return the time of the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


class WorkerProgram:
    """One writer, and a task for each call.

    Bounds: the server bounds the batches and calls that it sends before it gets answers (`worker.client`).
    """

    def __init__(self, setup: Setup, stream: asyncio.StreamWriter) -> None:
        self._setup = setup
        self._stream = stream
        self._database: AsyncEngine = open_database(setup.url)
        self._store = Store(
            dialect=self._database.dialect.name,
            node=setup.node,
            epoch=setup.epoch,
            started_ms=setup.started_ms,
            history_ms=setup.history_ms,
            spares_shards=bool(setup.cluster),
        )
        self._webhooks = (
            WebhookDispatcher(self._database, setup.webhooks, now_ms) if setup.webhooks is not None else None
        )
        self._absence_check: AbsenceCheck | None = None
        self._shards: WorkerShards | None = None
        """None if the server is alone."""
        if setup.cluster:
            self._shards = WorkerShards(
                dialect=self._database.dialect.name,
                setup=setup,
                producer=self._webhooks.producer if self._webhooks is not None else None,
                renew_s=RENEW_S,
            )
        self._delivery: asyncio.Task[None] | None = None
        """Task that delivers webhooks. In a cluster, it runs while this worker writes a shard."""
        self._delivers = False
        """Whether `_delivery` delivers webhooks, and does not only count them."""
        self._position = setup.position
        """Position of the newest change that is stored."""
        self._items: list[WorkItem] = []
        self._arrived = asyncio.Event()
        """Set when an item has arrived, or the stream has ended."""
        self._started = False
        self._ended_ms = 0
        """When the stream ended, in epoch milliseconds; 0 before."""
        self._give_up_at = inf
        """Monotonic time after which no failed attempt is repeated."""
        self._reason = LOST
        """End reason of the sessions that are open when the stream ends."""
        self._failing = ""
        """Why the last attempt failed; empty if it succeeded."""
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._next_prune = 0.0
        self._next_report = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        """Running calls, and the deliveries of webhooks."""

    async def run(self, messages: AsyncIterator[ToWorker]) -> None:
        """Run until the stream has ended and everything is stored."""
        writer = asyncio.create_task(self._write())
        try:
            async for message in messages:
                self._take(message)
        except BrokenStream as error:
            _logger.error("the storage worker ends: %s", error)  # the server starts another one and sends all again
            await self._end(writer)
            return
        self._ended_ms = now_ms()
        self._give_up_at = time.monotonic() + LAST_TRIES_S
        self._arrived.set()
        await writer
        await self._end()

    def _take(self, message: ToWorker) -> None:
        match message:
            case (
                RecordBatch()
                | Absent()
                | WorkerCall(_, Method.ERASE)
                | TakeShard()
                | LeaveShard()
                | EndSessions()
                | CheckAbsences()
            ):
                self._items.append(message)
                self._arrived.set()
            case WorkerCall():
                task = asyncio.create_task(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case Stop():
                self._reason = "stopping"

    async def _answer(self, call: WorkerCall) -> None:
        result = await run_call(call, self._database, self._webhooks, self._setup.url)
        try:
            self._send(result)
        except MessageTooLong as error:
            self._send(CallResult(call.number, b"", f"it would be {error}: ask for less"))

    def _send(self, message: ToServer) -> None:
        if not self._stream.is_closing():
            self._stream.write(encode_message(message))

    async def _end(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel these tasks and every other running task."""
        for task in (ending := (*tasks, *self._tasks)):
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._disconnect()

    async def _disconnect(self) -> None:
        """Close all connections to the database, so that the next transaction opens new ones.

        This is needed after a restart of the database server, and when a database file is no longer read-only.
        """
        try:
            async with asyncio.timeout(DISPOSE_TIMEOUT_S):
                await self._database.dispose()
        except Exception:  # a database that does not answer; its connections are dropped without closing them
            await self._database.dispose(close=False)

    # The writer.

    async def _write(self) -> None:
        """Start, store items until the stream has ended, and stop."""
        if not await self._retry_until_done(self._start):
            return
        while True:
            if not self._items and not self._ended_ms:
                # If pruning is due, only items that have already arrived are stored before it.
                with contextlib.suppress(TimeoutError):  # the server's row is renewed
                    async with asyncio.timeout(RENEW_S if time.monotonic() < self._next_prune else 0.001):
                        await self._arrived.wait()
            self._arrived.clear()
            if self._ended_ms and not self._items:
                await self._retry_until_done(self._stop)
                return
            if not await self._retry_until_done(self._store_items):
                return

    async def _retry_until_done(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Repeat `work` until it succeeds.

        Returns:
            False if the server has ended and `work` takes too long, or the database has never been usable.
        """
        while True:
            try:
                await work()
            except Exception as error:
                if not isinstance(error, (OSError, UnicodeError, StorageError)) and not is_driver_error(error):
                    self._stream.close()  # a bug: a new process may succeed
                    raise
                await self._failed(error)
                is_hopeless = self._ended_ms and not self._started
                if is_hopeless or time.monotonic() + self._pause_s > self._give_up_at:
                    return False
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
            else:
                self._succeeded()
                return True

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        refusal = str(error) if isinstance(error, StorageError) else ""
        if is_corrupt(error):
            refusal = f"the database file is broken ({explain_error(error, self._setup.url)}): restore it from a backup"
        self._failing = refusal or explain_error(error, self._setup.url)
        self._send(StorageState(self._failing, self._failures))
        if refusal:
            self._send(Refused(refusal))
        await self._disconnect()

    def _succeeded(self) -> None:
        if self._failing:
            self._failing = ""
            self._send(StorageState("", self._failures))
        self._pause_s = FIRST_PAUSE_S

    async def _start(self) -> None:
        """Prepare the tables, close what dead servers left open, and send the data to restore."""
        async with writing(self._database, TRANSACTION_TIMEOUT_S) as connection:
            await connection.run_sync(migrate.prepare_tables)
        async with writing(self._database, TRANSACTION_TIMEOUT_S) as connection:
            start = await self._store.start(connection)
        if self._setup.restore:
            async with writing(self._database, TRANSACTION_TIMEOUT_S) as connection:
                async for records in self._store.restored(connection, now_ms(), self._setup.max_restored):
                    if dropped := send_in_parts(records, lambda some: self._send(RestoredPage(some))):
                        _logger.error("%d records are not restored: each is too long for a message", dropped)
        self._position = max(self._position, start.position)
        self._started = True
        if self._absence_check is None:
            self._begin_webhooks()
        self._send(Ready(start.position))

    def _begin_webhooks(self) -> None:
        producer = self._webhooks.producer if self._webhooks is not None else None
        if self._shards is not None:
            self._absence_check = AbsenceCheck(self._database, producer, inf, self._shards.shown_after)
        elif producer is not None:
            self._start_delivery(True)
            self._absence_check = AbsenceCheck(self._database, producer, self._setup.settling_s)

    async def _stop(self) -> None:
        async with writing(self._database, TRANSACTION_TIMEOUT_S) as connection:
            await self._store.stop(connection, self._ended_ms, self._position, self._reason)

    def _start_delivery(self, delivers: bool) -> None:
        """Start to deliver webhooks, or only to count those that are queued here if `delivers` is false."""
        assert self._webhooks is not None, "checked by the caller"
        self._delivers = delivers
        self._delivery = asyncio.create_task(self._webhooks.run(delivers))
        self._delivery.add_done_callback(self._delivery_ended)
        self._tasks.add(self._delivery)

    async def _update_delivery(self) -> None:
        """Start or stop the deliveries if the shards of this worker have changed."""
        if self._webhooks is None or self._shards is None:
            return
        writes, delivers = self._shards.writes, self._shards.delivers
        task = self._delivery
        if writes is (task is not None) and (not writes or delivers is self._delivers):
            return
        if task is not None:
            self._delivery = None
            self._tasks.discard(task)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._webhooks.report_nothing()
        if writes:
            self._start_delivery(delivers)

    def _delivery_ended(self, task: asyncio.Task[None]) -> None:
        """End the process if the delivery failed, because a new process may succeed."""
        if not task.cancelled() and task.exception() is not None:
            _logger.error("webhooks failed", exc_info=task.exception())
            self._stream.close()

    async def _store_items(self) -> None:
        """Store all items that have arrived, or only renew the server's row. Then do some of the periodic work."""
        began, items = time.monotonic(), list(self._items)
        batches = [item for item in items if isinstance(item, RecordBatch)]
        number_of_records = sum(len(batch.records) for batch in batches)
        unusable = 0
        try:
            results = await self._store_together(items)
        except Exception as error:
            if not refuses_values(error):
                raise
            results, unusable = await self._store_one_by_one(items)
        del self._items[: len(items)]  # more may have arrived
        if self._webhooks is not None and items:
            self._webhooks.wake()
        for result in results:
            self._send(result)
        if self._absence_check is not None:
            self._update_absence_check(self._absence_check, items)
        await self._update_delivery()
        if batches:
            self._send(BatchStored(batches[-1].number, number_of_records, unusable, time.monotonic() - began))
        await self._work_periodically(began)

    @staticmethod
    def _update_absence_check(absence_check: AbsenceCheck, items: Sequence[WorkItem]) -> None:
        for item in items:
            if isinstance(item, Absent):
                absence_check.answered()
            elif isinstance(item, CheckAbsences):
                absence_check.restart(item.delay_s, item.users)

    async def _work_periodically(self, now: float) -> None:
        """Send reports and questions, and prune, as far as each is due.

        This runs after each transaction, so also while records arrive without a pause.
        """
        if self._webhooks is not None and now >= self._next_report:
            self._send(self._webhooks.stats())
            self._next_report = now + RENEW_S
        if self._absence_check is not None and (question := await self._absence_check.next_question()) is not None:
            self._send(question)
        if now >= self._next_prune:
            async with writing(self._database) as connection:
                more = await self._store.prune(connection, now_ms())
                if self._shards is not None:
                    await self._shards.end_silent_sessions(connection, now_ms())
            self._next_prune = now if more else now + PRUNE_S

    async def _store_together(self, items: Sequence[WorkItem]) -> list[ToServer]:
        """Store these items in one transaction. Return the messages for the server."""
        results: list[ToServer] = []
        position = max([self._position, *(item.position for item in items if isinstance(item, RecordBatch))])
        async with self._transaction(position) as connection:
            # Consecutive batches become one set of rows: of many records about a user only the newest is written.
            for is_batch, some in groupby(items, lambda item: isinstance(item, RecordBatch)):
                if is_batch:
                    batches = [item for item in some if isinstance(item, RecordBatch)]
                    own = [record for batch in batches if batch.shard < 0 for record in batch.records]
                    await self._store_records(connection, own)
                    if self._shards is not None:
                        results += await self._shards.store(connection, batches, now_ms())
                    continue
                for item in some:
                    results += await self._store_item(connection, item)
            if self._shards is not None:
                results += await self._shards.renew(connection, now_ms())
        self._position = position
        return results

    async def _store_item(self, connection: AsyncConnection, item: WorkItem) -> list[ToServer]:
        """Store an item that is not a batch. Return the messages for the server."""
        shards = self._shards
        match item:
            case WorkerCall():
                return [await self._erase(connection, item)]
            case Absent(users, rooms):
                if shards is not None:
                    await shards.set_absent(connection, users, rooms, now_ms())
                elif self._webhooks is not None:
                    await self._webhooks.producer.enqueue_absent(connection, users, rooms)
            case TakeShard() if shards is not None:
                return [await shards.take(connection, item, now_ms())]
            case LeaveShard(shard) if shards is not None:
                shards.leave(shard)
            case EndSessions() if shards is not None:
                await shards.end_sessions(connection, item, now_ms())
            case _:
                pass
        return []

    async def _store_one_by_one(self, items: Sequence[WorkItem]) -> tuple[list[ToServer], int]:
        """Store each record in a transaction of its own. Return results of calls, and the number of refused records."""
        results: list[ToServer] = []
        unusable = 0
        for item in items:
            if not isinstance(item, RecordBatch):
                results += await self._store_together([item])
                continue
            for record in item.records:
                try:
                    async with self._transaction(self._position) as connection:
                        if item.shard < 0:
                            await self._store_records(connection, [record])
                        elif self._shards is not None:
                            one = RecordBatch(0, 0, [record], item.shard, 0, item.may_repeat)
                            results += await self._shards.store(connection, [one], now_ms())
                except Exception as error:
                    if not refuses_values(error):
                        raise
                    unusable += 1
            if item.n and self._shards is not None:
                async with self._transaction(self._position) as connection:
                    end = RecordBatch(0, 0, [], item.shard, item.n)
                    results += await self._shards.store(connection, [end], now_ms())
            # `_stop` numbers its changes from here on. A lower number would collide with the changes just stored.
            self._position = max(self._position, item.position)
        return results, unusable

    @contextlib.asynccontextmanager
    async def _transaction(self, position: int) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that stores batches, and renew the server's row in it first (see `Store.renew`)."""
        async with writing(self._database) as connection:
            await self._store.renew(connection, now_ms(), position)
            yield connection

    async def _store_records(self, connection: AsyncConnection, records: Sequence[Record]) -> None:
        await self._store.write(connection, records)
        if self._webhooks is not None:
            changes = [record for record in records if isinstance(record, (Change, RoomOccupancy))]
            await self._webhooks.producer.enqueue(connection, changes)

    async def _erase(self, connection: AsyncConnection, call: WorkerCall) -> CallResult:
        assert call.method is Method.ERASE, "other calls are not items"
        (user_id,) = call.arguments
        webhooks = self._webhooks
        known = await webhooks.producer.prepare_erasure(connection, user_id) if webhooks is not None else None
        deleted = await self._store.erase(connection, user_id)
        if webhooks is not None and known is not None:
            await webhooks.producer.enqueue_erased(connection, user_id, known)
        return CallResult(call.number, b'{"stored":%d}' % deleted)
