"""Thousands of foreign pages and foreign names against a running server, like `test_attacks.py`."""

from __future__ import annotations

import asyncio
import time

import pytest
from tests.support.attacked_server import AttackedServer, attacked_server
from tests.support.raw import PATIENCE, raw, upgrade

pytestmark = pytest.mark.anyio

AT_A_TIME = 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def statuses(attacked: AttackedServer, requests: list[bytes]) -> set[int]:
    """Send each request on its own connection, and return the statuses."""
    found = set()

    async def send(mine: list[bytes]) -> None:
        for request in mine:
            async with raw(attacked.port) as client:
                await client.send(request)
                found.add((await client.answer()).status)

    async with asyncio.TaskGroup() as tasks:
        for start in range(AT_A_TIME):
            tasks.create_task(send(requests[start::AT_A_TIME]))
    return found


def named(request: bytes, host: str) -> bytes:
    return request.replace(b"Host: localhost", f"Host: {host}".encode())


ANNOUNCE = b'POST /api/v1/users/eve/announce HTTP/1.1\r\nHost: localhost\r\nContent-Length: 15\r\n\r\n{"online":true}'


async def test_a16_foreign_names_take_no_effect() -> None:
    """DNS rebinding: `Host`, and `Origin` if present, are a name of the attacker."""
    hosts = ["evil.example:3001", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example.", "presenced"]
    async with attacked_server() as attacked, attacked.attack():
        for host in hosts:
            page = f"Origin: http://{host}\r\n"
            requests = [upgrade("?userId=eve"), upgrade("?userId=eve", more=page), ANNOUNCE]
            requests.append(ANNOUNCE.replace(b"Content", page.encode() + b"Content"))
            assert await statuses(attacked, [named(request, host) for request in requests]) == {421}
        assert attacked.heard == []


async def test_a16_refusals_by_the_thousand_fill_neither_memory_nor_log() -> None:
    """Each request has another name and another page, as long as a head allows."""
    long = "x" * 3000
    requests = []
    for number in range(1500):
        host = f"evil{number}.example"
        requests.append(named(upgrade("?userId=eve"), host))
        requests.append(named(upgrade("?userId=eve"), host + long))
        requests.append(upgrade("?userId=eve", more=f"Origin: https://{host}\r\n"))
        requests.append(upgrade("?userId=eve", more=f"Origin: https://{host}.{long}\r\n"))
    burst = 20
    async with attacked_server(log_burst=burst) as attacked, attacked.attack():
        before, started = len(attacked.server.output.splitlines()), time.monotonic()
        assert await statuses(attacked, requests) == {403, 421}
        async with asyncio.timeout(PATIENCE):
            while "refused before the upgrade" not in attacked.server.output:
                await asyncio.sleep(0.05)
        lines = attacked.server.output.splitlines()[before:]
        assert len(lines) <= (burst + 1) * (time.monotonic() - started + 2), "as many in a second, and their sum"
        assert max(map(len, lines)) < 1000
        assert attacked.heard == []
