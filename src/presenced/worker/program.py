"""The keeper's program: stores what it is told until the stream ends, and answers questions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import groupby

from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from presenced.errors import ConfigError, StorageError
from presenced.presence.model import Change
from presenced.storage import migrate
from presenced.storage import queries as reading
from presenced.storage.database import is_about_rows, is_corrupt, is_driver_error, open_database, reason, writing
from presenced.storage.records import Record, Restored, RoomOccupancy
from presenced.storage.store import LOST, Store
from presenced.webhooks.dispatcher import Webhooks
from presenced.worker.rpc import (
    HEADER,
    Absent,
    Answer,
    Ask,
    Batch,
    BrokenStream,
    DeadLetters,
    Erase,
    Farewell,
    Figures,
    History,
    LastSeen,
    MessageTooLong,
    Page,
    Question,
    Ready,
    Refused,
    RetryDead,
    Sessions,
    Setup,
    State,
    Stored,
    ToServer,
    ToWorker,
    encode,
    in_parts,
    size_in,
    to_worker,
)
from presenced.worker.settling import Settling

SIGN = 0.5
"""Seconds between two signs of life, and two reports of the webhooks. With the time that writing takes it is below the
second of last seen that may be lost."""

START_PATIENCE = 120.0
"""Seconds for the transaction of the start, and of the end."""

QUESTION_PATIENCE = 4.5
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two tries when something fails."""

LAST_TRIES = 30.0
"""Seconds for which the keeper goes on trying when its server has gone."""

CHORES = 60.0
"""Seconds between two looks for what is too old."""

Item = Batch | Ask | Absent
Work = Callable[[], Coroutine[None, None, None]]

_logger = logging.getLogger("presenced")


async def serve(sock: socket.socket) -> None:
    """Keep what comes over `sock` until it ends, and a little longer where that is needed."""
    reader, writer = await asyncio.open_connection(sock=sock)
    setup = await _receive(reader)
    if not isinstance(setup, Setup):
        return
    try:
        keeper = Keeper(setup, writer)
    except ConfigError as error:  # the URL can't be read
        writer.write(encode(Refused(str(error))))
        await writer.drain()
        await reader.read()  # until the server has gone: it starts no other
        return
    await keeper.run(reader)


