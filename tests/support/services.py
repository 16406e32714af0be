"""Database servers of the tests' own: real ones, on free ports of this machine, gone when the tests are."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

START_TIMEOUT = 30
"""Seconds."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def find(name: str, *folders: str) -> str:
    """A program; the test is skipped where it is not installed (`tools/setup` installs it)."""
    if found := shutil.which(name):
        return found
    for folder in folders:
        for path in sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"), reverse=True):
            return str(path)
    return pytest.skip(f"{name} is not installed")


def _other_than_root(*names: str) -> str | None:
    """Neither of the servers likes to be root."""
    if os.geteuid() != 0:
        return None
    for name in names:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


class Service:
    """One server in a directory of its own."""

    users: tuple[str, ...] = ("nobody",)

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="presenced-"))
        self.port = free_port()
        self.user = _other_than_root(*self.users)
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        if self.user:
            shutil.chown(self.folder, self.user)

    def __enter__(self) -> Self:
        try:
            self.install()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def install(self) -> None:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def ask(self, statement: str) -> None:
        """Have it carry out a statement, as its administrator."""
        raise NotImplementedError

    def url(self, database: str) -> str:
        raise NotImplementedError

    def new_database(self) -> str:
        """A database of its own for a test: its URL."""
        self._made += 1
        name = f"test_{self._made}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, user=self.user
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("it did not start:\n" + (self.folder / "log").read_text(errors="replace"))
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def kill(self) -> None:
        """As by a power cut; no-op when it does not run."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To it and the processes it has for its connections."""
        assert self._process is not None, "it runs"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, number)

    def run(self, *command: str) -> None:
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, user=self.user, cwd=self.folder
        )


class PostgreSQL(Service):
    users = ("postgres", "nobody")

    def install(self) -> None:
        self.run(
            find("initdb", "/usr/lib/postgresql/*/bin"),
            *("--pgdata", str(self.folder / "data"), "--username", "admin", "--auth", "trust"),
            *("--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions"),
        )

    def command(self) -> list[str]:
        return [
            find("postgres", "/usr/lib/postgresql/*/bin"),
            *("-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=16MB"),
        ]

    def ask(self, statement: str) -> None:
        psql = find("psql", "/usr/lib/postgresql/*/bin")
        self.run(psql, "-h", "127.0.0.1", "-p", str(self.port), "-U", "admin", "-d", "postgres", "-qc", statement)

    def url(self, database: str) -> str:
        return f"postgresql://admin:not-asked-for@127.0.0.1:{self.port}/{database}?schema=public"


class MariaDB(Service):
    users = ("mysql", "nobody")

    def install(self) -> None:
        self.run(
            find("mariadb-install-db"),
            *("--no-defaults", f"--datadir={self.folder / 'data'}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )

    def command(self) -> list[str]:
        return [
            find("mariadbd", "/usr/sbin"),
            *("--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={self.port}"),
            *("--bind-address=127.0.0.1", f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}"),
            f"--tmpdir={self.folder}",
            *("--innodb-flush-log-at-trx-commit=0", "--skip-log-bin", "--innodb-buffer-pool-size=32M"),
        ]

    def start(self) -> None:
        super().start()
        self.ask("CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY 'secret'; GRANT ALL ON *.* TO admin@'%'")

    def ask(self, statement: str) -> None:
        self.run(
            find("mariadb"),
            *("--no-defaults", f"--socket={self.folder / 'socket'}", "--user=root", f"--execute={statement}"),
        )

    def url(self, database: str) -> str:
        return f"mysql://admin:secret@127.0.0.1:{self.port}/{database}"
