"""The command `presenced` in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from tests.support.raw import PATIENCE
from websockets.asyncio.client import connect

QUICK = {
    "PRESENCED_HEARTBEAT_INTERVAL": "3600",
    "PRESENCED_PONG_TIMEOUT": "3600",
    "PRESENCED_GRACE_GOING_AWAY": "0.03",
    "PRESENCED_GRACE_LOST": "0.15",
    "PRESENCED_SETTLING": "0.15",
    "PRESENCED_CLOSE_TIMEOUT": "0.5",
}


class Command:
    """Process of `presenced serve`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self.url = ""

    @property
    def port(self) -> int:
        """Port on which the server listens."""
        return int(self.url.split(":")[2].split("/")[0])

    async def say(self, text: str) -> str:
        """Wait until the server has printed a line with `text`, and return all output so far."""
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE):
            while text not in self.said:
                line = await self.process.stdout.readline()
                assert line, f"it ended without saying {text!r}:\n{self.said}"
                self.said += line.decode()
        return self.said

    async def exit(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        async with asyncio.timeout(PATIENCE):
            assert self.process.stdout
            self.said += (await self.process.stdout.read()).decode()
            return await self.process.wait()


async def run(
    *arguments: str, cwd: Path, stdout: int = asyncio.subprocess.PIPE, environ: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str, str]:
    """Run a command to its end, and return its exit code, output and errors."""
    process = await start(*arguments, cwd=cwd, stdout=stdout, stderr=asyncio.subprocess.PIPE, environ=environ)
    async with asyncio.timeout(PATIENCE):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, (output or b"").decode(), errors.decode()


async def start(
    *arguments: str,
    cwd: Path,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.STDOUT,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> asyncio.subprocess.Process:
    """Start the command, and return its process."""
    return await start_module("presenced", *arguments, cwd=cwd, stdout=stdout, stderr=stderr, environ=environ)


async def start_module(
    name: str,
    *arguments: str,
    cwd: Path | None = None,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.STDOUT,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> asyncio.subprocess.Process:
    """Start a Python module without the settings of this process, and return its process."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PRESENCED_", "NOTIFY_SOCKET"))}
    clean.pop("PORT", None)  # variables of the test machine, which may be hosted or run by systemd
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        name,
        *arguments,
        cwd=cwd,
        env={**clean, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
    )


@asynccontextmanager
async def serve(*flags: str, cwd: Path, port: int = 0, **environ: str) -> AsyncIterator[Command]:
    """Run `presenced serve` with short timeouts on a free port, and kill it at the end if it still runs."""
    process = await start("serve", "--port", str(port), *flags, cwd=cwd, environ={**QUICK, **environ})
    command = Command(process)
    try:
        said = await command.say("/ws-online-status")
        found = re.search(r"ws://[^?\s\"]+", said)
        assert found
        command.url = found[0]
        yield command
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def first_message(port: int, user_id: str) -> str:
    """Connect as soon as the server accepts connections, and return its first message."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with connect(f"ws://127.0.0.1:{port}/ws-online-status?userId={user_id}", proxy=None) as client:
                    return str(await client.recv())
            except OSError:
                await asyncio.sleep(PATIENCE / 1000)
