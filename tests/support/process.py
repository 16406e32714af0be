"""The real server as a process that tests can kill and restart."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Self

import httpx
from tests.support.ports import free_port

START_TIMEOUT = 60
"""Seconds for the banner to appear."""

SETTINGS = {
    "heartbeat_interval": 2.0,
    "pong_timeout": 1.0,
    "behind_timeout": 3.0,
    "grace_going_away": 1.0,
    "grace_lost": 2.0,
    "stats_interval": 0.0,
}
"""Default times, scaled down."""


class ServerProcess:
    """`presenced serve` on a free port. A restart uses the same port."""

    def __init__(self, environ: Mapping[str, str] | None = None, **settings: float | str) -> None:
        self._settings: dict[str, float | str] = {**SETTINGS, **settings}
        self._environ = dict(environ or {})
        self._process: subprocess.Popen[str] | None = None
        self._output: list[str] = []
        self._news = threading.Condition()
        self._reader: threading.Thread | None = None
        self.url = ""
        """URL of the test page, with a slash at the end."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server, and wait for its banner."""
        port = self.url.rstrip("/").rpartition(":")[2] or str(free_port())
        command = [sys.executable, "-m", "presenced", "serve", "--config", os.devnull, "--port", port]
        for name, value in self._settings.items():
            flag = f"--{name.replace('_', '-')}"
            command += [flag] if value is True else [flag, value if isinstance(value, str) else f"{value:g}"]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PRESENCED_")} | self._environ
        self._output.clear()
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()
        with self._news:
            self._news.wait_for(lambda: self._banner() or self._ended(), START_TIMEOUT)
            banner = self._banner()
        if not banner:
            self.kill()
            raise AssertionError("the server did not start:\n" + "".join(self._output))
        self.url = banner[1]

    def kill(self) -> None:
        """Kill the server with SIGKILL. Do nothing if it is not running."""
        if self._process is None or self._reader is None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process = None

    def wait(self) -> int:
        """Wait until the server has ended by itself, and return its exit code."""
        assert self._process is not None, "the server was started"
        return self._process.wait(START_TIMEOUT)

    def signal(self, number: int) -> None:
        """Send a signal to the server."""
        os.kill(self.pid, number)

    def closed(self, reason: str) -> int:
        """Return the number of connections that ended for this reason since the start."""
        sample = f'presenced_connections_closed_total{{reason="{reason}"}} '
        lines = httpx.get(f"{self.url}metrics").text.splitlines()
        return sum(int(float(line.removeprefix(sample))) for line in lines if line.startswith(sample))

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server is running"
        return self._process.pid

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def output(self) -> str:
        """Output so far."""
        return "".join(self._output)

    @property
    def websocket_url(self) -> str:
        """URL of the WebSocket, without a query."""
        return f"{self.url.replace('http', 'ws', 1)}ws-online-status"

    def _banner(self) -> re.Match[str] | None:
        return re.search(r"Test page +(\S+)\n", "".join(self._output))

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None, "stdout is a pipe"
        with process.stdout:
            for line in process.stdout:
                with self._news:
                    self._output.append(line)
                    self._news.notify_all()
        process.wait()
        with self._news:
            self._news.notify_all()
