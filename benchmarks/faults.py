"""Latency of changes while storage fails.

Users connect and leave at an even pace, and watchers measure the delay of each change: for some seconds without a
fault, then for some in which the database, the disk or the storage worker fails.
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
from benchmarks.storage import configured, wait_drained, workers
from tests.support.services import PostgreSQL

WATCHERS = 500
QUICK_WATCHERS = 100
USERS = 50

PACE = 200
"""Changes a second."""

SECONDS, QUICK_SECONDS = 7.0, 4.0
SOON = 0.7
"""Seconds until the fault begins. The first half second is not measured."""

DISK = "32m"
"""Size of the disk that becomes full."""


class Target(NamedTuple):
    """Running server, and its storage."""

    server: int
    folder: Path
    """Directory of the database file, on a small disk of its own."""
    database: PostgreSQL | None

    @property
    def postgresql(self) -> PostgreSQL:
        """Return the database server of a fault that needs one."""
        if self.database is None:
            raise AssertionError("this fault needs a database server")
        return self.database


@contextmanager
def file_locked(target: Target) -> Iterator[None]:
    """Let another process hold the write lock."""
    with closing(sqlite3.connect(target.folder / "presenced.db", isolation_level=None, timeout=PATIENCE)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def disk_full(target: Target) -> Iterator[None]:
    """Fill the disk to the last byte."""
    filler = target.folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


@contextmanager
def disk_read_only(target: Target) -> Iterator[None]:
    """Remount the disk read-only, as the system does after a disk error. The worker must not have the file open."""
    kill_worker(target)
    remount = ["mount", "-o", "remount,ro", str(target.folder)]
    # The files of the dead process close a moment later, and well before its successor opens them.
    for _ in range(50):
        if not subprocess.run(remount, capture_output=True, check=False).returncode:
            break
        time.sleep(0.01)
    else:
        subprocess.run(remount, check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", str(target.folder)], check=True)


@contextmanager
def file_corrupt(target: Target) -> Iterator[None]:
    """Replace the file by one that is not a database."""
    file = target.folder / "presenced.db"
    (worker,) = workers(target.server)
    os.kill(worker, signal.SIGSTOP)
    backup = {path: path.read_bytes() for path in target.folder.iterdir()}
    for path in backup:
        path.unlink()
    file.write_bytes(b"no database" * 2000)
    os.kill(worker, signal.SIGKILL)
    yield
    for path, content in backup.items():
        path.write_bytes(content)


@contextmanager
def worker_killed(target: Target) -> Iterator[None]:
    """Kill the storage worker. The server starts another one."""
    kill_worker(target)
    yield


@contextmanager
def worker_stopped(target: Target) -> Iterator[None]:
    """Pause the storage worker."""
    (worker,) = workers(target.server)
    os.kill(worker, signal.SIGSTOP)
    yield
    os.kill(worker, signal.SIGCONT)


@contextmanager
def database_killed(target: Target) -> Iterator[None]:
    """Kill PostgreSQL."""
    target.postgresql.kill()
    yield
    target.postgresql.start()


@contextmanager
def database_stopped(target: Target) -> Iterator[None]:
    """Pause PostgreSQL: it accepts connections and does not answer."""
    target.postgresql.pause()
    yield
    target.postgresql.resume()


Fault = Callable[[Target], AbstractContextManager[None]]

OF_FILES: dict[str, Fault] = {
    "SQLite, file locked": file_locked,
    "SQLite, disk full": disk_full,
    "SQLite, disk read-only": disk_read_only,
    "SQLite, file broken": file_corrupt,
    "storage worker killed": worker_killed,
    "storage worker paused (SIGSTOP)": worker_stopped,
}
OF_SERVERS: dict[str, Fault] = {
    "PostgreSQL killed": database_killed,
    "PostgreSQL paused (SIGSTOP)": database_stopped,
}


def run(quick: bool) -> Report:
    """Measure one fault after the other."""
    found: dict[str, tuple[Churn, Churn]] = {}
    notes = [
        f"{WATCHERS} watchers, {PACE} changes a second by users who connect and leave. Delays are from `connect` to "
        "the receipt by one of every hundred watchers. Each fault begins while this is measured.",
        "The server has a core for itself. Load, storage worker and database share the rest.",
    ]
    for name, fault in (OF_FILES | OF_SERVERS).items():
        try:
            with broken(fault, name in OF_SERVERS) as target_and_port:
                found[name] = measure(fault, *target_and_port, quick)
        except (pytest.skip.Exception, PermissionError) as error:
            notes.append(f"{name}: not measured, {error}.")
    worst = max(found, key=lambda name: found[name][1].longest)
    return Report(
        "Does a failure of storage delay changes?",
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
    """Return its delays in milliseconds."""
    return [f"{1e3 * seconds:.1f}" for seconds in (churn.median, churn.p99, churn.longest)]


@contextmanager
def broken(fault: Fault, with_server: bool) -> Iterator[tuple[Target, int]]:
    """Start the server and the part that is going to fail. Yield it and the port of the server."""
    if with_server:
        with (
            PostgreSQL() as database,
            configured(f'database = "url"\ndatabase_url = "{database.new_database()}"\n') as (port, server),
        ):
            yield Target(server, Path(), database), port
    else:
        with small_disk() as folder, configured(f'database = "sqlite"\ndata_dir = "{folder}"\n') as (port, server):
            yield Target(server, folder, None), port


@contextmanager
def small_disk() -> Iterator[Path]:
    """Mount a small file system, and yield its directory.

    Raises:
        PermissionError: Mounting is not permitted.
    """
    with tempfile.TemporaryDirectory() as folder:
        mounted = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
        if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
            raise PermissionError("it is not permitted to mount a file system here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def measure(fault: Fault, target: Target, port: int, quick: bool) -> tuple[Churn, Churn]:
    """Return the delays of changes before and during the fault.

    Raises:
        LoadError: The server's metrics show no fault.
    """
    watchers, seconds = (QUICK_WATCHERS, QUICK_SECONDS) if quick else (WATCHERS, SECONDS)
    pause = 2 * len(LOAD_CORES) / PACE  # each user who connects leaves, too
    with Load(port, target.server, USERS) as load:
        load.open(USERS)
        load.wait_heard(USERS * (USERS - 1) // 2)
        load.open(watchers)
        wait_drained(port)
        well = load.churn(watchers, 16, seconds, pause)
        begun, repaired = threading.Event(), threading.Event()
        breaking = threading.Thread(target=_break, args=(fault, target, begun, repaired))
        breaking.start()
        try:
            ill = load.churn(watchers, 16, seconds, pause)
            noticed = begun.is_set() and (
                metric(port, "presenced_storage_behind_seconds") > 1
                or metric(port, "presenced_storage_failures_total") > 0
                or metric(port, "presenced_storage_workers_lost_total") > 0
            )
        finally:
            repaired.set()
            breaking.join()
        if not noticed:
            raise LoadError("nothing was wrong with storage")
        wait_drained(port)
    return well, ill


def _break(fault: Fault, target: Target, begun: threading.Event, repaired: threading.Event) -> None:
    time.sleep(SOON)
    with fault(target):
        begun.set()
        repaired.wait()


def kill_worker(target: Target) -> None:
    """Kill the storage worker, and wait until its files are closed."""
    (worker,) = workers(target.server)
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{worker}/fd").exists() and any(Path(f"/proc/{worker}/fd").iterdir()):
        if time.monotonic() > deadline:
            raise LoadError("the storage worker does not end")
        time.sleep(0.001)
