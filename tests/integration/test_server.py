"""The server embedded in a program: its five methods, start, stop, and errors."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import AsyncExitStack

import pytest
from tests.support.raw import PATIENCE, raw, raw_websocket
from tests.support.server import server, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode

from presenced import BadUserId, CapacityError, ListenError, PortInUse, PresenceServer, Settings

pytestmark = pytest.mark.anyio


async def test_announcements_reach_everyone_and_cannot_contradict_a_connection() -> None:
    async with server(max_announced=1) as running, connect(f"{running.url}?userId=1", proxy=None) as alice:
        await alice.recv()
        assert running.broadcast_user_status(2, True) is True
        assert '"USER_ONLINE","userId":2' in str(await alice.recv())
        assert running.broadcast_user_status("2", True) is False
        assert running.broadcast_user_status(1, False) is False, "alice has a connection"
        with pytest.raises(CapacityError):
            running.broadcast_user_status(3, True)
        with pytest.raises(BadUserId):
            running.broadcast_user_status("a\nb", True)
        assert running.get_stats().online_users == 2
        assert running.broadcast_user_status(2, False) is True
        assert '"USER_OFFLINE","userId":2' in str(await alice.recv())


async def test_handle_user_disconnect_closes_all_connections_of_the_user() -> None:
    async with server(grace_lost=60) as running, connect(f"{running.url}?userId=1", proxy=None) as alice:
        await alice.recv()
        async with (
            connect(f"{running.url}?userId=2", proxy=None) as one,
            connect(f"{running.url}?userId=2", proxy=None) as two,
        ):
            assert "USER_ONLINE" in str(await alice.recv())
            assert running.handle_user_disconnect(2) == 2
            for connection in (one, two):
                with pytest.raises(ConnectionClosed) as ended:
                    while True:
                        await connection.recv()
                assert ended.value.rcvd
                assert ended.value.rcvd.code == 4410
            assert "USER_OFFLINE" in str(await alice.recv()), "at once, without a grace"
        assert running.handle_user_disconnect(2) == 0


async def test_get_stats_counts_and_pages() -> None:
    async with server() as running, AsyncExitStack() as stack:
        for number in range(5):
            await stack.enter_async_context(connect(f"{running.url}?userId={number % 3}", proxy=None))
        stats = running.get_stats(limit=2)
        assert (stats.connected_users, stats.total_connections, len(stats.user_sessions)) == (3, 5, 2)
        assert stats.next
        assert len(running.get_stats(after=stats.next).user_sessions) == 3
        for wrong in ({"limit": -1}, {"limit": 1001}, {"after": -1}):
            with pytest.raises(ValueError, match="expected"):
                running.get_stats(**wrong)


async def test_stop_closes_every_client_with_1001_and_reports_nobody_offline() -> None:
    # These clients read nothing until the stop, so they answer no ping either.
    quiet = {"heartbeat_interval": 3600, "pong_timeout": 3600}
    async with server(close_timeout=0.3, **quiet) as running, AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect(f"{running.url}?userId={number}", proxy=None))
            for number in range(50)
        ]
        ghost = await stack.enter_async_context(raw_websocket(running.port, "?userId=silent"))
        port = running.port  # a stopped server has no port
        stopping = asyncio.create_task(running.stop())
        await asyncio.sleep(0)
        await running.stop()  # a second call changes nothing
        for client in clients:
            with pytest.raises(ConnectionClosed) as ended:
                while True:
                    assert "USER_OFFLINE" not in str(await client.recv())
            assert ended.value.rcvd
            assert ended.value.rcvd.code == 1001
        while (frame := await ghost.frame()).opcode is not Opcode.CLOSE:
            assert b"USER_OFFLINE" not in frame.data
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            await stopping  # the silent connection was aborted


async def test_a_stopped_server_can_be_started_again() -> None:
    running = server()
    for _ in range(2):
        await running.start()
        async with connect(f"{running.url}?userId=1", proxy=None) as client:
            assert "CONNECTION_ESTABLISHED" in str(await client.recv())
        await running.stop()
        await running.stop()


async def test_a_call_in_the_wrong_state_raises_an_error() -> None:
    running = server()
    with pytest.raises(RuntimeError, match="not running"):
        running.get_stats()
    async with running:
        with pytest.raises(RuntimeError, match="running already"):
            await running.start()


async def test_an_error_about_another_thread_names_call_soon_threadsafe() -> None:
    async with server() as running:
        loop, said = asyncio.get_running_loop(), []

        def elsewhere() -> None:
            try:
                running.broadcast_user_status(1, True)
            except RuntimeError as error:
                said.append(str(error))
            loop.call_soon_threadsafe(running.broadcast_user_status, 1, True)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await until(lambda: running.get_stats().online_users == 1)
        thread.join()
        assert "call_soon_threadsafe" in said[0]


async def test_an_error_names_the_port_in_use() -> None:
    async with server() as running:
        for host in ("localhost", "127.0.0.1"):
            with pytest.raises(PortInUse, match=f"port {running.port} on {host} is already in use"):
                await PresenceServer(Settings(host=host, port=running.port)).start()
        async with connect(f"{running.url}?userId=1", proxy=None) as client:
            assert "CONNECTION_ESTABLISHED" in str(await client.recv()), "the first one is not disturbed"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "empty..label", f"{64 * 'a'}.long.label"])
async def test_an_error_names_an_address_of_another_machine(host: str) -> None:
    with pytest.raises(ListenError, match=f"can't listen on {host}:0"):
        await PresenceServer(Settings(host=host, port=0, insecure=True)).start()


async def test_localhost_is_both_loopback_addresses_on_one_port() -> None:
    async with server() as running:
        for host in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
            _, writer = await asyncio.open_connection(host, running.port)
            writer.close()
        assert running.url == f"ws://localhost:{running.port}/ws-online-status"


async def test_an_ipv6_address_is_bracketed_in_the_url() -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    async with server(host="::1") as running:
        assert running.url == f"ws://[::1]:{running.port}/ws-online-status"
        async with connect(f"{running.url}?userId=1", proxy=None) as client:
            await client.recv()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_clients_that_vanish_during_the_handshake_leave_nothing_behind() -> None:
    async with server() as running:
        for _ in range(20):
            async with raw(running.port) as client:
                await client.abort()
            async with raw_websocket(running.port) as client:
                await client.abort()
        await until(lambda: running.get_stats().total_connections == 0)
        await until(lambda: running.get_stats().online_users == 0)


async def test_call_every_repeats_until_the_server_stops() -> None:
    calls: list[float] = []
    async with server() as running:
        running.call_every(0.01, lambda: calls.append(time.monotonic()))
        assert len(calls) == 1, "at once"
        await until(lambda: len(calls) >= 3)
        with pytest.raises(ValueError, match="more than 0"):
            running.call_every(0, calls.clear)
    with pytest.raises(RuntimeError, match="not running"):
        running.call_every(1, calls.clear)
