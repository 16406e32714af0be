"""Does anybody notice when storage fails?

Users come and go at an even pace, and watchers note how long it takes to hear of it: for some seconds in which all is
well, then for some in which the database, the disk or the keeper breaks.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from benchmarks.clients import PATIENCE
from benchmarks.load import Churn, Load, LoadError
from benchmarks.machine import LOAD_CORES
from benchmarks.probe import metric
from benchmarks.report import Report, Table
from benchmarks.storage import configured, keepers, wait_drained
from tests.support.services import PostgreSQL

WATCHERS = 500
QUICK_WATCHERS = 100
USERS = 50

PACE = 200
"""Changes a second."""

SECONDS, QUICK_SECONDS = 7.0, 4.0
SOON = 0.7
"""Seconds until it breaks; the first half second is not measured."""

DISK = "32m"
"""Size of the disk that gets full."""


class House(NamedTuple):
    """A running server and what it stores in."""

    server: int
    folder: Path
    """Where the file is, on a small disk of its own."""
    database: PostgreSQL | None

    @property
    def postgresql(self) -> PostgreSQL:
        """Where it has one."""
        if self.database is None:
            raise AssertionError("this fault is one of a database server")
        return self.database


@contextmanager
def file_locked(house: House) -> Iterator[None]:
    """Another process writes and does not end."""
    with closing(sqlite3.connect(house.folder / "presenced.db", isolation_level=None, timeout=PATIENCE)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def disk_full(house: House) -> Iterator[None]:
    """Not a byte is left."""
    filler = house.folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


@contextmanager
def disk_read_only(house: House) -> Iterator[None]:
    """As after an error of the disk. A keeper that has the file open would be in the way."""
    kill_keeper(house)
    remount = ["mount", "-o", "remount,ro", str(house.folder)]
    for _ in range(
        50
    ):  # it may take a moment until the dead one's files are closed, and less than its successor's start
        if not subprocess.run(remount, capture_output=True, check=False).returncode:
            break
        time.sleep(0.01)
    else:
        subprocess.run(remount, check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(house.folder)], check=True)


@contextmanager
def file_corrupt(house: House) -> Iterator[None]:
    """It is something else."""
    file = house.folder / "presenced.db"
    (keeper,) = keepers(house.server)
    os.kill(keeper, signal.SIGSTOP)
    backup = {path: path.read_bytes() for path in house.folder.iterdir()}
    for path in backup:
        path.unlink()
    file.write_bytes(b"no database" * 2000)
    os.kill(keeper, signal.SIGKILL)
    yield
    for path, content in backup.items():
        path.write_bytes(content)


@contextmanager
def keeper_killed(house: House) -> Iterator[None]:
    """Its server starts another one."""
    kill_keeper(house)
    yield


@contextmanager
def keeper_stopped(house: House) -> Iterator[None]:
    """It takes nothing any more."""
    (keeper,) = keepers(house.server)
    os.kill(keeper, signal.SIGSTOP)
    yield
    os.kill(keeper, signal.SIGCONT)


@contextmanager
def database_killed(house: House) -> Iterator[None]:
    """PostgreSQL is not there."""
    house.postgresql.kill()
    yield
    house.postgresql.start()


@contextmanager
def database_stopped(house: House) -> Iterator[None]:
    """PostgreSQL takes connections and does not answer."""
    house.postgresql.pause()
    yield
    house.postgresql.resume()


Fault = Callable[[House], AbstractContextManager[None]]

OF_FILES: dict[str, Fault] = {
    "SQLite, file locked": file_locked,
    "SQLite, disk full": disk_full,
    "SQLite, disk read-only": disk_read_only,
    "SQLite, file broken": file_corrupt,
    "keeper killed": keeper_killed,
    "keeper stands still (SIGSTOP)": keeper_stopped,
}
OF_SERVERS: dict[str, Fault] = {
    "PostgreSQL killed": database_killed,
    "PostgreSQL stands still (SIGSTOP)": database_stopped,
}


def run(quick: bool) -> Report:
    """Break one after the other."""
    found: dict[str, tuple[Churn, Churn]] = {}
    notes = [
        f"{WATCHERS} watchers, {PACE} changes a second by users who come and go; from `connect` to the receipt by one "
        "of every hundred watchers. Each fault begins while this is measured.",
        "The server has a core for itself; load, keeper and database share the rest.",
    ]
    for name, fault in (OF_FILES | OF_SERVERS).items():
        try:
            with broken(fault, name in OF_SERVERS) as house_and_port:
                found[name] = measure(fault, *house_and_port, quick)
        except (pytest.skip.Exception, PermissionError) as error:
            notes.append(f"{name}: not measured, {error}.")
    worst = max(found, key=lambda name: found[name][1].longest)
    return Report(
        "Does anybody notice when storage fails?",
        f"The slowest change of all reached a watcher {1e3 * found[worst][1].longest:.0f} ms after it happened "
        f"({worst}), the slowest while all was well {1e3 * max(well.longest for well, _ in found.values()):.0f} ms.",
        [
            Table(
                ["ms", "before: median", "p99", "max", "during: median", "p99", "max"],
                [[name, *cells(well), *cells(ill)] for name, (well, ill) in found.items()],
            )
        ],
        notes,
        {
            name: {"before": [well.median, well.p99, well.longest], "during": [ill.median, ill.p99, ill.longest]}
            for name, (well, ill) in found.items()
        },
    )


def cells(churn: Churn) -> list[str]:
    """Its delays."""
    return [f"{1e3 * seconds:.1f}" for seconds in (churn.median, churn.p99, churn.longest)]


@contextmanager
def broken(fault: Fault, with_server: bool) -> Iterator[tuple[House, int]]:
    """What is going to be broken, and the server's port."""
    if with_server:
        with (
            PostgreSQL() as database,
            configured(f'database = "url"\ndatabase_url = "{database.new_database()}"\n') as (port, server),
        ):
            yield House(server, Path(), database), port
    else:
        with small_disk() as folder, configured(f'database = "sqlite"\ndata_dir = "{folder}"\n') as (port, server):
            yield House(server, folder, None), port


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of its own.

    Raises:
        PermissionError: It is not permitted to mount one.
    """
    with tempfile.TemporaryDirectory() as folder:
        mounted = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
        if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
            raise PermissionError("for it is not permitted to mount a file system here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def measure(fault: Fault, house: House, port: int, quick: bool) -> tuple[Churn, Churn]:
    """How long changes take to be heard of, before and during.

    Raises:
        LoadError: The server has not noticed that anything is wrong.
    """
    watchers, seconds = (QUICK_WATCHERS, QUICK_SECONDS) if quick else (WATCHERS, SECONDS)
    pause = 2 * len(LOAD_CORES) / PACE  # each who comes goes, too
    with Load(port, house.server, USERS) as load:
        load.open(USERS)
        load.wait_heard(USERS * (USERS - 1) // 2)
        load.open(watchers)
        wait_drained(port)
        well = load.churn(watchers, 16, seconds, pause)
        begun, mend = threading.Event(), threading.Event()
        breaking = threading.Thread(target=_break, args=(fault, house, begun, mend))
        breaking.start()
        try:
            ill = load.churn(watchers, 16, seconds, pause)
            noticed = begun.is_set() and (
                metric(port, "presenced_storage_behind_seconds") > 1
                or metric(port, "presenced_storage_failures_total") > 0
                or metric(port, "presenced_storage_workers_lost_total") > 0
            )
        finally:
            mend.set()
            breaking.join()
        if not noticed:
            raise LoadError("nothing was wrong with storage")
        wait_drained(port)
    return well, ill


def _break(fault: Fault, house: House, begun: threading.Event, mend: threading.Event) -> None:
    time.sleep(SOON)
    with fault(house):
        begun.set()
        mend.wait()


def kill_keeper(house: House) -> None:
    """And wait until it is no more."""
    (keeper,) = keepers(house.server)
    os.kill(keeper, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{keeper}/fd").exists() and any(Path(f"/proc/{keeper}/fd").iterdir()):
        if time.monotonic() > deadline:
            raise LoadError("the keeper does not end")
        time.sleep(0.001)
