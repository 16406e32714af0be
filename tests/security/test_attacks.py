"""Attacks on a running server. A good client must not notice them (docs/contributing/attacks.md)."""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Awaitable, Callable

import jwt
import pytest
from tests.support.attacked_server import AttackedServer, attacked_server
from tests.support.raw import PATIENCE, RawClient, masked, raw, raw_websocket, upgrade
from websockets.frames import Close, Opcode

pytestmark = pytest.mark.anyio

CROWD = 200
"""Number of simultaneous attackers if one is not enough."""


@pytest.fixture
def anyio_backend() -> str:
    """Run each test once: the server is another process, so the loop of the test does not matter."""
    return "asyncio"


async def flood(client: RawClient, data: bytes, times: int = 10_000) -> None:
    """Send until the server closes the connection."""
    with contextlib.suppress(ConnectionError):  # that is the end
        for _ in range(times):
            await client.send(data)
            await asyncio.sleep(0)  # otherwise the good client, in the same loop, could not answer pings


async def crowd(size: int, attack: Callable[[int], Awaitable[object]]) -> None:
    """Run many attackers at once. Their errors are ignored, because the server cuts them off."""
    await asyncio.gather(*(attack(number) for number in range(size)), return_exceptions=True)


async def good_client_can_connect(target: AttackedServer) -> None:
    async with asyncio.timeout(5), raw_websocket(target.port, "?userId=good") as client:
        assert (await client.frame()).opcode is Opcode.TEXT


async def test_a3_half_open_handshakes() -> None:
    async with attacked_server(head_timeout=2) as target, target.attack(growth=32):

        async def dribble(_: int) -> None:
            async with raw(target.port) as client:
                for byte in upgrade():
                    await client.send(bytes([byte]))
                    await asyncio.sleep(1)

        attack = asyncio.create_task(crowd(1000, dribble))
        for _ in range(5):
            await asyncio.sleep(0.3)
            await good_client_can_connect(target)
        async with asyncio.timeout(30):
            await attack  # all are cut off
        assert "good" not in target.seen_users


KEY = b"k3y!"

BAD_FRAMES = {
    "a length over the limit": (b"\x82\xff" + (70_000).to_bytes(8, "big") + KEY, 1009),
    "64 bits, the top one set": (b"\x82\xff" + b"\xff" * 8 + KEY, 1009),
    "64 bits, the largest": (b"\x82\xff\x7f" + b"\xff" * 7 + KEY, 1009),
    "a ping of 126 bytes": (b"\x89\xfe\x00\x7e" + KEY + b"x" * 126, 1002),
    "not masked": (b"\x81\x02hi", 1002),
    "reserved bits": (b"\xf1\x80" + KEY, 1002),
    "an unknown opcode": (b"\x8b\x80" + KEY, 1002),
    "a continuation of nothing": (b"\x80\x80" + KEY, 1002),
    "text that is no UTF-8": (masked(Opcode.TEXT, b"\xff\xfe"), 1007),
}


@pytest.mark.parametrize(("data", "code"), BAD_FRAMES.values(), ids=BAD_FRAMES)
async def test_a4_bad_frames(data: bytes, code: int) -> None:
    async with attacked_server() as target, target.attack():
        for _ in range(20):
            async with raw_websocket(target.port, "?userId=good") as client:
                await client.send(data)
                closed = await client.close_frame()
                assert closed.code == code
                assert KEY not in closed.reason.encode(), "the reason contains known words only"


async def test_a5_endless_fragments_and_unfinished_messages() -> None:
    async with attacked_server(message_timeout=1) as target, target.attack():

        async def endless(number: int) -> Close:
            async with raw_websocket(target.port, "?userId=good") as client:
                await client.send(masked(Opcode.TEXT, b"x", fin=False))
                sending = asyncio.create_task(flood(client, masked(Opcode.CONT, b"x", fin=False) * 50))
                try:
                    return await client.close_frame()
                finally:
                    sending.cancel()

        async def unfinished(number: int) -> Close:
            async with raw_websocket(target.port, "?userId=good") as client:
                await client.send(b"\x82\xfe\xff\xff" + KEY + b"x" * 60_000)
                return await client.close_frame()

        closes = await asyncio.gather(*(endless(n) for n in range(20)), *(unfinished(n) for n in range(100)))
        assert {close.code for close in closes[:20]} <= {1009, 4408, 4429}
        assert {close.code for close in closes[20:]} == {4408}


