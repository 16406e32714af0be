"""A new server takes over from an old one: nobody who comes back is ever shown offline.

The old server gets SIGTERM while 2,000 clients are connected through a proxy with its shipped configuration. The new
server starts on the same port as soon as the old one has ended, as with systemd, Compose and the strategy Recreate of
Kubernetes. Some users leave during the gap. Clients of presenced.v1 learn that when the new server has settled. Classic
clients never learn it, because their protocol has no snapshot.

`PRESENCED_CROWD` sets the number of clients.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.certificates import trusting
from tests.support.command import Command, serve, start
from tests.support.crowd import ClassicClient, Client, V1Client, mixed_crowd
from tests.support.ports import free_port
from tests.support.proxies import proxy
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

SIZE = int(os.environ.get("PRESENCED_CROWD", "2000"))

LEAVERS = 10
"""Number of users of each protocol who leave during the gap."""

CONNECTS_PER_SECOND = 250.0
SETTLING_S = 30
"""Nearly the default: clients that double their waits return the later, the longer the gap was."""

LONGEST_STOP_S = 14.0

SETTINGS = {
    "PRESENCED_TRUSTED_PROXIES": "127.0.0.1",
    "PRESENCED_LOG_LEVEL": "warning",
    "PRESENCED_SETTLING": str(SETTLING_S),
    "PRESENCED_HEARTBEAT_INTERVAL": "3600",  # these clients answer no pings
    "PRESENCED_GRACE_GOING_AWAY": "0",  # otherwise a grace period would hide that a stopping server notifies others
}


@pytest.fixture
def anyio_backend() -> object:
    """Event loop of the clients: the fast one."""
    return ("asyncio", {"use_uvloop": True})


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and the proxies and servers that it starts, open enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def started(folder: Path, port: int, **environ: str) -> Command:
    """Start a server, and return it when it accepts connections."""
    process = await start("serve", "--port", str(port), cwd=folder, environ={**SETTINGS, **environ})
    command = Command(process)
    await command.say("Ctrl+C")
    return command


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("kind", ["nginx", "caddy"])
async def test_nobody_who_comes_back_is_shown_offline(kind: str, tmp_path: Path) -> None:
    port = free_port()
    old = await started(tmp_path, port)
    new: Command | None = None
    with proxy(kind, tmp_path, port, "192.0.2.1") as public:
        crowd = mixed_crowd(public, trusting(tmp_path / "certificate.pem"), SIZE)
        began = time.monotonic()
        try:
            await crowd.connect(CONNECTS_PER_SECOND)
            classic = [one for one in crowd.members if isinstance(one, ClassicClient)]
            modern = [one for one in crowd.members if isinstance(one, V1Client)]
            leavers: list[Client] = [*classic[:LEAVERS], *modern[:LEAVERS]]
            for leaver in leavers:
                leaver.will_return = False
            gone = {leaver.user_id for leaver in leavers}
            others = [one for one in crowd.members if one.will_return]
            await asyncio.sleep(1)  # the last notifications arrive
            assert not [one for one in crowd.members if one.heard_offline], "before the handover"
            connected = time.monotonic()

            old.process.send_signal(signal.SIGTERM)
            assert await old.exit() == 0
            stopped = time.monotonic()
            assert stopped - connected < LONGEST_STOP_S
            new = await started(tmp_path, port)
            listening = time.monotonic()
            await crowd.until_connected(others)
            returned = time.monotonic()
            assert returned - listening < SETTLING_S, "later, clients of presenced.v1 would show them offline"
            await asyncio.sleep(listening + SETTLING_S + 2 - time.monotonic())
        finally:
            await crowd.end()
            for server in filter(None, (old, new)):
                if server.process.returncode is None:
                    server.process.kill()
                await server.process.communicate()
    sys.stdout.write(
        f"{kind}, {SIZE} clients: connected in {connected - began:.1f} s, stopped after {stopped - connected:.1f} s, "
        f"listening after {listening - connected:.1f} s, all back after {returned - connected:.1f} s\n"
    )
    assert all(one.connections == 2 for one in others)
    for one in others:
        wrong = {user: reason for user, reason in one.heard_offline.items() if user not in gone}
        assert not wrong, f"{one.user_id} shows users offline who came back"
    for one in classic:
        assert not one.heard_offline, "the classic protocol cannot say who left during the gap"
    for member in modern:
        if member.will_return:
            shown = {user for user, status in member.statuses.items() if status != "offline"}
            expected = set(member.watched) if member.watched is not None else {one.user_id for one in crowd.members}
            assert shown == expected - gone, "after settling the view is correct"


def connected(server: Command, user: str, query: str = "") -> connect:
    """Connect a client of presenced.v1."""
    url = f"{server.url}?userId={user}{query}"
    return connect(url, subprotocols=[Subprotocol("presenced.v1")], proxy=None)


async def choose(client: ClientConnection, status: str) -> None:
    """Choose a status, and wait until it is in force."""
    await client.send(json.dumps({"type": "SET_STATUS", "status": status, "id": status}))
    while (await next_message(client, "SELF"))["chosen"] != status:
        pass


async def stop(server: Command) -> None:
    """Stop a server gracefully."""
    server.process.send_signal(signal.SIGTERM)
    assert await server.exit() == 0


async def until_storage_works(server: Command) -> None:
    """Wait until the server has no warning about its database."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
        while (await client.get(f"http://127.0.0.1:{server.port}/readyz")).json()["warnings"]:
            await asyncio.sleep(0.05)


async def next_message(client: ClientConnection, kind: str) -> dict[str, object]:
    """Return the next message of this type."""
    async with asyncio.timeout(30):
        while True:
            message: dict[str, object] = json.loads(await client.recv())
            if message["type"] == kind:
                return message


async def test_a_choice_made_while_two_servers_run_is_lost(tmp_path: Path) -> None:
    """That is why only one server may run at a time: here a user who has become invisible is visible again.

    The new server reads the database when it starts. The client sends its choice in the URL, but that counts only for
    users unknown to the server.
    """
    stored = "--database", "sqlite", "--data-dir", str(tmp_path / "data"), "--node"
    async with serve(*stored, "old", cwd=tmp_path) as old, connected(old, "ada") as ada:
        await choose(ada, "busy")
        await asyncio.sleep(1)  # it is stored
        async with serve(*stored, "new", cwd=tmp_path) as new:
            await until_storage_works(new)  # and everything stored is restored
            await choose(ada, "invisible")
            await stop(old)
            async with connected(new, "ada", "&status=invisible") as returned:
                assert (await next_message(returned, "SELF"))["chosen"] == "busy"
    # With one server after the other, nothing is lost.
    async with serve(*stored, "third", cwd=tmp_path) as third:
        await until_storage_works(third)
        async with connected(third, "bo") as bo:
            await choose(bo, "invisible")
            await stop(third)
    async with serve(*stored, "fourth", cwd=tmp_path) as fourth:
        await until_storage_works(fourth)
        async with connected(fourth, "bo") as bo:
            assert (await next_message(bo, "SELF"))["chosen"] == "invisible"
