"""A server in a process of its own, and a good client that is connected during attacks."""

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
not count (`kept_waiting`), so this only detects a blocked server. docs/contributing/attacks.md has figures."""

GROWTH = 16
"""Maximum growth of the server's memory in MiB during an attack."""


def kept_waiting(*pids: int | str) -> float:
    """Return the total seconds for which these processes were runnable without a core; 0 if unknown."""
    waited = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # the process has ended, or the kernel has no such file
            waited += int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[1])
    return waited / 1e9


class AttackedServer:
    """Server under attack. `async with target.attack():` asserts that the good client and the memory are unaffected."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.port = server.port
        self.delays: list[float] = []
        self.seen_users: list[str] = []

    @property
    def memory(self) -> float:
        """Return the server's resident memory in MiB."""
        status = Path(f"/proc/{self.server.pid}/status").read_text("ascii")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024

    async def watch(self, token: str) -> None:
        """Run the good client until cancelled: send pings, and record the users that others appear as."""
        protocols = [Subprotocol("presenced.v1"), *([Subprotocol(f"presenced.token.{token}")] if token else [])]
        url = f"ws://127.0.0.1:{self.port}/ws-online-status?userId=good"
        async with connect(url, subprotocols=protocols, proxy=None, ping_interval=None) as socket:
            await socket.recv()  # CONNECTION_ESTABLISHED; a callback may run before
            while True:
                sent_at, waited = time.monotonic(), kept_waiting("self", self.server.pid)
                await socket.send(f'{{"type":"PING","id":{len(self.delays)}}}')
                while (message := json.loads(await socket.recv()))["type"] != "PONG":
                    self.seen_users += [user["userId"] for user in message.get("users", ()) if user["userId"] != "good"]
                waited = kept_waiting("self", self.server.pid) - waited
                self.delays.append(time.monotonic() - sent_at - waited)
                await asyncio.sleep(0.12)

    @asynccontextmanager
    async def attack(self, growth: float = GROWTH) -> AsyncIterator[None]:
        """Check the good client and the memory after the attack in the body."""
        before, pings = self.memory, len(self.delays)
        yield
        while len(self.delays) < pings + 3:  # the good client is still served, several times
            await asyncio.sleep(0.01)
        assert max(self.delays[pings:]) < NOTICED, "the good client noticed the attack"
        assert self.memory - before < growth, "the server stores what an attacker sent"


@asynccontextmanager
async def attacked_server(
    environ: Mapping[str, str] | None = None, token: str = "", **settings: float | str
) -> AsyncIterator[AttackedServer]:
    """Run a server with a good client connected to it."""
    server = ServerProcess(environ, **{"heartbeat_interval": 20, "pong_timeout": 10, **settings})
    await asyncio.to_thread(server.start)
    try:
        target = AttackedServer(server)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(target.watch(token))
            while not target.delays and not watching.done():
                await asyncio.sleep(0.01)
            yield target
            assert not watching.done(), "the good client lost its connection"
            watching.cancel()
    finally:
        await asyncio.to_thread(server.kill)
