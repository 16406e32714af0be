"""The server's side of the keeper: starts it, gives it facts, asks it, and knows how it is."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, cast

import msgspec

from presenced.config.sources import without_settings
from presenced.errors import StorageError
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics
from presenced.storage.records import Record, StoredUser, is_of
from presenced.storage.write_behind import WriteBehind
from presenced.worker.queries import Questions
from presenced.worker.rpc import (
    Absent,
    Answer,
    Batch,
    BrokenStream,
    Farewell,
    Figures,
    Page,
    Ready,
    Refused,
    Setup,
    Splitter,
    State,
    Stored,
    WhoIsAbsent,
    encode,
    in_parts,
    to_server,
)
from presenced.worker.webhook_metrics import WebhookMetrics

MAX_UNSTORED = 4
"""Batches that the keeper may have and not have stored; while it has so many, facts wait in the recorder."""

STOP_PATIENCE = 5.0
"""Seconds for which it waits, at its end, until all is stored."""

RETRY, LONGEST_RETRY = 1.0, 30.0
"""Seconds from the end of a keeper to the start of the next, when they end by themselves: twice as many each time."""

LATE = 2.0
"""Seconds by which storage may be behind without a word about it."""

NOT_YET = "it has not answered yet"
"""Reason why nothing is stored until a new process reports its state."""

_logger = logging.getLogger("presenced")

_leaving: list[subprocess.Popen[bytes]] = []
"""Keepers that are no longer needed and end by themselves, within `worker.program.LAST_TRIES`."""


class _Unstored(NamedTuple):
    batch: Batch
    since: float


class WorkerClient(asyncio.Protocol):
    """The connection to the keeper, through its ends and new beginnings. All methods are called on the loop's thread.

    Bounds: `MAX_UNSTORED` batches are under way, and questions by the bound of `Questions`.
    """

    def __init__(
        self,
        setup: Setup,
        clock: Clock,
        metrics: Metrics,
        start_patience: float,
        log_form: tuple[str, str] = ("text", "auto"),
    ) -> None:
        self._setup = setup
        self._log_form = log_form
        self._clock = clock
        self._metrics = metrics
        self._start_patience = start_patience
        self._recorder: WriteBehind | None = None
        self._cores = os.sched_getaffinity(0) if sys.platform == "linux" else None
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._splitter = Splitter()
        self._ready = False
        self._restored = False
        self._failing = NOT_YET
        self._failures = 0
        self._retry = RETRY
        self._launching: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self._stopping = False
        self._said_farewell = False
        self._number = 0
        self._unstored: dict[int, _Unstored] = {}
        self.questions = Questions(self._ask, self._forget, self._unstored_of)
        self._changed = asyncio.Event()
        self._refused = ""
        self._webhooks = WebhookMetrics(metrics, clock)
        gauge = metrics.gauge
        gauge("presenced_storage_up", "Whether what is to be kept is being stored.", lambda: not self._failing)
        gauge("presenced_storage_behind_seconds", "For how long the oldest fact has waited.", lambda: self.behind)
        gauge("presenced_storage_unstored_facts", "Facts on their way into the database.", self._facts_unstored)

    @property
    def epoch(self) -> str:
        """Of this start of the server."""
        return self._setup.epoch

    # The recorder's side.

    @property
    def takes(self) -> bool:
        """Whether a batch may be given."""
        return self._ready and not self._said_farewell and len(self._unstored) < MAX_UNSTORED

    def give(self, facts: list[Record], position: int) -> None:
        """Store these facts. A fact too long for one message is dropped and counted as unusable."""
        assert self.takes, "asked before"

        def send(some: list[Record]) -> None:
            batch = Batch(self._number + 1, position, some)
            message = encode(batch)
            self._number += 1
            self._unstored[self._number] = _Unstored(batch, self._clock.monotonic())
            self._send(message)

        if left_out := in_parts(facts, send):
            self._metrics.records_unusable.inc(left_out)
            _logger.error("%d facts were dropped: each is too long for a message", left_out)

    @property
    def behind(self) -> float:
        """Seconds for which what has waited longest has been waiting."""
        oldest = [unstored.since for unstored in self._unstored.values()][:1]
        if self._recorder is not None and self._recorder.since is not None:
            oldest.append(self._recorder.since)
        return max(0.0, self._clock.monotonic() - min(oldest)) if oldest else 0.0

    @property
    def warning(self) -> str:
        """What an operator should know; empty when all is well."""
        if self._failing:
            return f"nothing can be stored now, and waits: {self._failing}"
        if (behind := self.behind) > LATE:
            return f"storing is {behind:.0f} s behind"
        return ""

    # Start and end.

    async def start(self, recorder: WriteBehind) -> None:
        """Start the keeper, and wait a little for what is kept: what comes later is restored later.

        Raises:
            StorageError: The database can't be used as it is.
        """
        self._recorder = recorder
        recorder.begin_at(self._setup.position)
        await self._launch()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._start_patience):
                while not self._restored and not self._refused:
                    self._changed.clear()
                    await self._changed.wait()
        if self._refused:
            self.abandon()
            raise StorageError(self._refused)
        if not self._restored:
            _logger.warning("the database can't be used now: %s; the server goes on without", self._failing)

    async def stop(self) -> None:
        """Have everything stored, and wait for that a little; the keeper goes on for some time, if need be."""
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_PATIENCE):
                assert self._recorder is not None, "it was started"
                self._recorder.finish()
                while self._may_store and (self._unstored or self._recorder.waiting):
                    self._changed.clear()
                    await self._changed.wait()
                self._send(encode(Farewell()))
                self._said_farewell = True
                if self._transport is not None and self._transport.can_write_eof():
                    self._transport.write_eof()
                while self._transport is not None:
                    self._changed.clear()
                    await self._changed.wait()
                while self._process is not None and self._process.poll() is None:  # noqa: ASYNC110  # it gives no event
                    await asyncio.sleep(0.005)
        if left := self._facts_unstored() + (self._recorder.waiting if self._recorder else 0):
            _logger.error("%d facts could not be stored before the end: %s", left, self._failing or "it took too long")
        self.abandon()

    @property
    def _may_store(self) -> bool:
        """Whether waiting makes sense: the keeper stores data, or has yet to report whether it can."""
        return self._ready or (self._transport is not None and self._failing == NOT_YET)

    def abandon(self) -> None:
        """Have no more to do with the keeper, which ends by itself."""
        self._stopping = True
        if self._launching is not None:
            self._launching.cancel()
        if self._transport is not None:
            self._transport.close()
        self._leave_process()

    # The process.

    async def _launch(self) -> None:
        self._launching = None
        self._leave_process()  # the one before has ended by now
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  # it forks; nothing in it is anybody's input
                [sys.executable, "-P", "-m", "presenced.worker", str(theirs.fileno()), *self._log_form],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=without_settings(os.environ),
            )
            if self._cores is not None:  # this process may keep to some of them by now, which are its own
                with suppress(OSError):
                    os.sched_setaffinity(self._process.pid, self._cores)
            ours.setblocking(False)
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        except OSError as error:
            ours.close()
            self._failing = f"its process can't be started: {error.strerror}"
            self._launch_later()
        finally:
            theirs.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A keeper is there; what it says is read when it says it."""
        self._transport = cast(asyncio.Transport, transport)
        self._splitter = Splitter()
        position = self._recorder.position if self._recorder is not None else 0
        self._send(encode(msgspec.structs.replace(self._setup, position=position, restore=not self._restored)))

    def connection_lost(self, exc: Exception | None) -> None:
        """The keeper has ended."""
        self._transport, self._ready = None, False
        self.questions.lost()
        self._changed.set()
        if not self._stopping:
            self._failing = self._failing or "its process has ended"
            self._metrics.storage_workers_lost.inc()
            _logger.error("the process that stores has ended; there will be another one")
            self._launch_later()

    def _ask(self, message: bytes) -> str:
        """Send it, or say why not."""
        if not self._ready:
            return self._failing or "it is being opened"
        self._send(message)
        return ""

    def _forget(self, user_id: str) -> None:
        """Of a user who is to be erased. Batches that the keeper has may have to be sent again, to one that finds the
        user erased already: without what they say of the user."""
        if self._recorder is not None:
            self._recorder.forget(user_id)
        for number, (batch, since) in self._unstored.items():
            facts = [fact for fact in batch.facts if not is_of(fact, user_id)]
            self._unstored[number] = _Unstored(msgspec.structs.replace(batch, facts=facts), since)

    def _unstored_of(self, user_ids: Sequence[str]) -> dict[str, StoredUser]:
        wanted = set(user_ids)
        found: dict[str, StoredUser] = {}
        for batch, _ in self._unstored.values():
            for fact in batch.facts:
                if isinstance(fact, StoredUser) and fact.user_id in wanted:
                    found[fact.user_id] = fact
        if self._recorder is not None:
            found |= self._recorder.waiting_of(wanted)
        return found

    def _leave_process(self) -> None:
        if self._process is not None:
            _leaving.append(self._process)
            self._process = None
        _leaving[:] = [process for process in _leaving if process.poll() is None]

    def _launch_later(self) -> None:
        self._leave_process()
        loop = asyncio.get_running_loop()

        def launch() -> None:
            self._launching = loop.create_task(self._launch())

        self._launching = loop.call_later(self._retry, launch)
        self._retry = min(2 * self._retry, LONGEST_RETRY)

    def _send(self, message: bytes) -> None:
        if self._transport is not None and not self._said_farewell and not self._transport.is_closing():
            self._transport.write(message)

    # What it says.

    def data_received(self, data: bytes) -> None:
        """Something of a message, or several."""
        try:
            for message in self._splitter.split(data):
                self._received(message)
        except BrokenStream as error:  # Another process may succeed. The server sends it all unstored facts again.
            self._failing = f"its process sent {error}"
            if self._transport is not None:
                self._transport.abort()
        self._changed.set()

    def _received(self, data: bytes) -> None:
        assert self._recorder is not None, "it was started"
        match to_server.decode(data):
            case Page(facts):
                self._recorder.restore(facts)
            case Ready(position):
                self._begin(position)
            case Stored() as stored:
                self._stored(stored)
            case State() as state:
                self._now_in(state)
            case Refused(reason):
                self._refused = reason
            case WhoIsAbsent(users, rooms):
                # Facts about these users may still wait in the recorder. The response is correct all the same: it is
                # the live state, and later facts follow it in the stream.
                self._send(encode(Absent(*self._recorder.absent(users, rooms))))
            case Answer() as answer:
                self.questions.answered(answer)
            case Figures(webhooks):
                self._webhooks.now(webhooks)

    def _now_in(self, state: State) -> None:
        self._metrics.storage_failures.inc(max(0, state.failures - self._failures))
        self._failures = state.failures
        if state.failing and not self._failing:
            _logger.error("nothing can be stored now, and waits: %s", state.failing)
        elif self._failing and not state.failing:
            _logger.warning("what waited is being stored again")
        self._failing = state.failing

    def _begin(self, position: int) -> None:
        assert self._recorder is not None, "it was started"
        self._ready, self._failing, self._retry, self._failures = True, "", RETRY, 0
        self._webhooks.begin()
        for unstored in self._unstored.values():
            self._send(encode(unstored.batch))
        self._restored = True
        self._recorder.begin(position)

    def _stored(self, stored: Stored) -> None:
        assert self._recorder is not None, "it was started"
        for number in [number for number in self._unstored if number <= stored.number]:
            del self._unstored[number]
        self._metrics.batches_stored.inc()
        self._metrics.batch_records.observe(stored.facts)
        self._metrics.batch_seconds.observe(stored.seconds)
        self._metrics.records_unusable.inc(stored.unusable)
        if self._recorder.blocked:
            self._recorder.flush()

    def _facts_unstored(self) -> int:
        return sum(len(unstored.batch.facts) for unstored in self._unstored.values())
