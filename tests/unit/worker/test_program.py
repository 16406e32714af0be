"""The storage worker's program, with an SQLite file and without a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection

from presenced.storage.records import Record, StoredUser
from presenced.storage.store import Store
from presenced.worker.program import WorkerProgram
from presenced.worker.rpc import BatchStored, RecordBatch, Setup, Splitter, ToWorker, to_server

pytestmark = pytest.mark.anyio


class Stream:
    """Stream to a server that keeps the messages."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        raise AssertionError("the worker has failed")


@contextmanager
def transactions() -> Iterator[list[list[str]]]:
    """Return the statements of each transaction that begins in this block."""
    found: list[list[str]] = []

    def begin(connection: Any) -> None:
        found.append([])

    def execute(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement != "BEGIN":
            found[-1].append(statement)

    event.listen(Engine, "begin", begin)
    event.listen(Engine, "before_cursor_execute", execute)
    try:
        yield found
    finally:
        event.remove(Engine, "begin", begin)
        event.remove(Engine, "before_cursor_execute", execute)


async def test_each_transaction_begins_with_the_server_s_row_even_if_the_database_refuses_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes the write lock with the first statement that writes, and the row shows that the server runs."""
    write = Store.write

    async def refusing(store: Store, connection: AsyncConnection, records: Sequence[Record]) -> None:
        if any(isinstance(record, StoredUser) and record.user_id == "bad" for record in records):
            raise DataError("INSERT", {}, Exception("too long"))
        await write(store, connection, records)

    async def messages() -> AsyncIterator[ToWorker]:
        yield RecordBatch(1, 1, [StoredUser(user_id, "online", 1, 1, 1, 1) for user_id in ("ada", "bad", "bo")])

    monkeypatch.setattr(Store, "write", refusing)
    setup = Setup(
        url=f"sqlite:///{tmp_path}/presence.db",
        node="here",
        epoch="e",
        started_ms=0,
        position=0,
        history_ms=0,
        max_restored=10,
        webhooks=None,
        settling_s=1.0,
        restore=False,
    )
    stream: Any = Stream()
    with transactions() as found:
        await WorkerProgram(setup, stream).run(messages())
    stored = [to_server.decode(message) for message in Splitter().split(stream.data)]
    assert [(one.records, one.unusable) for one in stored if isinstance(one, BatchStored)] == [(3, 1)]
    storing = [some for some in found if any("INTO presenced_users" in statement for statement in some)]
    assert len(storing) == 2
    assert all("INTO presenced_nodes" in some[0] for some in storing), storing
