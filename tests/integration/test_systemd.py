"""The server under systemd: reports, reload, the journal, and the unit in `deploy/`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.certificates import write_certificate
from tests.support.command import first_message, serve, start
from tests.support.raw import PATIENCE

pytestmark = pytest.mark.anyio

UNIT = Path(__file__).parents[2] / "deploy/systemd/presenced.service"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


async def report(manager: socket.socket, which: bytes) -> bytes:
    """Return the next report that begins with this text. Watchdog reports before it are skipped."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await asyncio.get_running_loop().sock_recv(manager, 1000)
            if found.startswith(which):
                return found
            assert found == b"WATCHDOG=1", f"{found!r} comes before {which!r}"


async def test_the_server_reports_ready_then_alive_then_stopping(tmp_path: Path, manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    process = await start("serve", "--port", str(port), cwd=tmp_path, environ=environ)
    try:
        assert await report(manager, b"READY=1") == b"READY=1"
        _, writer = await asyncio.open_connection("127.0.0.1", port)  # accepted on the first attempt
        writer.close()
        for _ in range(3):
            await report(manager, b"WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        await report(manager, b"STOPPING=1")
    finally:
        async with asyncio.timeout(PATIENCE):
            await process.communicate()
    assert process.returncode == 0


async def test_sighup_reloads_a_server_under_a_service_manager(tmp_path: Path, manager: socket.socket) -> None:
    """Without TLS there is nothing to reload, and `systemctl reload` must not stop the service."""
    certificate, key = write_certificate(tmp_path)
    for flags in ([], ["--tls-certificate", str(certificate), "--tls-key", str(key)]):
        process = await start(
            "serve", "--port", "0", *flags, cwd=tmp_path, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")}
        )
        try:
            await report(manager, b"READY=1")
            process.send_signal(signal.SIGHUP)
            assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", await report(manager, b"RELOADING=1"))
            await report(manager, b"READY=1")
            process.send_signal(signal.SIGTERM)
            await report(manager, b"STOPPING=1")
        finally:
            async with asyncio.timeout(PATIENCE):
                await process.communicate()
        assert process.returncode == 0


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP has its default action. Started by `nohup`, the tests and their servers would ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
async def test_sighup_ends_a_server_without_a_service_manager(tmp_path: Path) -> None:
    async with serve(cwd=tmp_path) as command:
        command.process.send_signal(signal.SIGHUP)
        assert await command.exit() == -signal.SIGHUP


async def test_helper_processes_do_not_get_the_socket_of_the_manager(tmp_path: Path, manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000", "PRESENCED_DATABASE": "sqlite"}
    process = await start("serve", "--port", "0", "--writers", "1", cwd=tmp_path, environ=environ)
    try:
        await report(manager, b"READY=1")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2, "a writer and the storage worker"
        for child in children:
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            assert not [one for one in variables if one.startswith((b"NOTIFY", b"WATCHDOG", b"PRESENCED_DATABASE"))]
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await process.communicate()


async def log_lines(tmp_path: Path, *, journal: bool, when: str = "auto") -> list[str]:
    """Return the log lines of a server with one client, whose output is a pipe that systemd may have connected."""
    reads, writes = os.pipe()
    status = os.fstat(writes)
    environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"} if journal else {}
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    process = await start(
        "serve", "--port", str(port), "--log-time", when, cwd=tmp_path, stdout=writes, environ=environ
    )
    os.close(writes)
    try:
        await first_message(port, "ada")
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    with os.fdopen(reads) as output:
        return [line.rstrip("\n") for line in output if "WS: User ada connected" in line]


async def test_log_lines_have_the_time_unless_the_journal_adds_it(tmp_path: Path) -> None:
    classic = "🚀 WS: User ada connected"
    (line,) = await log_lines(tmp_path, journal=False)
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z {classic}", line)
    assert await log_lines(tmp_path, journal=True) == [classic]
    assert await log_lines(tmp_path, journal=False, when="never") == [classic]
    (line,) = await log_lines(tmp_path, journal=True, when="always")
    assert line.endswith(f"Z {classic}")


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    assert analyze, "tools/setup installs it"
    installed = "/opt/presenced/bin/presenced"
    text = UNIT.read_text("utf-8")
    assert f"ExecStart={installed} serve\n" in text
    copy = tmp_path / "presenced.service"
    copy.write_text(text.replace(installed, str(Path(sys.executable).with_name("presenced"))))
    done = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "presenced" in line]) == (0, [])


def test_the_unit_matches_its_documentation() -> None:
    unit = dict(line.split("=", 1) for line in UNIT.read_text("utf-8").splitlines() if re.match(r"[A-Z]\w+=", line))
    page = (UNIT.parents[2] / "docs/how-to/deploy/systemd.md").read_text("utf-8")
    documented = dict(re.findall(r"^\| `(\w+)=([^`]*)` \|", page, re.MULTILINE))
    assert len(documented) > 6
    assert documented == {name: unit[name] for name in documented}
    assert "ExecStart" not in page, "the unit is in its own file only"
