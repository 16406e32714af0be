"""A client that does not read: others notice nothing, its memory is bounded, and it catches up exactly."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.raw import PATIENCE, raw_websocket, upgrade
from tests.support.server import metric, node, server, until
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from presenced import PresenceServer
from presenced.transports.listener import MAX_UNSENT_BYTES

pytestmark = pytest.mark.anyio


class SlowClient:
    """A client that reads on demand, from a socket with a small buffer."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.protocol = Protocol(CLIENT)
        self.messages: list[dict[str, object]] = []
        self.close_code: int | None = None

    async def connect(self, running: PresenceServer, user_id: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", running.port))
        await loop.sock_sendall(self.socket, upgrade(f"?userId={user_id}"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += await loop.sock_recv(self.socket, 1)

    async def read_until(self, user_id: int | str) -> None:
        """Read, answering pings, until a message is about `user_id`, or the connection closes."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            while not any(m["userId"] == user_id for m in self.messages) and self.close_code is None:
                data = await loop.sock_recv(self.socket, 65_536)
                if not data:
                    return
                self.protocol.receive_data(data)
                for event in self.protocol.events_received():
                    assert isinstance(event, Frame)
                    if event.opcode is Opcode.TEXT:
                        self.messages.append(json.loads(bytes(event.data)))
                    elif event.opcode is Opcode.CLOSE:
                        assert self.protocol.close_rcvd
                        self.close_code = self.protocol.close_rcvd.code
                for answer in self.protocol.data_to_send():
                    if answer:
                        await loop.sock_sendall(self.socket, answer)


def behind(running: PresenceServer) -> int:
    return node(running).broadcaster.behind


@asynccontextmanager
async def slow_client(running: PresenceServer) -> AsyncIterator[SlowClient]:
    """Connect a client and send it more than the buffers on its way hold."""
    slow = SlowClient()
    with slow.socket:
        await slow.connect(running, "slow")
        await until(lambda: running.get_stats().total_connections)
        online = False
        while not behind(running):
            assert running.get_stats().total_connections, "dropped before it was slow"
            online = not online
            for user in range(500):
                running.broadcast_user_status(f"{user}-{'x' * 100}", online)
            await asyncio.sleep(0.001)
        yield slow


async def test_a_client_that_resumes_reading_receives_each_user_once_with_the_last_status() -> None:
    quiet = {"heartbeat_interval": 3600, "pong_timeout": 3600, "behind_timeout": 60}
    async with server(**quiet) as running, slow_client(running) as slow:
        for round_ in range(50):
            for user in range(200):
                running.broadcast_user_status(f"late {user}", round_ % 2 == 0)
            await asyncio.sleep(0)
        for user in range(100):
            running.broadcast_user_status(f"late {user}", True)
        running.broadcast_user_status("the last", True)
        await slow.read_until("the last")
        late = [m for m in slow.messages if str(m["userId"]).startswith("late")]
        assert len(late) == 200, "each user once"
        online = {m["userId"] for m in late if m["type"] == "USER_ONLINE"}
        assert online == {f"late {user}" for user in range(100)}
        await until(lambda: behind(running) == 0)
        slow.messages.clear()
        running.broadcast_user_status("one more", True)
        await slow.read_until("one more")
        assert [m["userId"] for m in slow.messages] == ["one more"]


async def test_a_client_that_stays_behind_is_closed_with_a_code() -> None:
    quiet = {"heartbeat_interval": 3600, "pong_timeout": 3600, "write_buffer": 2048}
    async with server(**quiet, behind_timeout=1) as running, slow_client(running) as slow:
        await until(lambda: running.get_stats().total_connections == 0)
        await slow.read_until("no user")
        assert slow.close_code in (4420, None), "it sees the code if it reads everything before it in time"


async def test_a_client_that_reads_nothing_is_dropped_by_the_heartbeat() -> None:
    async with server(heartbeat_interval=3, pong_timeout=1.5, behind_timeout=60) as running, slow_client(running):
        await until(lambda: running.get_stats().total_connections == 0)
        assert metric(running, "presenced_heartbeats_failed_total") == 1


async def test_other_clients_are_notified_while_one_is_slow() -> None:
    quiet = {"heartbeat_interval": 3600, "pong_timeout": 3600, "behind_timeout": 60}
    async with server(**quiet) as running, slow_client(running), raw_websocket(running.port, "?userId=quick") as quick:
        assert (await quick.frame()).opcode is Opcode.TEXT
        for user in range(1000):
            running.broadcast_user_status(f"user {user}", True)
        notified = [json.loads(bytes((await quick.frame()).data))["userId"] for _ in range(1000)]
        assert notified == [f"user {user}" for user in range(1000)]


async def test_a_ping_flood_without_reading_is_bounded() -> None:
    async with server(heartbeat_interval=3600, pong_timeout=3600) as running, raw_websocket(running.port) as client:
        transport_limit = running.settings.write_buffer
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can
        (connection,) = node(running).connections.by_serial.values()
        ping = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125
        for _ in range(300):
            client.writer.write(ping * 1000)
            try:
                async with asyncio.timeout(0.05):
                    await client.writer.drain()
            except TimeoutError:
                break
            assert connection.unsent <= 2 * transport_limit


async def test_the_kernel_buffers_little_for_a_client_that_does_not_read() -> None:
    """By default Linux buffers 4 MB before the client appears slow."""
    if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
        pytest.skip("the system has no such option")
    async with server() as running, raw_websocket(running.port):
        await until(lambda: running.get_stats().total_connections)
        (connection,) = node(running).connections.by_serial.values()
        file = os.dup(connection.fileno())  # type: ignore[attr-defined]  # the real one has a file
        with socket.socket(fileno=file) as same:
            assert same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == MAX_UNSENT_BYTES
