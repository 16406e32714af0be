"""The facts about uvicorn that `transports` relies on. A new minor version of uvicorn is let in when these hold."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import socket
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from tests.integration.house import until
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

pytestmark = pytest.mark.anyio


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class Recorder(HttpToolsProtocol):
    """The stock protocol; notes what it is made with and which hooks are called."""

    made: list[dict[str, Any]]
    calls: list[str]

    def __init__(self, **arguments: Any) -> None:
        self.made.append(arguments)
        super().__init__(**arguments)

    def on_message_begin(self) -> None:
        self.calls.append("begin")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.calls.append(f"head {self.parser.get_method()!r} {self.url!r} {self.parser.get_http_version()}")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.calls.append("complete")
        super().on_message_complete()


class Upgraded(asyncio.Protocol):
    """What `ws=` makes; notes the calls of the hook."""

    calls: list[str]
    closed: asyncio.Event

    def __init__(self, *, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self.peers: set[Any] = server_state.connections
        self.calls.append("made")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.peers.add(self)
        self.calls.append("connection_made")

    def data_received(self, data: bytes) -> None:
        self.calls.append(f"data {data[:4]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.peers.discard(self)

    def shutdown(self) -> None:
        self.calls.append("shutdown")
        self.transport.close()


class House:
    """A uvicorn server run the way `Listener` runs it."""

    def __init__(self) -> None:
        Recorder.made, Recorder.calls, Upgraded.calls = [], [], []
        config = uvicorn.Config(app, http=Recorder, ws=Upgraded, lifespan="off", log_config=None, server_header=False)
        config.load()
        self.server = uvicorn.Server(config)
        self.server.lifespan = config.lifespan_class(config)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()

    async def __aenter__(self) -> House:
        await self.server.startup(sockets=[self.socket])
        self.main = asyncio.create_task(self.server.main_loop())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if not self.server.should_exit:
            self.server.should_exit = True
            await self.main
            await self.server.shutdown()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)


UPGRADE = b"GET /ws?a=b HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


async def test_protocols_are_made_with_these_arguments_and_callables_pass_through_the_config() -> None:
    async with House() as house:
        _, writer = await house.connect()
        writer.write(UPGRADE)
        await until(lambda: "made" in Upgraded.calls)
        assert set(Recorder.made[0]) == {"config", "server_state", "app_state", "_loop"}
        assert house.server.config.ws_protocol_class is Upgraded
        writer.close()


async def test_the_upgrade_hook_is_called_in_this_order() -> None:
    async with House() as house:
        _, writer = await house.connect()
        writer.write(UPGRADE)
        await until(lambda: len(Upgraded.calls) == 3)
        assert Upgraded.calls == ["made", "connection_made", "data b'GET '"]
        (peer,) = house.server.server_state.connections
        assert isinstance(peer, Upgraded), "the HTTP side left the set, the other one put itself in"
        writer.close()
        await until(lambda: not house.server.server_state.connections)


def test_an_answer_uses_these_three_of_its_transport() -> None:
    """`transports.lingering` has them."""
    used = set(re.findall(r"self\.transport\.(\w+)", inspect.getsource(RequestResponseCycle)))
    assert used == {"write", "is_closing", "close"}


async def test_the_parser_calls_these_hooks_and_pipelined_requests_follow_each_other() -> None:
    async with House() as house:
        reader, writer = await house.connect()
        writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b?c HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        assert answer.count(b"HTTP/1.1 204 No Content") == 2
        assert Recorder.calls == [
            "begin",
            "head b'GET' b'/a' 1.1",
            "complete",
            "begin",
            "head b'GET' b'/b?c' 1.0",
            "complete",
        ]
        writer.close()


async def test_shutdown_closes_the_sockets_tells_every_connection_and_waits_for_it() -> None:
    house = House()
    async with house:
        reader, writer = await house.connect()
        writer.write(UPGRADE)
        await until(lambda: len(Upgraded.calls) == 3)
        await house.stop()
        assert Upgraded.calls[3:] == ["shutdown"]
        assert house.server.server_state.connections == set()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await house.connect()


async def test_signals_stay_as_they_are() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with House():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_front_py_uses_of_the_stock_protocol_is_there() -> None:
    source = inspect.getsource(HttpToolsProtocol)
    for name in ("parser", "headers", "scope", "cycle", "connections", "transport", "flow", "url", "access_log"):
        assert f"self.{name}" in source
    for name in ("_should_upgrade", "_unset_keepalive_if_required", "on_header", "on_message_complete"):
        assert callable(getattr(HttpToolsProtocol, name))
    assert ServerState().default_headers == []
    assert STATUS_LINE[426] == b"HTTP/1.1 426 Upgrade Required\r\n"
