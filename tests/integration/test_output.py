"""The server works although its standard output is closed, full or not read."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest
from tests.support.command import first_message, run, serve, start

from presenced.webhooks.signing import new_secret

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def port() -> int:
    """Return a free port. The server cannot print it in these tests."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


async def serve_two_and_stop(process: asyncio.subprocess.Process, port: int) -> str:
    """Serve two clients, stop the server with a signal, and return its standard error."""
    try:
        for user_id in "ab":
            assert "CONNECTION_ESTABLISHED" in await first_message(port, user_id)
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    assert process.returncode == 0
    return errors.decode()


@pytest.mark.parametrize("redirection", ["<&- >&- 2>&-", ">&-", ">/dev/full"])
async def test_the_server_works_with_closed_and_full_output(tmp_path: Path, port: int, redirection: str) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m presenced serve --port {port} {redirection}"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", command, cwd=tmp_path, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    errors = await serve_two_and_stop(process, port)
    expected = ["presenced: log lines can't be written: No space left on device; the server continues"]
    assert errors.splitlines() == (expected if "full" in redirection else [])


async def test_a_broken_pipe_is_reported_once(tmp_path: Path, port: int) -> None:
    reads, writes = os.pipe()
    process = await start("serve", "--port", str(port), cwd=tmp_path, stdout=writes, stderr=asyncio.subprocess.PIPE)
    os.close(writes)
    os.close(reads)
    errors = await serve_two_and_stop(process, port)
    assert errors == "presenced: log lines can't be written: Broken pipe; the server continues\n"


async def test_output_that_cannot_be_printed_is_an_error_in_one_line(tmp_path: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    code, _, errors = await run("config", "show", cwd=tmp_path, stdout=full)
    os.close(full)
    assert (code, errors) == (1, "presenced: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    ("form", "pattern"), [("text", r"\d{4}-\d\d-\d\dT\S+Z webhooks to "), ("json", r'\{"time":".*"level":')]
)
async def test_the_storage_worker_logs_in_the_format_of_the_server(tmp_path: Path, form: str, pattern: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        nobody = sock.getsockname()[1]
    environ = {
        "PRESENCED_DATABASE": "sqlite",
        "PRESENCED_OUTGOING_PRIVATE": "true",
        "PRESENCED_WEBHOOK_URLS": f"http://127.0.0.1:{nobody}/",
        "PRESENCED_WEBHOOK_SECRETS": new_secret(),
    }
    async with serve("--log-format", form, cwd=tmp_path, port=0, **environ) as command:
        await first_message(command.port, "ada")
        said = await command.say("are not accepted")
        command.process.send_signal(signal.SIGTERM)
        assert await command.exit() == 0
    (line,) = [line for line in said.splitlines() if "are not accepted" in line]
    assert re.match(pattern, line)
