"""The front door over real sockets: limits of heads and bodies, upgrades, and refusals that state the reason."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref

import pytest
from tests.support.raw import PATIENCE, RawClient, masked, raw, raw_websocket, upgrade
from tests.support.server import metric, node, server, until
from websockets.frames import Opcode

from presenced import PresenceServer
from presenced.transports.http1.connection import MAX_PIPELINED_REQUESTS, HttpConnection
from presenced.transports.http1.head import MAX_HEADERS

pytestmark = pytest.mark.anyio


def refused(running: PresenceServer, reason: str) -> float | None:
    labels = {"reason": reason}
    return node(running).metrics.registry.get_sample_value("presenced_connections_refused_total", labels)


async def test_an_incomplete_request_times_out() -> None:
    async with server(head_timeout=0.1) as running:
        for start in (b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"\r\n"):
            async with raw(running.port) as client:
                await client.send(start)
                answer = await client.answer()
                assert (answer.status, answer.problem["code"]) == (408, "REQUEST_TIMEOUT")
                assert await client.closed() == b""


async def test_a_head_sent_byte_by_byte_has_the_same_timeout() -> None:
    async with server(head_timeout=0.3) as running:
        started = time.monotonic()  # not after the connection: its timeout begins when the server accepts it
        async with raw(running.port) as client:
            await trickles(client)
        assert 0.25 < time.monotonic() - started < PATIENCE


async def trickles(client: RawClient) -> None:
    """Send a head byte by byte until it is refused."""

    async def trickle() -> None:
        await client.send(b"GET / HTTP/1.1\r\nX: ")
        while True:
            await client.send(b"x")
            await asyncio.sleep(0.01)

    trickling = asyncio.create_task(trickle())
    assert (await client.answer()).status == 408
    trickling.cancel()


async def test_a_second_head_on_the_same_connection_has_a_timeout() -> None:
    async with server(head_timeout=1) as running, raw(running.port) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.answer()).status == 200
        await client.send(b"GET /healthz HT")
        assert (await client.answer()).status == 408


async def test_the_rest_of_an_unread_body_does_not_prolong_the_connection() -> None:
    async with server(keep_alive=0.2) as running, raw(running.port) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        assert (await client.answer()).status == 200
        ended = asyncio.create_task(client.closed())
        for _ in range(500):
            if ended.done():
                break
            client.writer.write(b"x")
            await asyncio.sleep(0.01)
        assert ended.done()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
        upgrade(more="X: " + "x" * 20_000 + "\r\n"),
    ],
    ids=["field", "target", "many fields", "very many fields", "upgrade"],
)
async def test_a_head_that_is_too_large_is_refused(head: bytes) -> None:
    async with server() as running, raw(running.port) as client:
        sending = asyncio.create_task(client.send(head))
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (431, "HEAD_TOO_LARGE")
        assert await client.closed() == b""
        sending.cancel()


async def test_a_head_of_the_maximum_size_is_accepted_however_the_bytes_are_split() -> None:
    async with server() as running:
        start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
        head = start + b"x" * (running.settings.max_head_size - len(start) - 4) + b"\r\n\r\n"
        for size in (len(head), 1000):
            async with raw(running.port) as client:
                for at in range(0, len(head), size):
                    await client.send(head[at : at + size])
                assert (await client.answer()).status == 200


async def test_bytes_after_the_head_of_a_handshake_are_not_lost() -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(upgrade() + masked(Opcode.PING, b"early") + masked(Opcode.TEXT, b"half")[:4])
        assert (await client.answer()).status == 101
        assert (await client.frame()).opcode is Opcode.TEXT
        pong = await client.frame()
        assert (pong.opcode, pong.data) == (Opcode.PONG, b"early")


ANNOUNCE = b"POST /api/v1/users/ada/announce HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "head",
    [
        ANNOUNCE + b"Content-Length: 65537\r\n\r\n",
        ANNOUNCE + b"Content-Length: 9999999999999999999\r\n\r\n",
        ANNOUNCE + b"Expect: 100-continue\r\nContent-Length: 70000\r\n\r\n",
        b"GET /api/v1/counts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\n\r\n",
    ],
    ids=["one more", "very many", "asks first", "GET"],
)
async def test_a_body_whose_length_is_too_large_is_refused_before_it_arrives(head: bytes) -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(head)
        answer = await client.answer()
        assert (answer.status, answer.problem["code"], answer.headers["connection"]) == (413, "BODY_TOO_LARGE", "close")
        await client.send(b"x" * 1000 + ANNOUNCE + b"\r\n")
        assert await client.closed() == b"", "the bytes after it are not read as a request"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (ANNOUNCE + b"Content-Length: 3000000\r\n\r\n", 413),
        (ANNOUNCE + b"Transfer-Encoding: chunked\r\n\r\n2DC6C0\r\n", 413),
        (b"POST /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n", 404),
    ],
    ids=["says so", "chunked", "no such path"],
)
async def test_a_client_that_sends_everything_first_sees_the_refusal(head: bytes, status: int) -> None:
    """If the server reset the connection, simple clients would get a broken pipe instead."""

    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(head + b"x" * 3_000_000)
            return b"".join(iter(lambda: sock.recv(65_536), b""))

    async with server() as running:
        answer = await asyncio.to_thread(ask, running.port)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.count(b"HTTP/1.1") == 1


async def test_a_broken_body_after_a_response_is_not_refused_again(caplog: pytest.LogCaptureFixture) -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(b"POST /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.answer()).status == 404
        await client.send(b"no size\r\n")
        assert await client.closed() == b""
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_client_that_never_stops_sending_is_cut_off() -> None:
    async with server(close_timeout=0.2) as running, raw(running.port) as client:
        await client.send(ANNOUNCE + b"Content-Length: 1000000000\r\n\r\n")
        assert (await client.answer()).status == 413
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                await client.send(b"x" * 10_000)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
async def test_only_get_is_upgraded(method: str) -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(upgrade(method=method))
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (405, "METHOD_NOT_ALLOWED")
        assert "GET" in answer.headers["allow"]
        assert running.get_stats().total_connections == 0


async def test_http_1_0_is_not_upgraded() -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(upgrade(version="1.0"))
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (505, "HTTP_VERSION")


async def test_an_upgrade_leaves_no_reference_cycle(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[weakref.ref[HttpConnection]] = []
    made = HttpConnection.connection_made

    def remember(self: HttpConnection, transport: asyncio.Transport) -> None:
        made(self, transport)
        connections.append(weakref.ref(self))

    monkeypatch.setattr(HttpConnection, "connection_made", remember)
    gc.disable()
    try:
        async with server() as running, raw_websocket(running.port) as client:
            await client.frame()
            await until(lambda: connections[0]() is None)
    finally:
        gc.enable()


# Refusals.


async def test_a_plain_get_on_the_websocket_path_gets_426_and_a_hint() -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(b"GET /ws-online-status?userId=1 HTTP/1.1\r\nHost: localhost:3001\r\n\r\n")
        answer = await client.answer()
        assert (answer.status, answer.headers["upgrade"]) == (426, "websocket")
        assert "new WebSocket('ws://localhost:3001/ws-online-status?userId=ID')" in answer.problem["detail"]


async def test_a_wrong_websocket_version_gets_426_and_the_right_one() -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(upgrade().replace(b"Version: 13", b"Version: 8"))
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (426, "WEBSOCKET_VERSION")
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("path", ["/", "/ws", "/ws-online-status/", "/nope"])
async def test_a_handshake_on_another_path_is_answered_like_any_request(path: str) -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(upgrade(path=path))
        answer = await client.answer()
        if path == "/":
            assert answer.status == 200
        else:
            assert (answer.status, answer.problem["code"]) == (404, "NOT_FOUND")
            assert "/ws-online-status?userId=ID" in answer.problem["detail"]


@pytest.mark.parametrize("more", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_a_handshake_has_no_body(more: str) -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(upgrade(more=more))
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (400, "BAD_HANDSHAKE")


async def test_a_pipelined_handshake_waits_for_the_previous_responses() -> None:
    """Otherwise a response could land between frames."""
    async with server() as running, raw(running.port) as client:
        requests = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
        await client.send(requests + upgrade() + masked(Opcode.PING, b"early"))
        assert [(await client.answer()).status for _ in range(4)] == [200, 200, 200, 101]
        assert (await client.frame()).opcode is Opcode.TEXT
        assert (await client.frame()).data == b"early"


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\nnonsense\r\n\r\n",
    ],
    ids=["TLS", "two lengths", "length and chunked", "space in a name", "version", "nonsense"],
)
async def test_input_that_is_not_http_gets_400(request_: bytes) -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(request_)
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (400, "BAD_REQUEST")
        assert await client.closed() == b""


async def test_the_log_says_that_a_client_spoke_tls(caplog: pytest.LogCaptureFixture) -> None:
    """A browser shows only 1006 for `wss://`, so the log is the only place that can say why."""
    caplog.set_level("INFO")
    async with server() as running, raw(running.port) as client:
        await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await client.closed()
    assert "400 BAD_REQUEST: this is TLS: use ws:// or http://, or set tls_certificate" in caplog.text


async def test_an_upgrade_to_another_protocol_is_ignored() -> None:
    async with server() as running, raw(running.port) as client:
        h2c = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        for _ in range(2):
            await client.send(h2c)
            assert (await client.answer()).status == 200
        await client.send(upgrade())
        assert (await client.answer()).status == 101


async def test_a_full_server_responds_503_until_a_connection_ends() -> None:
    async with server(max_connections=2) as running, raw_websocket(running.port, "?userId=1"):
        async with raw_websocket(running.port, "?userId=2"):
            async with raw(running.port) as client:
                answer = await client.answer()
                assert (answer.status, answer.problem["code"]) == (503, "UNAVAILABLE")
                assert answer.headers["retry-after"]
            assert running.get_stats().total_connections == 2
            assert metric(running, "presenced_max_connections") == 2
            assert refused(running, "full") == 1
        await until(lambda: running.get_stats().total_connections == 1)
        async with raw_websocket(running.port, "?userId=3") as client:
            assert (await client.frame()).opcode is Opcode.TEXT


async def test_while_the_loop_is_behind_handshakes_are_refused_and_open_connections_served() -> None:
    # A heartbeat resets the lag that was set, and this client answers no ping.
    async with server(heartbeat_interval=600, pong_timeout=600) as running, raw_websocket(running.port) as there:
        await there.frame()
        node(running).heartbeat._lag = 1.5  # until the next tick, in a minute
        async with raw(running.port) as client:
            await client.send(upgrade())
            answer = await client.answer()
            assert (answer.status, answer.problem["code"]) == (503, "UNAVAILABLE")
            assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert refused(running, "behind") == 1
        await there.send(masked(Opcode.PING, b"?"))
        while (frame := await there.frame()).opcode is not Opcode.PONG:  # a ping of the server may come first
            pass
        assert frame.data == b"?"


async def test_a_pipelined_refusal_follows_the_previous_responses() -> None:
    """Nothing is written after the end of the stream."""
    healthz = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    refused = {
        b"\x00\x01": 400,
        upgrade(more="Content-Length: 1\r\n"): 400,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n": 431,
    }
    async with server() as running:
        for rest, status in refused.items():
            for requests in (1, 3):
                async with raw(running.port) as client:
                    await client.send(healthz * requests + rest)
                    statuses = [(await client.answer()).status for _ in range(requests + 1)]
                    assert statuses == [200] * requests + [status]
                    assert await client.closed() == b"", "the connection ends"


async def test_pipelined_requests_are_bounded() -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5000)
        answers = await client.closed()
        assert answers.count(b"HTTP/1.1 200") <= MAX_PIPELINED_REQUESTS + 1
        assert answers.count(b"HTTP/1.1 429") == 1
        assert b"retry-after: 1" in answers
    async with server() as running, raw(running.port) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * MAX_PIPELINED_REQUESTS)
        for _ in range(MAX_PIPELINED_REQUESTS):
            assert (await client.answer()).status == 200


async def test_a_client_that_leaves_within_pipelined_requests_causes_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with server() as running:
        for _ in range(100):
            async with raw(running.port) as client:
                await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5)
                await client.reader.read(1)
        listener = running._parts and running._parts.listener
        assert listener
        await until(lambda: not listener.open_connections)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
