"""Reports to the service manager over a datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import pytest

from presenced.cli.systemd import ServiceManager


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        yield sock


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_reports_go_to_the_socket_in_the_environment(manager: socket.socket, kind: str, tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    if kind == "abstract":
        name = f"@presenced-test-{os.getpid()}"
    manager.bind(name.replace("@", "\0", 1) if kind == "abstract" else name)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    with closing(ServiceManager({"NOTIFY_SOCKET": name})) as service:
        service.ready()
        service.alive()
        service.reloading()
        service.stopping()
    service.ready()  # no-op
    assert manager.recv(100) == b"READY=1"
    assert manager.recv(100) == b"WATCHDOG=1"
    state, _, at = manager.recv(100).partition(b"\nMONOTONIC_USEC=")
    assert state == b"RELOADING=1"
    assert before <= int(at) < before + 60_000_000, "Type=notify-reload compares it"
    assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("name", ["", "notify", "vsock:2:1234", "/nowhere/notify", "/" + "x" * 200])
def test_reports_without_a_listening_manager_are_no_ops(name: str) -> None:
    with closing(ServiceManager({"NOTIFY_SOCKET": name})) as service:
        service.ready()
        service.stopping()


def test_a_manager_that_reads_nothing_does_not_block_the_server(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    with closing(ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})) as service:
        for _ in range(10_000):  # more than the socket holds
            service.alive()


def test_a_busy_manager_still_learns_that_the_server_is_ready(manager: socket.socket, tmp_path: Path) -> None:
    manager.bind(str(tmp_path / "notify"))
    received: list[bytes] = []

    def read() -> None:
        time.sleep(0.05)
        with suppress(TimeoutError):  # the assertion fails
            while received[-1:] != [b"READY=1"]:
                received.append(manager.recv(100))

    with closing(ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})) as service:
        for _ in range(10_000):
            service.alive()
        reader = Thread(target=read)
        reader.start()
        service.ready()
        reader.join()
    assert received[-1] == b"READY=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({}, 0),
    ],
)
def test_the_watchdog_interval_is_half_of_its_timeout(environ: dict[str, str], seconds: float) -> None:
    with closing(ServiceManager({"NOTIFY_SOCKET": "/x", **environ})) as service:
        assert service.watchdog_s == seconds
    assert ServiceManager(environ).watchdog_s == 0, "no socket to report to"
