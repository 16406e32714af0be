"""What a backend may do over HTTP, and what others may not."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.support.raw import PATIENCE
from tests.support.server import server
from tests.support.tokens import KEY, READ, WRITE, ask, closed, first, token, token_server, url
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.anyio

KEYS = {"none": "", "unknown": "pk_nonsense", "read": READ.key, "write": WRITE.key, "admin": KEY.key}


@pytest.mark.parametrize(
    ("who", "path", "body", "status", "code"),
    [
        ("none", "/api/users/ada/revoke", None, 401, "UNAUTHORIZED"),
        ("unknown", "/api/users/ada/revoke", None, 401, "UNAUTHORIZED"),
        ("write", "/api/users/ada/revoke", None, 403, "FORBIDDEN"),
        ("read", "/api/tickets", {"userId": 1}, 403, "FORBIDDEN"),
        ("write", "/api/tickets", {"userId": 1}, 409, "CONFLICT"),
        ("admin", "/api/users/ada/revoke", {"sessionId": "a", "tokenId": "b"}, 400, "BAD_BODY"),
        ("admin", "/api/users/ada/revoke", {"session": "a"}, 400, "BAD_BODY"),
        ("admin", "/api/users/ada/revoke", [], 400, "BAD_BODY"),
        ("admin", "/api/users/" + "a" * 129 + "/revoke", None, 400, "BAD_BODY"),
        ("admin", "/api/users/ada/revoke", {"tokenId": "x" * 70_000}, 413, "BODY_TOO_LARGE"),
    ],
)
async def test_what_a_backend_may_not_do(who: str, path: str, body: Any, status: int, code: str) -> None:
    async with token_server() as running:
        answer = await ask(running, "POST", path, KEYS[who], body)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == code
        assert KEY.key not in answer.text
        assert (await ask(running, "GET", path, KEYS[who])).status_code == 405


async def test_a_body_without_end_is_refused() -> None:
    async with token_server(close_timeout=0.2) as running:

        async def endless() -> Any:
            while True:
                yield b"x" * 10_000

        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client:
            headers = {"authorization": f"Bearer {KEY.key}"}
            try:
                answer = await client.post("/api/users/ada/revoke", content=endless(), headers=headers)
                assert answer.status_code == 413
            except httpx.TransportError:
                pass  # it was closed while we wrote


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.http.api.dispatch.BODY_PATIENCE", 0.1)
    async with token_server() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /api/v1/watch?users=7 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the body did not arrive within 0.1 s" in answer
        writer.close()


async def test_without_keys_the_api_is_this_machine_s_in_development_only() -> None:
    async with server() as running:
        assert (await ask(running, "POST", "/api/tickets", "", {"userId": 1})).status_code == 409, "it would be allowed"
        for name in ("x-forwarded-for", "forwarded"):
            answer = await ask(running, "POST", "/api/tickets", "", {"userId": 1}, **{name: "127.0.0.1"})
            assert answer.status_code == 401, "a proxy passed it on"
        answer = await ask(running, "POST", "/api/tickets", "", {"userId": 1}, origin="https://evil.example")
        assert answer.json()["code"] == "FORBIDDEN_ORIGIN"
    async with server(auth="ticket") as running:
        assert (await ask(running, "POST", "/api/tickets", "", {"userId": 1})).status_code == 401


async def test_who_is_here_is_told_to_those_with_a_key_only() -> None:
    async with token_server() as running, connect(url(running, f"?token={token()}"), proxy=None) as socket:
        await first(socket)
        hidden = (await ask(running, "GET", "/stats", "")).json()
        assert (hidden["totalConnections"], hidden["userSessions"]) == (1, [])
        shown = (await ask(running, "GET", "/stats", READ.key)).json()
        assert [session["userId"] for session in shown["userSessions"]] == ["ada"]


async def test_how_many_are_here_is_told_to_this_machine_and_to_those_with_a_key() -> None:
    async with token_server() as running:
        elsewhere = {"x-forwarded-for": "203.0.113.7"}
        for path in ("/stats", "/metrics"):
            assert (await ask(running, "GET", path, "")).status_code == 200
            refused = await ask(running, "GET", path, "", **elsewhere)
            assert (refused.status_code, refused.json()["code"]) == (401, "UNAUTHORIZED")
            assert (await ask(running, "GET", path, READ.key, **elsewhere)).status_code == 200
        assert (await ask(running, "GET", "/healthz", "", **elsewhere)).status_code == 200
    async with server() as open_house:
        assert (await ask(open_house, "GET", "/metrics", "", **elsewhere)).status_code == 200


async def test_pages_that_may_connect_may_read_answers_too() -> None:
    async with token_server(origins="https://app.example.com") as running:
        there, evil = {"origin": "https://app.example.com"}, {"origin": "https://app.example.com.evil"}
        answer = await ask(running, "GET", "/stats", READ.key, **there)
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "access-control-allow-credentials" not in answer.headers
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        allowed = await ask(running, "OPTIONS", "/api/tickets", "", **there, **asked)
        assert (allowed.status_code, allowed.headers["access-control-allow-methods"]) == (204, "GET, POST, PUT, DELETE")
        for path in ("/stats", "/api/tickets", "/", "/nothing"):
            answer = await ask(running, "GET", path, READ.key, **evil)
            assert "access-control-allow-origin" not in answer.headers
            assert "Origin" in answer.headers["vary"]
        assert (await ask(running, "OPTIONS", "/api/tickets", "", **evil, **asked)).status_code == 403
        assert "vary" not in (await ask(running, "GET", "/healthz", "")).headers


async def test_who_guesses_keys_or_tokens_is_barred_for_a_while() -> None:
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 3, "address_failure_rate": 0.001}
    async with token_server(**limits) as running:
        there, elsewhere = {"x-forwarded-for": "203.0.113.7"}, {"x-forwarded-for": "203.0.113.8"}
        for status in (401, 401):
            assert (await ask(running, "POST", "/api/tickets", "pk_guess", **there)).status_code == status
        async with connect(url(running, "?token=guess"), additional_headers=there, proxy=None) as socket:
            assert (await closed(socket))[0] == 4401
        barred = await ask(running, "POST", "/api/tickets", KEY.key, **there)
        assert (barred.status_code, barred.json()["code"]) == (429, "TOO_MANY_REQUESTS")
        assert int(barred.headers["retry-after"]) > 100
        with pytest.raises(InvalidStatus) as caught:
            await connect(url(running, f"?token={token()}"), additional_headers=there, proxy=None)
        assert caught.value.response.status_code == 429
        async with connect(url(running, f"?token={token()}"), additional_headers=elsewhere, proxy=None) as socket:
            await first(socket)
