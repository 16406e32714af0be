"""Client of the storage worker: starts the process, sends it batches and calls, and tracks its state.

States of the connection. All batches that are not confirmed survive each arrow.

    _launch --> connected --Ready--> ready --process ends--> lost --RETRY_S, doubled up to MAX_RETRY_S--> _launch
      |             |                  |                       ^
      |             +-- process ends --|-----------------------+
      +-- the process cannot be started ----------------------->

`accepts_batch` is true in state *ready* with fewer than `MAX_UNCONFIRMED_BATCHES` unconfirmed batches. `rpc` describes
the messages.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, cast

import msgspec

from presenced.config.sources import without_settings
from presenced.errors import StorageError, StorageUnavailable
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.storage.records import Record, StoredUser, is_about
from presenced.storage.write_behind import WriteBehind
from presenced.webhooks.stats import WebhookStats
from presenced.worker.calls import StorageCalls
from presenced.worker.rpc import (
    Absent,
    BatchStored,
    BrokenStream,
    CallResult,
    FindAbsent,
    Ready,
    RecordBatch,
    Refused,
    RestoredPage,
    Setup,
    Splitter,
    Stop,
    StorageState,
    ToWorker,
    encode_message,
    send_in_parts,
    to_server,
)
from presenced.worker.webhook_metrics import WebhookMetrics

MAX_UNCONFIRMED_BATCHES = 4
"""Maximum number of unconfirmed batches. At the bound, records wait in `WriteBehind`. The last batch may exceed the
bound, because a batch too long for one message counts as several."""

LAUNCH_TIMEOUT_S = 15.0
"""Seconds for which the server waits until the new process runs, before it waits for the database. On a busy machine
the imports of the process alone take 5 s (load 8 on 2 cores). A start without stored data shows invisible users as
online, and accepts revoked tokens, so a busy machine must not cause it."""

DATABASE_TIMEOUT_S = 3.0
"""Seconds for which the server then waits for stored data before it accepts connections. Then it starts without it."""

STOP_TIMEOUT_S = 5.0
"""Seconds for which a stopping server waits until everything is stored. Then it exits, and the worker continues alone
for `worker.program.LAST_TRIES_S`."""

RETRY_S, MAX_RETRY_S = 1.0, 30.0
"""Seconds from the unexpected end of a worker to the start of the next: doubled each time, until one is ready."""

LATE_S = 2.0
"""Seconds by which storage may be behind without a warning."""

FAILING_S = 5.0
"""Seconds of failures after which another node of a cluster should store on behalf of all nodes."""

NOT_YET = "the database has not answered yet"
"""Reason why nothing is stored until a new process reports its state."""

_logger = logging.getLogger("presenced")

_abandoned: list[subprocess.Popen[bytes]] = []
"""Processes that are no longer needed. They exit by themselves within `worker.program.LAST_TRIES_S`. Each use of this
list reaps the processes that have exited, so that no zombies remain."""


class _Unconfirmed(NamedTuple):
    batch: RecordBatch
    since: float
    """Monotonic time at which it was sent first."""


class WorkerClient(asyncio.Protocol):
    """Connection to the storage worker, across restarts of it. All methods are called on the loop's thread.

    Bounds: `MAX_UNCONFIRMED_BATCHES` batches, and the calls that `StorageCalls` allows.

    Args:
        log_format: Setting, for the log of the process.
        log_time: Setting, for the log of the process.
        node: Name of the node, for the log of the process; empty for a server that is alone.
    """

    def __init__(
        self,
        *,
        setup: Setup,
        clock: Clock,
        metrics: Metrics,
        log_format: str = "text",
        log_time: str = "auto",
        node: str = "",
    ) -> None:
        self._setup = setup
        self.epoch = setup.epoch
        self._log_arguments = log_format, log_time, node
        self._clock = clock
        self._metrics = metrics
        self._write_behind: WriteBehind | None = None
        self._cores = os.sched_getaffinity(0) if sys.platform == "linux" else None
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._splitter = Splitter()
        self._runs = False
        """Whether the current process has sent a message, first `ProcessStarted`."""
        self._ready = False
        """Whether the current process has sent `Ready`."""
        self._restored = False
        """Whether a process has sent all data from before the start. The next process need not send it."""
        self._failing = NOT_YET
        """Why nothing can be stored now; empty if nothing is wrong."""
        self._failing_since: float | None = None
        """Monotonic time of the first failure of the current process since its last success; None if there was none."""
        self._outage_logged = False
        """Whether the log says that nothing can be stored, but not yet that storage works again."""
        self._failures = 0
        """Number of failed attempts of the current process that the metric has counted."""
        self._retry_s = RETRY_S
        self._launching: asyncio.TimerHandle | asyncio.Task[None] | None = None
        """Start of the newest process: the delay before it, then the start itself, also when that is over."""
        self._stopping = False
        self._stop_sent = False
        self._number = 0
        """Number of the newest batch."""
        self._unconfirmed: dict[int, _Unconfirmed] = {}
        self.calls = StorageCalls(send=self._send_call, forget=self._forget, unstored=self._unstored_of)
        self._changed = asyncio.Event()
        """Set when the state of the connection may have changed; see `_wait_until`."""
        self._refused = ""
        """Fault that only an operator can remove; empty if there is none."""
        self._webhooks = WebhookMetrics(metrics, clock)
        gauge = metrics.gauge
        gauge(
            "presenced_storage_up", "Whether records are being stored (1) or must wait (0).", lambda: not self._failing
        )
        gauge("presenced_storage_behind_seconds", "Time that the oldest record has waited.", lambda: self.behind_s)
        gauge(
            "presenced_storage_unstored_facts",
            "Records sent to the storage worker and not stored yet.",
            lambda: self.unconfirmed,
        )

    # For the write-behind.

    @property
    def accepts_batch(self) -> bool:
        """Whether `store_batch` may be called."""
        return self._ready and not self._stop_sent and len(self._unconfirmed) < MAX_UNCONFIRMED_BATCHES

    def store_batch(
        self, records: list[Record], position: int, shard: int = -1, n: int = 0, may_repeat: bool = False
    ) -> None:
        """Store these records. A record too long for one message is dropped and counted as unusable.

        Args:
            shard: As for `RecordBatch`.
            n: As for `RecordBatch`.
            may_repeat: As for `RecordBatch`.
        """
        assert self.accepts_batch, "callers check it"

        def send(some: list[Record]) -> None:
            is_last = not some or some[-1] is records[-1]
            batch = RecordBatch(self._number + 1, position, some, shard, n if is_last else 0, may_repeat)
            message = encode_message(batch)
            self._number += 1
            self._unconfirmed[self._number] = _Unconfirmed(batch, self._clock.monotonic())
            self._send(message)

        if dropped := send_in_parts(records, send):
            self._metrics.records_unusable.inc(dropped)
            _logger.error("%d records were dropped: each is too long for a message", dropped)

    def post(self, message: ToWorker) -> None:
        """Send a message about a shard. No-op while no process is ready: the next one knows no shards."""
        if self._ready:
            self._send(encode_message(message))

    @property
    def is_storing(self) -> bool:
        """Whether records are stored now, or storing has failed only for a moment."""
        since = self._failing_since
        return self._ready and (since is None or self._clock.monotonic() - since < FAILING_S)

    @property
    def unconfirmed(self) -> int:
        """Number of records that were sent to the worker, but are not confirmed."""
        return sum(len(unconfirmed.batch.records) for unconfirmed in self._unconfirmed.values())

    @property
    def behind_s(self) -> float:
        """Seconds for which the oldest record has been waiting, here or in the write-behind."""
        oldest = [unconfirmed.since for unconfirmed in self._unconfirmed.values()][:1]
        if self._write_behind is not None and self._write_behind.waiting_since is not None:
            oldest.append(self._write_behind.waiting_since)
        return max(0.0, self._clock.monotonic() - min(oldest)) if oldest else 0.0

    @property
    def warning(self) -> str:
        """Text for operators about a fault; empty if there is none."""
        if self._failing:
            return f"nothing can be stored now, records wait: {self._failing}"
        if (behind_s := self.behind_s) > LATE_S:
            return f"storing is {behind_s:.0f} s behind"
        return ""

    # Start and stop.

    async def start(self, write_behind: WriteBehind) -> None:
        """Start the process, and wait for data from before the start. Data that arrives later is restored then.

        The wait is `LAUNCH_TIMEOUT_S` for the process, and then `DATABASE_TIMEOUT_S` for the database.

        Raises:
            StorageError: The database cannot be used until an operator does something.
        """
        self.attach(write_behind)
        write_behind.start_above(self._setup.position)
        await self._launch()
        # Suppressed, because when both times have passed, the server starts without stored data.
        with suppress(TimeoutError):
            async with asyncio.timeout(LAUNCH_TIMEOUT_S):
                await self._wait_until(lambda: self._runs or self._transport is None)
        with suppress(TimeoutError):
            async with asyncio.timeout(DATABASE_TIMEOUT_S):
                await self._wait_until(lambda: self._restored or bool(self._refused))
        if self._refused:
            self.abandon()
            raise StorageError(self._refused)
        if not self._restored:
            _logger.warning("the database can't be used now: %s; the server starts without it", self._failing)
            self._outage_logged = True

    def attach(self, write_behind: WriteBehind) -> None:
        """Set the receiver of restored data, which is also the source of waiting records. `start` calls this."""
        self._write_behind = write_behind

    async def stop(self) -> None:
        """Wait until everything is stored, at most `STOP_TIMEOUT_S`. Then the process continues alone for some time."""
        write_behind = self._attached
        self._stopping = True
        with suppress(TimeoutError):  # the rest is logged below
            async with asyncio.timeout(STOP_TIMEOUT_S):
                write_behind.finish()
                if self._unconfirmed or write_behind.waiting:
                    await self._launch_now()
                await self._wait_until(lambda: not self._may_store or not (self._unconfirmed or write_behind.waiting))
                self._send(encode_message(Stop()))
                self._stop_sent = True
                if self._transport is not None and self._transport.can_write_eof():
                    self._transport.write_eof()
                await self._wait_until(lambda: self._transport is None)
                while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110  # Popen has no event
                    await asyncio.sleep(0.005)
        if left := self.unconfirmed + write_behind.waiting:
            _logger.error(
                "%d records could not be stored before the end: %s", left, self._failing or "it took too long"
            )
        self.abandon()

    @property
    def _attached(self) -> WriteBehind:
        assert self._write_behind is not None, "attached before the process is started"
        return self._write_behind

    @property
    def _may_store(self) -> bool:
        """Whether `stop` should wait: the worker stores data, or a new one has yet to report whether it can."""
        return self._ready or (self._transport is not None and self._failing == NOT_YET)

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds. It is checked when anything of the connection has changed."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def abandon(self) -> None:
        """Close the connection. The process exits by itself."""
        self._stopping = True
        if self._launching is not None:
            self._launching.cancel()
        if self._transport is not None:
            self._transport.close()
        self._abandon_process()

    # The process.

    async def _launch(self) -> None:
        """Start a process and connect to it. If that fails, try again later."""
        self._abandon_process()  # the previous process has exited by now
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # too many files are open
            self._launch_failed(error)
            return
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  # it only forks; no argument comes from outside
                [sys.executable, "-P", "-m", "presenced.worker", str(theirs.fileno()), *self._log_arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=without_settings(os.environ),
            )
            if self._cores is not None:  # with writers, this process may have bound itself to fewer cores by now
                with suppress(OSError):  # the process may have ended already
                    os.sched_setaffinity(self._process.pid, self._cores)
            ours.setblocking(False)
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        except OSError as error:
            ours.close()
            self._launch_failed(error)
        finally:
            theirs.close()

    def _launch_failed(self, error: OSError) -> None:
        place = f": {error.filename}" if error.filename else ""
        self._failing = f"the storage worker can't be started: {error.strerror}{place}"
        self._launch_later()

    def _launch_later(self) -> None:
        self._abandon_process()
        loop = asyncio.get_running_loop()

        def launch() -> None:
            self._launching = loop.create_task(self._launch())

        self._launching = loop.call_later(self._retry_s, launch)
        self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)

    async def _launch_now(self) -> None:
        """Start the next process if the last one has ended, instead of later."""
        if isinstance(self._launching, asyncio.Task):
            await self._launching
        elif self._launching is not None:
            self._launching.cancel()
            await self._launch()

    def _abandon_process(self) -> None:
        if self._process is not None:
            _abandoned.append(self._process)
            self._process = None
        _abandoned[:] = [process for process in _abandoned if process.poll() is None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send `Setup` to the new process."""
        self._transport = cast(asyncio.Transport, transport)
        self._failing, self._failures = NOT_YET, 0
        self._runs = False
        self._splitter = Splitter()
        position = self._attached.position
        self._send(encode_message(msgspec.structs.replace(self._setup, position=position, restore=not self._restored)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Start another process later, unless the server stops."""
        self._transport, self._ready = None, False
        self.calls.lost()
        self._changed.set()
        if not self._stopping:
            self._failing = self._failing or "the storage worker has ended"
            self._metrics.storage_workers_lost.inc()
            _logger.error("the storage worker has ended; another one will be started")
            self._outage_logged = True
            self._launch_later()

    # To the worker.

    def _send(self, message: bytes) -> None:
        if self._transport is not None and not self._stop_sent and not self._transport.is_closing():
            self._transport.write(message)

    def _send_call(self, message: bytes) -> None:
        """Send a call.

        Raises:
            StorageUnavailable: The worker is not ready.
        """
        if not self._ready:
            raise StorageUnavailable(f"the database is unavailable: {self._failing or 'the database is being opened'}")
        self._send(message)

    def _forget(self, user_id: str) -> None:
        """Discard records about a user who is being erased, including from unconfirmed batches.

        This worker has them and stores them before it erases the user. If it dies, the next worker finds the user
        erased, and must not get them again.
        """
        self._attached.forget(user_id)
        for number, (batch, since) in self._unconfirmed.items():
            records = [record for record in batch.records if not is_about(record, user_id)]
            self._unconfirmed[number] = _Unconfirmed(msgspec.structs.replace(batch, records=records), since)

    def _unstored_of(self, user_ids: Sequence[str]) -> dict[str, StoredUser]:
        wanted = set(user_ids)
        found: dict[str, StoredUser] = {}
        for batch, _ in self._unconfirmed.values():
            for record in batch.records:
                if isinstance(record, StoredUser) and record.user_id in wanted:
                    found[record.user_id] = record
        return found | self._attached.waiting_of(wanted)  # those that still wait are newer

    # From the worker.

    def data_received(self, data: bytes) -> None:
        """Act on the messages that are complete."""
        self._runs = True
        try:
            for message in self._splitter.split(data):
                self._received(message)
        except BrokenStream as error:  # Another process may succeed. It gets all unconfirmed records again.
            self._failing = f"the storage worker sent {error}"
            if self._transport is not None:
                self._transport.abort()
        self._changed.set()

    def _received(self, data: bytes) -> None:
        match to_server.decode(data):
            case RestoredPage(records):
                self._attached.restore(records)
            case Ready(position):
                self._start_sending(position)
            case BatchStored() as stored:
                self._confirm(stored)
            case StorageState() as state:
                self._set_state(state)
            case Refused(reason):
                self._refused = reason
            case FindAbsent(users, rooms):
                # Records about these users may still wait. The answer is correct nevertheless, because it is the live
                # state, and later records follow it in the stream.
                self._send(encode_message(Absent(*self._attached.absent(users, rooms))))
            case CallResult() as result:
                self.calls.returned(result)
            case WebhookStats() as stats:
                self._webhooks.update(stats)
            case answer:  # `ShardTaken` or `ShardLost`; `ProcessStarted` needs no action
                self._attached.shard_answered(answer)

    def _start_sending(self, position: int) -> None:
        """Send the unconfirmed batches again, because the process is ready."""
        self._ready, self._failing, self._retry_s = True, "", RETRY_S
        self._failing_since = None
        self._log_end_of_outage()
        self._webhooks.restart()
        for unconfirmed in self._unconfirmed.values():
            self._send(encode_message(unconfirmed.batch))
        self._restored = True
        self._attached.finish_restore(position)

    def _confirm(self, stored: BatchStored) -> None:
        for number, one in self._unconfirmed.items():
            if one.batch.n and number <= stored.number:
                self._attached.shard_stored(one.batch.shard, one.batch.n)
        self._unconfirmed = {number: one for number, one in self._unconfirmed.items() if number > stored.number}
        self._metrics.batches_stored.inc()
        self._metrics.batch_records.observe(stored.records)
        self._metrics.batch_seconds.observe(stored.seconds)
        self._metrics.records_unusable.inc(stored.unusable)
        if self._attached.is_blocked:
            self._attached.flush()

    def _set_state(self, state: StorageState) -> None:
        self._metrics.storage_failures.inc(max(0, state.failures - self._failures))
        self._failures = state.failures
        if not state.failing:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = self._clock.monotonic()
        if state.failing and not self._failing:
            _logger.error("nothing can be stored now, records wait: %s", state.failing)
            self._outage_logged = True
        elif not state.failing:
            self._log_end_of_outage()
        self._failing = state.failing

    def _log_end_of_outage(self) -> None:
        if self._outage_logged:
            _logger.warning("storage works again, waiting records are being stored")
            self._outage_logged = False
