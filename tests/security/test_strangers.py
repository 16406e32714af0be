"""Attacks on authentication, origins and visibility of a running server, like `test_attacks.py`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.attacked_server import AttackedServer, attacked_server
from tests.support.raw import raw, upgrade
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from presenced.auth.api_keys import new_key

pytestmark = pytest.mark.anyio

SECRET = "s" * 40
KEY = new_key("admin")
AUTHORIZED = {"authorization": f"Bearer {KEY.key}"}
ENVIRON = {"PRESENCED_JWT_KEY": SECRET}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


LASTS = 36_000.0
"""Seconds until tokens expire. Some are created when the tests are collected, so this exceeds the time of all tests."""


def token(user_id: str, seconds: float = LASTS, secret: str = SECRET, **claims: Any) -> str:
    return jwt.encode({"sub": user_id, "exp": time.time() + seconds, "aud": "presence", **claims}, secret)


GOOD = token("good", presence={"watch": "*"})


def forged(header: dict[str, Any], **claims: Any) -> str:
    """Return a token with an invalid signature."""
    parts = header, {"sub": "eve", "exp": time.time() + LASTS, "aud": "presence", **claims}
    return ".".join([*(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts), "AAAA"])


BAD_TOKENS = {
    "bad": "a.b.c",
    "expired": token("eve", -60),
    "alg none": forged({"alg": "none"}).rpartition(".")[0] + ".",
    "alg None": forged({"alg": "NoNe"}),
    "another algorithm": forged({"alg": "RS256"}),
    "another secret": token("eve", secret="t" * 40),
    "a key of its own": forged({"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}, "jku": "http://127.0.0.1:9/"}),
    "unknown crit": jwt.encode({"sub": "eve", "exp": time.time() + LASTS}, SECRET, headers={"crit": ["x"], "x": 1}),
    "of the future": token("eve", nbf=time.time() + LASTS / 2),
    "another audience": token("eve", aud="another service"),
    "no end": jwt.encode({"sub": "eve", "aud": "presence"}, SECRET),
    "an end far away": token("eve", 10**9),
    "no user": jwt.encode({"exp": time.time() + LASTS, "aud": "presence"}, SECRET),
}


@contextlib.asynccontextmanager
async def jwt_server(**settings: float | str) -> AsyncIterator[AttackedServer]:
    given = {"auth": "jwt", "jwt_audience": "presence", "api_keys": KEY.entry, "stats_interval": 0, **settings}
    async with attacked_server(ENVIRON, GOOD, **given) as target:
        yield target


async def call_api(target: AttackedServer, method: str, path: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=target.server.url, trust_env=False) as client:
        return await client.request(method, path, **more)


async def close_code(socket: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):  # that is awaited
        async with asyncio.timeout(8):
            async for _ in socket:
                pass
    return socket.close_code


async def test_a1_bad_tokens_are_refused() -> None:
    async with jwt_server() as target, target.attack():
        for given in BAD_TOKENS.values():
            for headers, query in (({"Authorization": f"Bearer {given}"}, ""), ({}, f"?token={given}")):
                url = f"{target.server.websocket_url}{query}"
                async with connect(url, additional_headers=headers, proxy=None) as socket:
                    assert await close_code(socket) == 4401
            async with connect(target.server.websocket_url, proxy=None) as socket:
                await socket.send(json.dumps({"type": "AUTH", "token": given}))
                assert await close_code(socket) == 4401
        async with connect(f"{target.server.websocket_url}?userId=ada&token={token('eve')}", proxy=None) as socket:
            assert await close_code(socket) == 4403
        metrics = (await call_api(target, "GET", "metrics")).text
        assert target.seen_users == [], "no attacker was shown as online"
        for given in BAD_TOKENS.values():
            for part in given.split("."):
                assert len(part) < 5 or (part not in target.server.output and part not in metrics)


FOREIGN = [
    "https://evil.example",
    "null",
    "https://app.example.com.evil",
    "https://evilapp.example.com",
    "http://app.example.com",
    "https://app.example.com:8443",
    "https://app.example.com@evil.example",
    "https://APP.example.com.evil",
    "file://",
    "",
]


async def test_a2_foreign_origins() -> None:
    async with jwt_server(origins="https://app.example.com") as target, target.attack():
        for origin in FOREIGN:
            async with raw(target.port) as client:
                await client.send(upgrade(f"?token={token('eve')}", more=f"Origin: {origin}\r\nCookie: session=1\r\n"))
                assert (await client.answer()).status == 403, origin
        async with raw(target.port) as client:
            await client.send(upgrade(f"?token={token('eve')}", more="Origin: https://app.example.com\r\n"))
            assert (await client.answer()).status == 101


async def test_a12_expiry_and_revocation_while_connected() -> None:
    async with jwt_server(jwt_leeway=0) as target, target.attack():
        url, started = target.server.websocket_url, time.monotonic()
        async with connect(f"{url}?token={token('eve', 2)}", proxy=None) as socket:
            assert await close_code(socket) == 4401
            assert time.monotonic() - started < 2 + 5
        named = token("eve", jti="t1")
        async with (
            connect(f"{url}?token={named}", proxy=None) as one,
            connect(f"{url}?token={token('eve')}", proxy=None) as other,
        ):
            for body, concerned in (({"tokenId": "t1"}, one), ({}, other)):
                answer = await call_api(target, "POST", "api/users/eve/revoke", json=body, headers=AUTHORIZED)
                assert answer.json() == {"closed": 1}
                assert await close_code(concerned) == 4401
        for given in (named, token("eve")):
            async with connect(f"{url}?token={given}", proxy=None) as socket:
                assert await close_code(socket) == 4401


async def test_a13_probing_for_hidden_users() -> None:
    """Responses about a hidden user are the same as about an id that never existed."""
    async with jwt_server(visibility="claims") as target, target.attack():
        hidden = f"{target.server.websocket_url}?token={token('hidden', presence={'rooms': ['den']})}"
        v1 = [Subprotocol("presenced.v1")]
        async with connect(hidden, subprotocols=v1, proxy=None) as socket:
            await socket.send('{"type":"JOIN","room":"den"}')
            received = {
                name: await probed(target, name, room) for name, room in (("hidden", "den"), ("nobody", "nowhere"))
            }
        assert received["hidden"] == received["nobody"]


BLOCKED = ["hidden", "visitor"]
SEEING: dict[str, dict[str, Any]] = {
    "everyone": {"block": BLOCKED},
    "rooms": {"block": BLOCKED},
    "claims": {"block": BLOCKED, "watch": "*", "rooms": ["den", "nowhere"]},
}


@pytest.mark.parametrize("visibility", SEEING)
async def test_a13_probing_for_blocked_users(visibility: str) -> None:
    """They are also the same in rooms that may be entered, and while a blocked user connects, joins and leaves."""
    async with jwt_server(visibility=visibility) as target, target.attack():
        v1, url = [Subprotocol("presenced.v1")], target.server.websocket_url
        hidden, visitor = (f"{url}?token={token(name, presence={'rooms': ['den']})}" for name in BLOCKED)

        async def visit() -> None:
            async with connect(visitor, subprotocols=v1, proxy=None) as socket:
                await socket.send('{"type":"JOIN","room":"den","data":1}')
                await socket.send('{"type":"SET_STATUS","status":"busy","text":"here"}')
                await asyncio.sleep(1.2)  # a digest
            await asyncio.sleep(1.2)

        async with connect(hidden, subprotocols=v1, proxy=None, max_queue=None) as socket:
            await socket.send('{"type":"JOIN","room":"den"}')
            received = {
                name: await probed(target, name, room, SEEING[visibility], visit)
                for name, room in (("hidden", "den"), ("nobody", "nowhere"))
            }
        assert set(received["hidden"]) == set(received["nobody"]), "order and repetition depend on timing"
        assert not any("visitor" in text for text in received["hidden"])


async def nothing() -> None:
    pass


async def until(socket: ClientConnection, is_last: Callable[[dict[str, Any]], bool]) -> list[str]:
    """Return the messages up to the one that `is_last` accepts."""
    came: list[str] = []
    async with asyncio.timeout(10):
        while not came or not is_last(json.loads(came[-1])):
            came.append(str(await socket.recv()))
    return came


def is_settled(number: int, answer: dict[str, Any]) -> bool:
    """Return whether a message is the result of a request about a room: a refusal, or the sender as a member."""
    if answer["type"] == "ERROR":
        return bool(answer["id"] == number)
    return answer["type"] == "ROOM_CHANGES" and any(member["userId"] == "eve" for member in answer["members"])


async def probed(
    target: AttackedServer,
    name: str,
    room: str,
    presence: dict[str, Any] | None = None,
    meanwhile: Callable[[], Awaitable[None]] = nothing,
) -> list[str]:
    """Request this user and this room in every way, with both protocols, and return everything received."""
    url = f"{target.server.websocket_url}?token={token('eve', presence=presence or {'watch': ['good']})}"
    messages: list[dict[str, Any]] = [
        {"type": "WATCH", "everyone": True},
        {"type": "WATCH", "everyone": True, "mode": "count"},
        {"type": "WATCH", "users": [name]},
        {"type": "WATCH", "users": [name], "mode": "count"},
        {"type": "WATCH", "rooms": [room]},
        {"type": "WATCH", "rooms": [room], "mode": "count"},
        {"type": "JOIN", "room": room},
        {"type": "SET_MEMBER", "room": room, "data": {}},
        {"type": "AUTH", "token": token(name, secret="t" * 40)},
    ]
    received = []
    async with (
        connect(url, proxy=None) as classic,
        connect(url, subprotocols=[Subprotocol("presenced.v1")], proxy=None) as socket,
    ):
        came: list[str] = []
        for number, message in enumerate(messages):
            await socket.send(json.dumps({**message, "id": number}))
            if message["type"] in ("JOIN", "SET_MEMBER"):  # otherwise both results may come in one message, or in two
                came += await until(socket, partial(is_settled, number))
        await meanwhile()
        for last in ({"type": "LEAVE", "room": room}, {"type": "UNWATCH", "users": [name], "rooms": [room]}):
            await socket.send(json.dumps(last))
        await socket.send('{"type":"PING","id":"last"}')
        received.append(json.loads(await classic.recv())["type"])
        with contextlib.suppress(TimeoutError):  # nothing may arrive
            received.append(f"classic: {await asyncio.wait_for(classic.recv(), 0.1)!r}")
        came += await until(socket, lambda answer: answer["type"] == "PONG")
        for text in came:
            message = json.loads(text)
            if message["type"] in ("CONNECTION_ESTABLISHED", "SELF", "PONG"):
                continue
            if message["type"] == "PRESENCE_CHANGES" and not message["users"]:
                continue
            for key in ("position", "version"):
                text = re.sub(rf'"{key}":("[^"]*"|\d+)', "", text)
            text = re.sub(r'"(since|joinedAt)":[1-9]\d+', r'"\1":"a time"', text)
            received.append(text.replace(name, "NAME").replace(room, "ROOM"))
    query = f"?userId={name}&token={token('eve')}"
    async with connect(f"{target.server.websocket_url}{query}", proxy=None) as socket:
        received.append(f"{await close_code(socket)} {socket.close_reason}")
    for path in ("stats", f"api/users/{name}", f"users/{name}"):
        answer = await call_api(target, "GET", path)
        assert name not in answer.text.replace(path, "")
        received.append(str(answer.status_code))
    return received


HOSTILE = [
    "\ud800",
    "a\u202eb",
    "\x1b[2J",
    "x" * 20_000,
    "__proto__",
    "constructor",
    "</script><script>alert(1)</script>",
]


async def test_a11_hostile_texts_to_other_clients() -> None:
    async with jwt_server() as target, target.attack():
        url = f"{target.server.websocket_url}?token={token('eve')}"
        async with connect(url, subprotocols=[Subprotocol("presenced.v1")], proxy=None) as socket:
            for text in HOSTILE:
                for message in (
                    {"type": "SET_STATUS", "status": "busy", "text": text},
                    {"type": "SET_STATUS", "status": "busy", "data": {text: {text: [text]}}},
                    {"type": "JOIN", "room": text, "data": {text: text}},
                    {"type": "WATCH", "users": [text]},
                    {"type": text},
                ):
                    await socket.send(json.dumps({**message, "id": 1}))
                    assert json.loads(await asyncio.wait_for(socket.recv(), 5))["type"]
                    await asyncio.sleep(0.15)
        assert all(line.isprintable() for line in target.server.output.splitlines())


GREETING = b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 17\r\n\r\n{"userId":"good"}'


@contextlib.asynccontextmanager
async def backend(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Run a backend that knows `good` and is otherwise hostile. Yields its port and the requests it received."""
    requests: list[bytes] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # the caller has hung up
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readuntil(b"}")
            requests.append(head + body)
            writer.write(GREETING if b'"good"' in body else answer)
            for _ in range(20 if b"endless" in answer and b'"good"' not in body else 0):
                writer.write(b"x" * 65_536)
                await writer.drain()
            await asyncio.sleep(3)
        writer.transport.abort()

    def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer)))

    async with await asyncio.start_server(taken, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], requests
        await asyncio.gather(*serving)


