"""A server process that is attacked while a normal client measures it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.process import ServerProcess
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

NOTICED = 1.0
"""Maximum number of seconds for the response to a good client's PING. Time in which other processes had the core does
not count (`kept_waiting`), so this only detects a blocked server. Figures are in docs/security.md."""

GROWTH = 16
"""Maximum growth of the server in MiB during an attack."""


def kept_waiting(*pids: int | str) -> float:
    """Return the total seconds for which these processes were runnable without a core; 0 if unknown."""
    waited = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            waited += int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[1])
    return waited / 1e9


class AttackedServer:
    """A server under attack. `async with attacked.attack():` checks that others notice nothing."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.port = server.port
        self.delays: list[float] = []
        self.heard: list[str] = []

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.server.pid}/status").read_text("ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    async def watch(self, token: str) -> None:
        """Act as the normal client until cancelled: ping regularly, and record messages about others."""
        protocols = [Subprotocol("presenced.v1"), *([Subprotocol(f"presenced.token.{token}")] if token else [])]
        url = f"ws://127.0.0.1:{self.port}/ws-online-status?userId=good"
        async with connect(url, subprotocols=protocols, proxy=None, ping_interval=None) as socket:
            await socket.recv()  # CONNECTION_ESTABLISHED; a hook may have to be asked before
            while True:
                asked, waited = time.monotonic(), kept_waiting("self", self.server.pid)
                await socket.send(f'{{"type":"PING","id":{len(self.delays)}}}')
                while (message := json.loads(await socket.recv()))["type"] != "PONG":
                    self.heard += [user["userId"] for user in message.get("users", ()) if user["userId"] != "good"]
                waited = kept_waiting("self", self.server.pid) - waited
                self.delays.append(time.monotonic() - asked - waited)
                await asyncio.sleep(0.12)

    @asynccontextmanager
    async def attack(self, growth: float = GROWTH) -> AsyncIterator[None]:
        """Check the server before and after the block, which is the attack."""
        before, asked = self.memory, len(self.delays)
        yield
        while len(self.delays) < asked + 3:  # it is served still, and a few times
            await asyncio.sleep(0.01)
        assert max(self.delays[asked:]) < NOTICED, "the others noticed"
        assert self.memory - before < growth, "it keeps what an attacker sent"


@asynccontextmanager
async def attacked_server(
    environ: Mapping[str, str] | None = None, token: str = "", **settings: float | str
) -> AsyncIterator[AttackedServer]:
    """Start a server with a normal client."""
    server = ServerProcess(environ, **{"heartbeat_interval": 20, "pong_timeout": 10, **settings})
    await asyncio.to_thread(server.start)
    try:
        attacked = AttackedServer(server)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(attacked.watch(token))
            while not attacked.delays and not watching.done():
                await asyncio.sleep(0.01)
            yield attacked
            assert not watching.done(), "the good client was thrown out"
            watching.cancel()
    finally:
        await asyncio.to_thread(server.kill)