async def test_a6_compression_bombs() -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeeze.compress(bytes(64 << 20)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 65_536 + 4096
    frame = masked(Opcode.TEXT, bomb[:60_000])
    frame = bytes([frame[0] | 0x40]) + frame[1:]
    offer = "Sec-WebSocket-Protocol: presenced.v1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    async with attacked_server(compression=True) as target, target.attack():
        for _ in range(CROWD):  # 256 KiB each would be 50 MiB
            async with raw(target.port) as client:
                await client.send(upgrade("?userId=good", more=offer))
                assert (await client.answer()).headers["sec-websocket-extensions"].startswith("permessage-deflate")
                await client.send(frame)
                assert (await client.close_frame()).code == 1009


OFFERS = [
    "permessage-deflate; server_max_window_bits=99",
    "permessage-deflate; client_max_window_bits=7; client_max_window_bits=7",
    "constructor",
    "__proto__; constructor=toString",
    "permessage-deflate; " * 200,
    ";;;,,,===",
    '"' * 500,
    "a" * 8000,
    " " * 8000,
    ", " * 4000,
]


@pytest.mark.parametrize("header", ["Extensions", "Protocol"])
async def test_a6_bad_offers(header: str) -> None:
    async with attacked_server(compression=True) as target, target.attack():
        for offer in OFFERS:
            async with raw(target.port) as client:
                await client.send(upgrade("?userId=good", more=f"Sec-WebSocket-{header}: {offer}\r\n"))
                assert (await client.answer()).status in (101, 400)


FLOODS = {
    "pings": masked(Opcode.PING, b"x" * 125) * 100,
    "pongs": masked(Opcode.PONG, b"x") * 1000,
    "empty messages": masked(Opcode.TEXT) * 1000,
    "messages": masked(Opcode.TEXT, b'{"type":"PING"}') * 100,
    "large messages": masked(Opcode.BINARY, b"x" * 65_000),
}


@pytest.mark.parametrize("subprotocol", ["", "presenced.v1"])
@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
async def test_a7_floods(data: bytes, subprotocol: str) -> None:
    more = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    async with attacked_server(input_burst=200_000) as target, target.attack():

        async def attack(_: int) -> int:
            async with raw(target.port) as client:
                await client.send(upgrade("?userId=good", more=more))
                await client.answer()
                sending = asyncio.create_task(flood(client, data))
                try:
                    return (await client.close_frame()).code
                finally:
                    sending.cancel()

        codes = await asyncio.gather(*(attack(n) for n in range(20)), return_exceptions=True)
        assert {code for code in codes if isinstance(code, int)} <= {4429}
        assert all(isinstance(code, int | ConnectionError | AssertionError) for code in codes), "all were cut off"


async def test_a7_floods_before_authentication() -> None:
    environ = {"PRESENCED_JWT_KEY": "s" * 40}
    good = jwt.encode({"sub": "good", "exp": int(time.time()) + 600}, "s" * 40)
    async with attacked_server(environ, good, auth="jwt", auth_timeout=2) as target, target.attack():

        async def attack(_: int) -> None:
            async with raw(target.port, limit=1024) as client:
                client.writer.transport.get_extra_info("socket").setsockopt(1, 8, 2048)  # SO_RCVBUF: it reads nothing
                await client.send(upgrade("?userId=good"))
                await flood(client, masked(Opcode.PING, b"x" * 125) * 100, 500)

        results = await asyncio.gather(*map(attack, range(50)), return_exceptions=True)
        assert not any(isinstance(result, TimeoutError) for result in results), "the kernel keeps no connection either"
    assert "Traceback" not in target.server.output


async def test_a7_closes() -> None:
    async with attacked_server() as target, target.attack():

        async def attack(_: int) -> None:
            async with raw_websocket(target.port, "?userId=good") as client:
                await client.send(masked(Opcode.CLOSE, b"\x03\xe8") * 1000)
                await client.closed()

        await crowd(CROWD, attack)


async def test_a8_clients_that_never_read() -> None:
    async with attacked_server(behind_timeout=2) as target, target.attack(growth=32):

        async def attack(_: int) -> None:
            more = "Sec-WebSocket-Protocol: presenced.v1\r\n"
            async with raw(target.port, limit=1024) as client:
                client.writer.transport.get_extra_info("socket").setsockopt(1, 8, 2048)  # SO_RCVBUF
                await client.send(upgrade("?userId=good", more=more))
                await flood(client, masked(Opcode.TEXT, b'{"type":"PING","id":"' + b"x" * 60 + b'"}') * 50, 100)
                await asyncio.sleep(3)

        await crowd(50, attack)


async def test_a9_addresses_behind_a_proxy_are_limited_separately_and_cannot_be_forged() -> None:
    limited = attacked_server(trusted_proxies="127.0.0.1", address_burst=10, address_rate=0.01, address_connections=30)
    async with limited as target, target.attack():

        async def connect_from(forwarded_for: str) -> int:
            async with raw(target.port) as client:
                await client.send(upgrade("?userId=good", more=f"X-Forwarded-For: {forwarded_for}\r\n"))
                answer = await client.answer()
                if answer.status == 429:
                    assert int(answer.headers["retry-after"]) > 0
                    assert answer.problem["code"] == "TOO_MANY_REQUESTS"
                return answer.status

        forged = [await connect_from(f"10.9.8.{number}, 203.0.113.7") for number in range(15)]
        assert forged == [101] * 10 + [429] * 5, "entries that the client invented have no effect"
        assert await connect_from("203.0.113.8") == 101
        six = [await connect_from(f"2001:db8::{number:x}") for number in range(11)]
        assert six == [101] * 10 + [429], "a /64 is one address"


async def test_a9_connections_of_one_user_are_limited() -> None:
    async with attacked_server(user_connections=20) as target, target.attack(), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(raw_websocket(target.port, "?userId=7")) for _ in range(25)]
        for client in clients[:20]:
            assert (await client.frame()).opcode is Opcode.TEXT
        for client in clients[20:]:
            assert (await client.close_frame()).code == 4421