ANSWERS = {
    "leads elsewhere": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/metadata\r\nContent-Length: 0\r\n\r\n",
    "never ends": b"HTTP/1.1 200 OK\r\nX: endless\r\n\r\n",
    "never comes": b"",
    "is no HTTP": b"\0" * 1000,
    "nests": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a14_a_hostile_callback(answer: bytes) -> None:
    environ = {"PRESENCED_CALLBACK_SECRET": "k" * 32}
    async with (
        backend(b"") as (port_elsewhere, requests_elsewhere),
        backend(answer.replace(b"{port}", str(port_elsewhere).encode())) as (port, requests),
    ):
        callback: dict[str, float | str] = {"callback_url": f"http://127.0.0.1:{port}/", "callback_timeout": 1}
        async with attacked_server(environ, "good", auth="callback", outgoing_private=True, **callback) as target:
            async with target.attack():
                coming = [connect(f"{target.server.websocket_url}?token=eve{n}", proxy=None) for n in range(10)]
                assert [await close_code(socket) for socket in await asyncio.gather(*coming)] == [1013] * 10
            assert target.seen_users == []
            assert "Traceback" not in target.server.output
    assert 1 <= len(requests) <= 11, "one request each; on a slow machine some are refused before"
    assert all(b"presenced-signature: v1=" in request.lower() for request in requests)
    assert requests_elsewhere == [], "redirects are not followed"


async def test_a14_private_addresses_get_no_request() -> None:
    private, another = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    lasting = {"exp": time.time() + LASTS}
    good = jwt.encode({"sub": "good", "presence": {"watch": "*"}, **lasting}, private, "ES256")
    async with (
        backend(b"") as (port, requests),
        attacked_server(
            {"PRESENCED_JWT_KEY": public}, good, auth="jwt", jwt_jwks_url=f"https://127.0.0.1:{port}/"
        ) as target,
        target.attack(),
    ):
        unknown = jwt.encode({"sub": "eve", **lasting}, another, "ES256", headers={"kid": "another"})
        async with connect(f"{target.server.websocket_url}?token={unknown}", proxy=None) as socket:
            assert await close_code(socket) == 4401
        assert "private address" in target.server.output
    assert requests == []


async def test_a15_the_page_has_a_strict_policy_and_no_script_of_its_own() -> None:
    async with attacked_server() as target, target.attack():
        for path in (
            "",
            "nothing",
            "healthz",
            "api/tickets",
            "%3Cscript%3Ealert(1)%3C/script%3E",
            "..%2f..%2fetc/passwd",
        ):
            answer = await call_api(target, "GET", path)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "alert(1)" not in answer.text
            assert "root:" not in answer.text
        page = (await call_api(target, "GET", "")).text
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page)), "no inline script"
        assert not re.search(r"\son\w+=|javascript:|<style", page)