async def _receive(reader: asyncio.StreamReader) -> ToWorker | None:
    """Return the next message; None when the stream has ended.

    Raises:
        BrokenStream: The message is too long.
    """
    try:
        size = size_in(await reader.readexactly(HEADER.size))
        return to_worker.decode(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def now_ms() -> int:
    """By the wall clock."""
    return time.time_ns() // 1_000_000


class Keeper:
    """One writer, which takes what has come and writes it down in one transaction; and readers, for questions.

    Bounds: the server gives a few batches, and asks a number of questions, before it waits for answers.
    """

    def __init__(self, setup: Setup, stream: asyncio.StreamWriter) -> None:
        self._setup = setup
        self._stream = stream
        self._database: AsyncEngine = open_database(setup.url)
        dialect = self._database.dialect.name
        self._store = Store(dialect, setup.node, setup.epoch, setup.started_ms, setup.history_ms)
        self._webhooks = Webhooks(self._database, setup.webhooks, now_ms) if setup.webhooks is not None else None
        self._settling = Settling(self._database, self._webhooks) if self._webhooks is not None else None
        self._delivering: asyncio.Task[None] | None = None
        self._position = setup.position
        self._items: list[Item] = []
        self._news = asyncio.Event()
        self._started = False
        self._ended_ms = 0
        self._give_up_at = float("inf")
        self._reason = LOST
        self._failing = ""
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._next_chores = 0.0
        self._next_figures = 0.0
        self._questions: set[asyncio.Task[None]] = set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until the stream has ended and all is stored."""
        writing = asyncio.create_task(self._write())
        try:
            while (message := await _receive(reader)) is not None:
                self._take(message)
        except BrokenStream as error:
            _logger.error("the process that stores ends: %s", error)  # the server starts another and sends all again
            await self._end(writing)
            return
        self._ended_ms = now_ms()
        self._give_up_at = time.monotonic() + LAST_TRIES
        self._news.set()
        await writing
        await self._end()

    async def _end(self, *tasks: asyncio.Task[None]) -> None:
        """Cancel these tasks and every other running task."""
        for task in (ending := (*tasks, *self._questions, *([self._delivering] if self._delivering else []))):
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._let_go()

    def _take(self, message: ToWorker) -> None:
        match message:
            case Ask(_, Erase()) | Batch() | Absent():
                self._items.append(message)
                self._news.set()
            case Ask():
                task = asyncio.create_task(self._answer(message.number, message.question))
                self._questions.add(task)
                task.add_done_callback(self._questions.discard)
            case Farewell():
                self._reason = "stopping"

    def _tell_page(self, facts: list[Restored]) -> None:
        if left_out := in_parts(facts, lambda some: self._tell(Page(some))):
            _logger.error("%d facts are not restored: each is too long for a message", left_out)

    def _tell(self, message: ToServer) -> None:
        if not self._stream.is_closing():
            self._stream.write(encode(message))

    # Writing.

    async def _write(self) -> None:
        if not await self._until_done(self._start):
            return
        while True:
            if not self._items and not self._ended_ms:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SIGN if time.monotonic() < self._next_chores else 0.001):
                        await self._news.wait()
            self._news.clear()
            if self._ended_ms and not self._items:
                await self._until_done(self._stop)
                return
            if not await self._until_done(self._store_items):
                return

    async def _until_done(self, work: Work) -> bool:
        """Try until it is done; false when the server has gone and it takes too long."""
        while True:
            try:
                await work()
            except Exception as error:
                if not isinstance(error, (OSError, UnicodeError, StatementError, StorageError)) and not is_driver_error(
                    error
                ):
                    self._stream.close()
                    raise  # a fault of our own: a new process may do better
                await self._failed(error)
                if self._ended_ms and not self._started:
                    return False
                if time.monotonic() + self._pause > self._give_up_at:
                    return False
                await asyncio.sleep(self._pause)
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            else:
                self._well()
                return True

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        refusal = str(error) if isinstance(error, StorageError) else ""
        if is_corrupt(error):
            refusal = f"the database file is broken ({reason(error, self._setup.url)}): restore it from a backup"
        self._failing = refusal or reason(error, self._setup.url)
        self._tell(State(self._failing, self._failures))
        if refusal:
            self._tell(Refused(refusal))
        await self._let_go()

    def _well(self) -> None:
        if self._failing:
            self._failing = ""
            self._tell(State("", self._failures))
        self._pause = FIRST_PAUSE

    async def _let_go(self) -> None:
        """Close the connections: a file that could only be read, or a server that was started again, needs new ones."""
        try:
            async with asyncio.timeout(2):
                await self._database.dispose()
        except Exception:
            await self._database.dispose(close=False)

    async def _start(self) -> None:
        async with writing(self._database, START_PATIENCE) as connection:
            await connection.run_sync(migrate.check)
        async with writing(self._database, START_PATIENCE) as connection:
            start = await self._store.start(connection)
        if self._setup.restore:
            async with writing(self._database, START_PATIENCE) as connection:
                async for facts in self._store.restored(connection, now_ms(), self._setup.most_restored):
                    self._tell_page(facts)
        self._position = max(self._position, start.position)
        self._started = True
        if self._webhooks is not None and self._delivering is None:
            self._delivering = asyncio.create_task(self._webhooks.run())
            self._delivering.add_done_callback(self._delivered)
            if self._settling is not None:
                self._settling.begin(self._setup.settling)
        self._tell(Ready(start.position, start.closed))

    async def _store_items(self) -> None:
        """All that has come, or but a sign of life; and some of what is too old."""
        began, items = time.monotonic(), list(self._items)
        batches = [item for item in items if isinstance(item, Batch)]
        facts = sum(len(batch.facts) for batch in batches)
        unusable = 0
        try:
            answers = await self._store_together(items)
        except Exception as error:
            if not is_about_rows(error):
                raise
            answers, unusable = await self._store_one_by_one(items)
        del self._items[: len(items)]
        for answer in answers:
            self._tell(answer)
        if self._settling is not None and any(isinstance(item, Absent) for item in items):
            self._settling.answered()
        if batches:
            self._tell(Stored(batches[-1].number, facts, unusable, time.monotonic() - began))
        await self._do_chores(began)

    async def _do_chores(self, now: float) -> None:
        """Some of what has to be done at times, also while facts come without a pause."""
        if self._webhooks is not None and now >= self._next_figures:
            self._tell(Figures(self._webhooks.figures()))
            self._next_figures = now + SIGN
        if self._settling is not None and (question := await self._settling.question()) is not None:
            self._tell(question)
        if now >= self._next_chores:
            async with writing(self._database) as connection:
                more = await self._store.prune(connection, now_ms())
            self._next_chores = now if more else now + CHORES

    def _delivered(self, task: asyncio.Task[None]) -> None:
        """Delivery ended: at the end, or by a fault of its own, and a new process may do better."""
        if not task.cancelled() and task.exception() is not None:
            _logger.error("webhooks failed", exc_info=task.exception())
            self._stream.close()

    async def _store_together(self, items: Sequence[Item]) -> list[Answer]:
        answers = []
        position = max([self._position, *(item.position for item in items if isinstance(item, Batch))])
        async with writing(self._database) as connection:
            await self._store.sign(connection, now_ms(), position)
            for is_batch, some in groupby(items, lambda item: isinstance(item, Batch)):
                if is_batch:
                    await self._write_facts(
                        connection, [fact for item in some if isinstance(item, Batch) for fact in item.facts]
                    )
                    continue
                for item in some:
                    if isinstance(item, Ask):
                        answers.append(await self._erase(connection, item))
                    elif isinstance(item, Absent) and self._settling is not None:
                        await self._settling.tell(connection, item)
        self._position = position
        if self._webhooks is not None and items:
            self._webhooks.wake()
        return answers

    async def _write_facts(self, connection: AsyncConnection, facts: Sequence[Record]) -> None:
        await self._store.write(connection, facts)
        if self._webhooks is not None:
            await self._webhooks.enqueue(
                connection, [fact for fact in facts if isinstance(fact, (Change, RoomOccupancy))]
            )

    async def _erase(self, connection: AsyncConnection, ask: Ask) -> Answer:
        assert isinstance(ask.question, Erase), "other questions don't wait for batches"
        user_id, webhooks = ask.question.user_id, self._webhooks
        known = await webhooks.known_of(connection, user_id) if webhooks is not None else None
        deleted = await self._store.erase(connection, user_id)
        if webhooks is not None and known is not None:
            await webhooks.tell_left(connection, user_id, known)
        return Answer(ask.number, b'{"stored":%d}' % deleted)

    async def _store_one_by_one(self, items: Sequence[Item]) -> tuple[list[Answer], int]:
        """There is something that the database does not take: leave that out, so that the rest is stored."""
        answers, unusable = [], 0
        for item in items:
            if not isinstance(item, Batch):
                answers += await self._store_together([item])
                continue
            for fact in item.facts:
                try:
                    async with writing(self._database) as connection:
                        await self._write_facts(connection, [fact])
                except Exception as error:
                    if not is_about_rows(error):
                        raise
                    unusable += 1
        if self._webhooks is not None:
            self._webhooks.wake()
        return answers, unusable

    async def _stop(self) -> None:
        async with writing(self._database, START_PATIENCE) as connection:
            await self._store.stop(connection, self._ended_ms, self._position, self._reason)

    # Questions.

    async def _answer(self, number: int, question: Question) -> None:
        try:
            if isinstance(question, (DeadLetters, RetryDead)):
                found = await _ask_webhooks(self._webhooks, question)
            else:
                async with asyncio.timeout(QUESTION_PATIENCE), self._database.connect() as connection:
                    found = await _look_up(connection, question)
        except Exception as error:
            self._tell(Answer(number, b"", reason(error, self._setup.url)))
        else:
            try:
                self._tell(Answer(number, found))
            except MessageTooLong as error:
                self._tell(Answer(number, b"", f"it would be {error}: ask for less"))


async def _look_up(connection: AsyncConnection, question: Question) -> bytes:
    match question:
        case LastSeen(user_ids):
            return await reading.last_seen(connection, user_ids)
        case History(user_id, before, limit):
            return await reading.history(connection, user_id, before, limit)
        case Sessions(user_id, before_session, limit):
            return await reading.past_sessions(connection, user_id, before_session, limit)
    raise AssertionError("it is not looked up")


async def _ask_webhooks(webhooks: Webhooks | None, question: Question) -> bytes:
    if webhooks is None:
        raise StorageError("there are no webhooks: the setting webhook_urls is empty")
    match question:
        case DeadLetters(after, limit):
            return await webhooks.dead(after, limit)
        case RetryDead(ids):
            return b'{"retried":%d}' % await webhooks.retry(ids)
    raise AssertionError("it is not about webhooks")