GET = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMUGGLING = {
    "both lengths": f"{GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    "two lengths": f"{GET}Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    "a list of lengths": f"{GET}Content-Length: 0, {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
    "a signed length": f"{GET}Content-Length: +0\r\n\r\n{SMUGGLED}",
    "chunked, hidden": f"{GET}Transfer-Encoding: xchunked\r\n\r\n{SMUGGLED}",
    "a bare LF": f"GET /healthz HTTP/1.1\nHost: localhost\n\n{SMUGGLED}",
    "a space before the colon": f"{GET}Content-Length : 5\r\n\r\n{SMUGGLED}",
    "a folded header": f"{GET}A: b\r\n c\r\n\r\n{SMUGGLED}",
    "NUL in a header": f"{GET}A: b\0c\r\n\r\n{SMUGGLED}",
    "CR in a header": f"{GET}A: b\rc\r\n\r\n{SMUGGLED}",
    "a bad chunk": f"{GET}Transfer-Encoding: chunked\r\n\r\nzz\r\n{SMUGGLED}",
}


@pytest.mark.parametrize("request_", SMUGGLING.values(), ids=SMUGGLING)
async def test_a10_smuggling(request_: str) -> None:
    async with attacked_server() as target, target.attack(), raw(target.port) as client:
        await client.send(request_.encode("latin-1"))
        answers = await client.closed()
        last = answers[answers.rindex(b"HTTP/1.1 ") :]
        assert last.startswith(b"HTTP/1.1 400"), answers
        assert b"presenced_connections" not in answers, "the hidden request was not carried out"


@pytest.mark.parametrize(
    "more",
    ["X: y\r\n" * 2000, "X: " + " " * 32_768 + "\r\n", "X: " + "y" * 32_768 + "\r\n", "Content-Length: 5\r\n"],
    ids=["2,000 headers", "32 KB of spaces", "a long header", "a body"],
)
async def test_a10_heads_that_are_too_much(more: str) -> None:
    async with attacked_server() as target, target.attack():
        for _ in range(20):
            async with raw(target.port) as client:
                await client.send(upgrade("?userId=good", more=more))
                assert (await client.answer()).status in (400, 431)


async def test_a10_bytes_behind_a_failed_upgrade_are_no_request() -> None:
    async with attacked_server() as target, target.attack(), raw(target.port) as client:
        await client.send(upgrade("?userId=good").replace(b"Version: 13", b"Version: 12") + SMUGGLED.encode())
        answers = await client.closed()
        assert answers.count(b"HTTP/1.1 ") == 1
        assert answers.startswith(b"HTTP/1.1 426")


REFUSED_IDS = ["a%0D%0AINFO%20forged", "%1B%5B2Jx", "a%00b", "%E2%80%AEada", "%ED%A0%80", "x" * 129, "%ff"]
STRANGE_IDS = ["__proto__", "constructor", "toString", "<img src=x onerror=alert(1)>", "' OR 1=1 --", "{{7*7}}", "%25s"]


async def test_a11_hostile_ids() -> None:
    async with attacked_server() as target, target.attack():
        for user_id in REFUSED_IDS:
            async with raw_websocket(target.port, f"?userId={user_id}") as client:
                assert (await client.close_frame()).code == 4400
        async with contextlib.AsyncExitStack() as stack:
            for user_id in STRANGE_IDS:
                quoted = user_id.replace(" ", "%20").replace("<", "%3C").replace(">", "%3E").replace("{", "%7B")
                await stack.enter_async_context(raw_websocket(target.port, f"?userId={quoted.replace('}', '%7D')}"))
            async with asyncio.timeout(PATIENCE):
                while len(target.seen_users) < len(STRANGE_IDS):
                    await asyncio.sleep(0.01)
        assert set(target.seen_users) == {user_id.replace("%25", "%") for user_id in STRANGE_IDS}
        for line in target.server.output.splitlines():
            assert line.isprintable()
            assert not line.startswith("INFO forged")


async def test_a12_thousands_of_bad_tokens() -> None:
    secret = "s" * 40
    good = jwt.encode({"sub": "good", "exp": int(time.time()) + 600}, secret)
    bad = [
        "",
        "x",
        "a.b.c",
        "ey" * 3000,
        jwt.encode({"sub": "eve", "exp": 1}, secret),
        jwt.encode({"sub": "eve"}, "t" * 40),
    ]
    environ = {"PRESENCED_JWT_KEY": secret}
    async with attacked_server(environ, good, auth="jwt", auth_timeout=1) as target, target.attack():

        async def attack(number: int) -> None:
            async with raw_websocket(target.port, f"?token={bad[number % len(bad)]}") as client:
                assert (await client.close_frame()).code == 4401

        for _ in range(5):
            await asyncio.gather(*(attack(number) for number in range(CROWD)))
        assert target.seen_users == []
