"""HTTP/1.1 over real sockets: clients that half-close, disconnect or stop reading, and faults of an application."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.support.proxies import DEPLOY
from tests.support.raw import PATIENCE, RawClient, raw, raw_websocket, upgrade
from tests.support.server import metric, node, server, until
from websockets.frames import Opcode

from presenced import PresenceServer, Settings
from presenced.http.waiting import WaitingRequest
from presenced.net.proxy_protocol import SIGNATURE
from presenced.testing.echo import EchoServer
from presenced.transports.http1.connection import MAX_DISCARDED_BYTES, MAX_UNREAD_BYTES
from presenced.transports.http1.exchange import MAX_UNREAD_BODY_BYTES
from presenced.transports.http1.fault_log import MAX_TRACEBACKS
from presenced.transports.listener import Listener

pytestmark = pytest.mark.anyio

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
QUERY = b"POST /api/v1/users/query HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = QUERY + b"Transfer-Encoding: chunked\r\n\r\n"


def end(client: RawClient) -> None:
    """Half-close the connection: send nothing more, and read everything."""
    client.writer.write_eof()


# Clients that have finished sending.


async def test_a_client_that_half_closes_receives_its_responses() -> None:
    async with server() as running, raw(running.port) as client:
        client.writer.write(GET * 3)
        end(client)
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 200]
        assert await client.closed() == b""


async def test_a_client_that_half_closes_receives_the_response_of_a_long_poll() -> None:
    async with server() as running, raw(running.port) as client:
        client.writer.write(b"GET /api/v1/changes?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end(client)
        await until(lambda: metric(running, "presenced_api_followers") == 1)
        await asyncio.sleep(0.1)
        running.broadcast_user_status("ada", is_online=True)
        answer = await client.answer()
        assert (answer.status, json.loads(answer.body)["changes"][0]["userId"]) == (200, "ada")
        assert await client.closed() == b""


async def test_a_client_that_half_closed_is_probed_while_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clients ignore `100 Continue`, and sending it reveals a client that has gone (RFC 9110 section 15.2.1)."""
    monkeypatch.setattr("presenced.transports.http1.connection.PROBE_S", 0.05)
    async with server() as running, raw(running.port) as client:
        client.writer.write(b"GET /api/v1/changes?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end(client)
        for _ in range(3):
            assert (await client.answer()).status == 100
        running.broadcast_user_status("ada", is_online=True)
        while (status := (await client.answer()).status) == 100:
            pass
        assert status == 200


async def test_a_pipelined_request_ends_when_its_client_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("presenced.transports.http1.connection.PROBE_S", 0.05)
    async with server() as running:
        async with raw(running.port) as client:
            client.writer.write(GET + b"GET /api/v1/changes?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            end(client)
            assert (await client.answer()).status == 200
            await until(lambda: metric(running, "presenced_api_followers") == 1)
        started = time.monotonic()
        await until(lambda: metric(running, "presenced_api_followers") == 0)
        assert time.monotonic() - started < 15


async def test_a_stream_ends_properly_when_its_client_half_closes() -> None:
    async with server() as running, raw(running.port) as client:
        client.writer.write(b"GET /api/v1/watch?everyone=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: metric(running, "presenced_api_followers") == 1)
        await client.reader.readuntil(b"retry:")
        end(client)
        assert (await client.closed()).endswith(b"0\r\n\r\n")
        assert metric(running, "presenced_api_followers") == 0


async def test_a_body_that_ends_early_is_a_bad_request() -> None:
    async with server() as running:
        halves = QUERY + b"Content-Length: 10\r\n\r\n{", CHUNKED + b"5\r\n{", CHUNKED + b"1\r\n{\r\n0\r\n"
        for half, before in [(half, before) for half in halves for before in (b"", GET)]:
            async with raw(running.port) as client:
                client.writer.write(before + half)
                end(client)
                if before:
                    assert (await client.answer()).status == 200
                answer = await client.answer()
                assert (answer.status, answer.problem["code"]) == (400, "BAD_REQUEST")
                assert await client.closed() == b""


@pytest.mark.parametrize("how", ["reset", "closed"])
async def test_a_client_that_hangs_up_within_a_body_is_not_a_server_fault(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier version logged a traceback of 4 KB and counted a 500, which triggers an alert."""
    async with server() as running:
        for _ in range(20):
            async with raw(running.port) as client:
                await client.send(QUERY + b"Content-Length: 100\r\n\r\n{")
                if how == "reset":
                    linger = b"\x01\0\0\0\0\0\0\0"
                    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        listener = running._parts and running._parts.listener
        assert listener
        await until(lambda: not listener.open_connections)
        if how == "closed":  # a reset may reach the server before it has read the request
            await until(lambda: answered(running, "499") == 20)
        assert answered(running, "500") is None
    assert [record.getMessage() for record in caplog.records if record.levelno >= 30] == []


def answered(running: PresenceServer, status: str) -> float | None:
    labels = {"route": "POST /users/query", "status": status}
    return node(running).metrics.registry.get_sample_value("presenced_api_answers_total", labels)


@pytest.mark.parametrize("wrong", [b"no", b"\n", b"5\r\nhello!", b"0\r\nX\r\n"])
async def test_a_malformed_chunk_is_refused_immediately(wrong: bytes) -> None:
    """The response does not wait for the timeout of the body."""
    async with server() as running, raw(running.port) as client:
        await client.send(CHUNKED)
        await asyncio.sleep(0.05)  # the application waits for the body
        started = time.monotonic()
        await client.send(wrong)
        answer = await client.answer()
        assert (answer.status, answer.problem["code"]) == (400, "BAD_REQUEST")
        assert time.monotonic() - started < 5
        assert await client.closed() == b""


async def test_white_space_after_the_values_of_a_handshake_is_dropped() -> None:
    """RFC 9112 section 5.1."""
    async with server() as running, raw(running.port) as client:
        head, empty = upgrade()[:-2].replace(b"\r\n", b" \t\r\n").replace(b"HTTP/1.1 \t", b"HTTP/1.1"), b"\r\n"
        await client.send(head + empty)
        assert (await client.answer()).status == 101


# Cost of connections.


async def test_an_idle_connection_stays_open_for_keep_alive() -> None:
    async with server(keep_alive=0.4) as running, raw(running.port) as client:
        for _ in range(2):
            await client.send(GET)
            assert (await client.answer()).status == 200
            await asyncio.sleep(0.2)
        started = time.monotonic()
        assert await client.closed() == b""
        assert time.monotonic() - started < 5


def test_the_proxies_in_deploy_close_idle_connections_before_the_server() -> None:
    """Otherwise a POST occasionally meets a closing connection and gets 502."""
    nginx = re.search(r"upstream presenced \{[^}]*keepalive_timeout (\d+)s;", (DEPLOY / "nginx.conf").read_text())
    caddy = re.search(r"\n\t\tkeepalive (\d+)s\n", (DEPLOY / "Caddyfile").read_text())
    assert nginx
    assert caddy
    assert max(int(nginx[1]), int(caddy[1])) < Settings().keep_alive


async def test_an_unread_body_is_discarded_and_the_connection_stays_open() -> None:
    async with server() as running, raw(running.port) as client:
        size = MAX_DISCARDED_BYTES // 2
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        assert (await client.answer()).status == 200
        await client.send(b"x" * size + GET)
        assert (await client.answer()).status == 200


async def test_an_unread_body_is_discarded_up_to_a_bound() -> None:
    async with server() as running, raw(running.port) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % 10_000_000)
        assert (await client.answer()).status == 200
        await client.send(b"x" * (MAX_DISCARDED_BYTES + 1))
        assert await client.closed() == b""


async def test_a_body_in_tiny_chunks_is_read() -> None:
    body = b'{"users":["ada"]' + b" " * 20_000 + b"}"
    async with server() as running, raw(running.port) as client:
        await client.send(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n" + GET)
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


async def test_100_continue_is_sent_only_if_the_application_reads_the_body() -> None:
    asks = b"Expect: 100-continue\r\n"
    async with server() as running:
        async with raw(running.port) as client:
            await client.send(QUERY + asks + b"Content-Length: 17\r\n\r\n")
            assert (await client.answer()).status == 100
            await client.send(b'{"users":["ada"]}')
            assert (await client.answer()).status == 200
        async with raw(running.port) as client:
            await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + asks + b"Content-Length: 17\r\n\r\n")
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "close"), "the body may or may not arrive"
            assert await client.closed() == b""


async def test_a_request_that_waited_leaves_no_reference_cycle() -> None:
    """`runtime.gc` freezes every object that survives a full collection, so a cycle in one would stay forever."""

    def followers() -> int:
        return sum(isinstance(one, WaitingRequest) for one in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        async with server() as running, raw(running.port) as client:
            await client.send(b"GET /api/v1/changes?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: metric(running, "presenced_api_followers") == 1)
            assert followers() == 1
            running.broadcast_user_status("ada", is_online=True)
            assert (await client.answer()).status == 200
            for _ in range(10):  # turns of the loop, for a cancelled task to end
                await asyncio.sleep(0)
            assert followers() == 0
    finally:
        gc.enable()


async def test_a_response_to_head_has_no_body_and_http_1_0_no_chunks() -> None:
    async with server() as running:
        async with raw(running.port) as client:
            await client.send(GET.replace(b"GET", b"HEAD"))
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert re.search(rb"\r\ncontent-length: [1-9]", head)
            await client.send(GET)
            assert (await client.answer()).status == 200
        async with raw(running.port) as client:
            await client.send(b"GET /api/v1/watch?everyone=true HTTP/1.0\r\n\r\n")
            assert b"chunked" not in await client.reader.readuntil(b"\r\n\r\n")
            assert await client.reader.readexactly(7) == b"retry: "


async def test_the_api_sees_the_client_address_of_the_proxy_protocol() -> None:
    """Otherwise requests through a local proxy would be local, and local requests need no key."""
    async with server(proxy_protocol=True, trusted_proxies="127.0.0.1") as running:
        for address, status in (("203.0.113.9", 401), ("127.0.0.1", 200)):
            async with raw(running.port) as client:
                addresses = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + b"\0\x50\0\x50"
                header = SIGNATURE + b"\x21\x11\0\x0c" + addresses
                await client.send(header + b"GET /api/v1/counts HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await client.answer()).status == status


# The end.


async def test_a_stop_ends_idle_connections_and_answers_requests_first() -> None:
    async with server() as running, raw(running.port) as idle, raw(running.port) as waiting:
        await idle.send(GET)
        assert (await idle.answer()).status == 200
        await waiting.send(b"GET /api/v1/changes?wait=30 HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET)
        await until(lambda: metric(running, "presenced_api_followers") == 1)
        started = time.monotonic()
        await running.stop()
        assert time.monotonic() - started < running.settings.close_timeout
        assert await idle.closed() == b""
        answer = await waiting.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await waiting.closed() == b"", "the pipelined request is left to another server"


# Faults of the application, and back-pressure.


@asynccontextmanager
async def listener_for(app: ASGIApp, **changes: object) -> AsyncIterator[int]:
    """Start a listener for `app` and return its port."""
    async with EchoServer(Settings.model_validate({"port": 0, **changes})) as service:
        listener = Listener(service, app)
        await listener.start()
        try:
            yield listener.port
        finally:
            await listener.stop()


def app_sending(*messages: Message) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return app


def start(*headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": 200, "headers": headers}


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("a fault\nof ours")


@pytest.mark.parametrize(
    "app",
    [
        failing,
        app_sending(),
        app_sending(part(b"x")),
        app_sending(start((b"x", b"a\r\nset-cookie: b")), part(b"")),
        app_sending(start((b"x: y\r\nz", b"a")), part(b"")),
        app_sending(start((b"content-length", b"1")), part(b"two")),
    ],
    ids=["raises", "no response", "no head", "CRLF in a value", "CRLF in a name", "longer than its length"],
)
async def test_a_fault_of_the_application_is_a_500_and_one_bounded_log_entry(
    app: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    async with listener_for(app) as port:
        for _ in range(MAX_TRACEBACKS + 5):
            async with raw(port) as client:
                await client.send(GET)
                answer = await client.answer()
                assert (answer.status, answer.problem["code"]) == (500, "INTERNAL_ERROR")
                assert "fault" not in answer.problem["title"].replace("fault of its own", "")
                assert await client.closed() == b""
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == MAX_TRACEBACKS
    assert not any("\nof ours" in line for line in said), "the exception's message is escaped"


@pytest.mark.parametrize(
    "app",
    [
        app_sending(start((b"content-length", b"5")), part(b"two")),
        app_sending(start(), part(b"two", more=True)),
    ],
    ids=["shorter than its length", "no end"],
)
async def test_a_response_that_is_cut_off_does_not_look_complete(app: ASGIApp) -> None:
    async with listener_for(app) as port, raw(port) as client:
        await client.send(GET + GET)
        received = await client.closed()
        assert received.count(b"HTTP/1.1") <= 1
        assert not received.endswith(b"0\r\n\r\n")


async def test_a_malformed_chunk_is_refused_until_the_response_has_begun() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        while (await receive())["type"] == "http.request":
            pass

    async with listener_for(app) as port, raw(port) as client:
        await client.send(CHUNKED + b"1\r\nx\r\n")
        await asyncio.sleep(0.05)
        await client.send(b"no")
        assert (await client.answer()).status == 400


async def test_a_client_that_does_not_read_blocks_the_application() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(start())
        for _ in range(10_000):
            await send(part(b"x" * 10_000, more=True))
            sent += 10_000
        await send(part(b""))

    async with listener_for(app, close_timeout=0.2) as port, raw(port, limit=10_000) as client:
        await client.send(GET)
        before = -1
        async with asyncio.timeout(PATIENCE):
            while sent != before:
                before = sent
                await asyncio.sleep(0.1)
        assert 0 < sent < 20_000_000


LARGE = 4_000_000
"""Number of bytes that exceeds the socket buffers when the client's is small."""


@asynccontextmanager
async def unreading(port: int, *requests: bytes) -> AsyncIterator[socket.socket]:
    """Connect a client that sends `requests` and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        await asyncio.get_running_loop().sock_sendall(client, b"".join(requests))
        yield client


@pytest.mark.parametrize("parts", [1, 400])
@pytest.mark.parametrize("request_", [GET, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")])
async def test_a_client_that_reads_nothing_of_its_response_is_cut_off(parts: int, request_: bytes) -> None:
    """This holds while the application writes, and after it has finished."""
    answer = app_sending(start(), *[part(b"x" * (LARGE // parts), more=True)] * parts, part(b""))
    async with EchoServer(Settings(port=0, behind_timeout=0.3, keep_alive=0.2, close_timeout=0.5)) as service:
        listener = Listener(service, answer)
        await listener.start()
        async with unreading(listener.port, request_):
            await until(lambda: listener.open_connections)
            await until(lambda: not listener.open_connections)
        await listener.stop()


async def test_a_client_that_reads_slowly_receives_its_whole_response() -> None:
    answer = app_sending(start((b"content-length", b"%d" % LARGE)), part(b"x" * LARGE))
    async with listener_for(answer, behind_timeout=2) as port, unreading(port, GET) as client:
        received, started = 0, time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while received < LARGE:
                data = await asyncio.get_running_loop().sock_recv(client, 300_000)
                assert data, "cut off"
                received += len(data)
                if time.monotonic() - started < 5:  # for longer than behind_timeout, a little at a time
                    await asyncio.sleep(0.1)


async def test_a_websocket_after_an_unread_response_counts_as_slow() -> None:
    """Otherwise it would get every change, and its transport's buffer would grow without a bound."""
    online = b"GET /api/v1/online?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with server(behind_timeout=3) as running:
        for number in range(1000):
            running.broadcast_user_status(f"{number}" + "\N{GRINNING FACE}" * 120, is_online=True)
        async with unreading(running.port, online, upgrade()):
            await until(lambda: metric(running, "presenced_connections") == 1)
            assert metric(running, "presenced_slow_watchers") == 1
            await until(lambda: metric(running, "presenced_connections") == 0)


async def test_an_application_that_does_not_read_blocks_the_client() -> None:
    go = asyncio.Event()
    sizes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        while (message := await receive())["type"] == "http.request":
            sizes.append(len(message["body"]))
            if not message["more_body"]:
                break
        await send(start((b"content-length", b"0")))
        await send(part(b""))

    size = 20_000_000
    async with listener_for(app) as port, raw(port) as client:
        sending = asyncio.create_task(
            client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        )
        await asyncio.sleep(0.2)
        assert not sending.done()
        go.set()
        assert (await client.answer()).status == 200
        await sending
    assert sum(sizes) == size
    assert max(sizes) <= MAX_UNREAD_BODY_BYTES + 2 * 262_144, "plus one read of the loop"


async def test_input_behind_an_unanswered_request_pauses_reading() -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await send(start((b"content-length", b"0")))
        await send(part(b""))

    async with listener_for(app) as port, raw(port) as client:
        await client.send(GET)
        sending = asyncio.create_task(
            client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n" + b"x" * 20_000_000)
        )
        await asyncio.sleep(0.2)
        assert not sending.done(), f"{MAX_UNREAD_BYTES} bytes, plus one read of the loop"
        go.set()
        assert (await client.answer()).status == 200
        sending.cancel()


async def test_a_request_that_does_not_end_is_cancelled_when_the_server_stops() -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with listener_for(app, close_timeout=0.1) as port, raw(port) as client:
        await client.send(GET)
        await asyncio.sleep(0.05)
    assert ended == ["cancelled"]


async def test_the_application_receives_a_disconnect() -> None:
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])

    async with listener_for(app) as port:
        async with raw(port) as client:
            await client.send(GET)
            await until(lambda: heard)
            client.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
            )
        await until(lambda: heard == ["http.request", "http.disconnect"])


async def test_a_websocket_may_follow_requests_on_one_connection() -> None:
    async with server(heartbeat_interval=60, pong_timeout=60) as running, raw(running.port) as client:
        for _ in range(3):
            await client.send(GET)
            assert (await client.answer()).status == 200
        await client.send(upgrade())
        assert (await client.answer()).status == 101
        assert (await client.frame()).opcode is Opcode.TEXT
        async with raw_websocket(running.port, "?userId=2"):
            assert b"USER_ONLINE" in (await client.frame()).data
