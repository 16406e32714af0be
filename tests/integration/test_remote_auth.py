"""Keys from a URL, and the application's own hook: real servers on loopback, that fail in every way."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from tests.support.api_client import api_client as api_of
from tests.support.callback_server import (
    CallbackServer,
    Handler,
    callback_server,
    come,
    elsewhere,
    house_of_hook,
    key_server,
    large,
    nonsense,
    outcome,
    refusing,
    slow,
)
from tests.support.certificates import write_certificate
from tests.support.process import ServerProcess
from tests.support.server import metric, server, until
from tests.support.tokens import KEY
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from presenced.auth import jwks as key_set
from presenced.errors import Close
from presenced.net.http_client import signed

pytestmark = pytest.mark.anyio


# Keys.


async def test_keys_come_from_the_url_and_new_ones_when_a_token_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_set, "MIN_PAUSE", 0.0)
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with key_server(issuer) as running:
            assert await come(running, issuer.token()) == (0, "ada")
            issuer.new_key("b")
            assert await come(running, issuer.token("bo")) == (0, "bo")
            assert len(issuer.requests) == 2
            issuer.keys = issuer.keys[1:]
            assert await come(running, issuer.token()) == (0, "ada")
            assert len(issuer.requests) == 2, "known keys are not asked for"


async def test_tokens_with_made_up_keys_do_not_make_it_ask_without_end() -> None:
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with key_server(issuer) as running:
            assert await come(running, issuer.token()) == (0, "ada")
            forger = CallbackServer()
            for number in range(50):
                forger.new_key(f"x{number}")
                code, says = await come(running, forger.token())
                assert (code, says) == (4401, "the token is signed with a key or algorithm that is not accepted")
            assert len(issuer.requests) == 1
            forger.keys[-1] = ("a", forger.keys[-1][1])
            assert (await come(running, forger.token()))[1] == "the token's signature does not fit any key"


async def test_while_the_issuer_is_down_its_keys_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with key_server(issuer, jwt_jwks_refresh=1) as running:
            assert await come(running, issuer.token()) == (0, "ada")

            async def down(_: web.Request) -> web.StreamResponse:
                return web.Response(status=500)

            issuer.handler = down
            await until(lambda: len(issuer.requests) >= 2)
            assert await come(running, issuer.token()) == (0, "ada")


@pytest.mark.parametrize("handler", [large, slow, elsewhere, nonsense, refusing])
async def test_without_any_key_clients_are_told_to_come_back(
    handler: Handler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("presenced.auth.factory.JWKS_TIMEOUT", 0.5)
    async with callback_server() as issuer:
        issuer.new_key("a")
        issuer.handler = handler
        async with key_server(issuer) as running:
            code, says = await come(running, issuer.token())
            assert (code, says) == (1013, "the user cannot be authenticated now; retry later")
            assert len(issuer.requests) == 1, "a redirect is not followed"
    assert "gave no keys" in caplog.text


async def test_by_tls_the_certificate_is_held_to_the_name(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with callback_server(context) as issuer:
        issuer.new_key("a")
        for trusted, expected in ((str(certificate), 0), ("/dev/null", 1013)):
            environ = {"SSL_CERT_FILE": trusted, "SSL_CERT_DIR": "/nonexistent"}
            process = ServerProcess(environ, auth="jwt", jwt_jwks_url=issuer.url, outgoing_private=True)
            await asyncio.to_thread(process.start)
            try:
                url = f"{process.websocket_url}?token={issuer.token()}"
                async with connect(url, proxy=None) as socket:
                    assert (await outcome(socket))[0] == expected, process.output
            finally:
                await asyncio.to_thread(process.kill)


# The hook.


async def test_the_hook_says_whose_a_token_is_and_knows_who_asks() -> None:
    async with callback_server() as application:

        async def who(request: web.Request) -> web.StreamResponse:
            return web.json_response({"userId": 7, "expiresIn": 60, "x-more": True})

        application.handler = who
        async with house_of_hook(application, callback_secret="s3cret") as running:
            assert await come(running, "session-of-7") == (0, 7)  # type: ignore[comparison-overlap]  # a number
        (request,) = application.requests
        assert application.bodies == [b'{"token":"session-of-7"}']
        timestamp = int(request.headers["presenced-timestamp"])
        assert abs(timestamp - time.time()) < 60
        for name, value in signed("s3cret", timestamp, application.bodies[0]).items():
            assert request.headers[name] == value
        assert request.headers["host"].startswith("localhost:")


@pytest.mark.parametrize("wrong", [{"expires_in": 60}, {"presense": {"watch": []}}, {"presence": None}])
async def test_a_hook_s_answer_with_a_misspelt_restriction_lets_nobody_in(
    wrong: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with callback_server() as application:

        async def who(request: web.Request) -> web.StreamResponse:
            return web.json_response({"userId": 7, **wrong})

        application.handler = who
        async with house_of_hook(application) as running:
            assert (await come(running, "session-of-7"))[0] == Close.TRY_AGAIN_LATER.code
    (name,) = wrong
    assert name in caplog.text, "the log names the field"


async def test_the_hook_s_answer_may_end_and_may_be_remembered() -> None:
    async with callback_server() as application:

        async def who(request: web.Request) -> web.StreamResponse:
            return web.json_response({"userId": "ada", "expiresIn": 1})

        application.handler = who
        async with house_of_hook(application, callback_cache=60) as running:
            async with connect(f"ws://127.0.0.1:{running.port}/ws-online-status?token=t", proxy=None) as socket:
                assert await outcome(socket) == (0, "ada")
                assert await outcome(socket) == (4401, "the token has expired")
            await come(running, "t")
            assert len(application.requests) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_what_the_hook_does_not_accept_is_refused(status: int) -> None:
    async with callback_server() as application:

        async def refuse(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status)

        application.handler = refuse
        async with house_of_hook(application) as running:
            assert await come(running, "t") == (4401, "the token is not accepted")


@pytest.mark.parametrize("handler", [large, slow, elsewhere, nonsense, refusing])
async def test_while_the_hook_fails_clients_are_told_to_come_back(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    async with callback_server() as application:
        application.handler = handler
        async with house_of_hook(application, callback_timeout=0.5) as running:
            assert (await come(running, "secret-token"))[0] == 1013
            assert len(application.requests) == 1
    assert "callback_url" in caplog.text
    assert "secret-token" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("presenced"))


async def test_a_backend_that_is_not_there_at_all() -> None:
    async with callback_server() as application:
        running = house_of_hook(application)
    async with running:
        assert (await come(running, "t"))[0] == 1013


async def test_only_so_many_are_asked_at_a_time_and_others_are_served() -> None:
    async with callback_server() as application:
        release, most, now = asyncio.Event(), 0, 0

        async def who(_: web.Request) -> web.StreamResponse:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await release.wait()
            now -= 1
            return web.json_response({"userId": "ada"})

        application.handler = who
        async with house_of_hook(application, callback_concurrency=3, callback_timeout=10) as running:
            coming = [asyncio.create_task(come(running, f"t{number}")) for number in range(10)]
            await until(lambda: metric(running, "presenced_unauthenticated") == 10)
            await until(lambda: now == 3)
            release.set()
            assert await asyncio.gather(*coming) == [(0, "ada")] * 10
            assert most == 3


@pytest.mark.parametrize("presence", [{"watch": ["bo"]}, {"watch": "*", "block": ["eve"]}])
async def test_a_hook_says_whom_somebody_may_see(presence: dict[str, Any]) -> None:
    async with callback_server() as application:
        allowed: dict[str, Any] = {"ada": presence, "bo": {}, "eve": {}, "7": {"watch": "*"}}

        async def whom(request: web.Request) -> web.StreamResponse:
            asked = json.loads(application.bodies[-1])["userId"]
            return web.json_response(allowed[str(asked)])

        application.handler = whom
        settings = {"visibility": "callback", "visibility_url": application.url, "outgoing_private": True}
        secret = "s" * 40
        tokens = {u: jwt.encode({"sub": u, "exp": int(time.time()) + 600}, secret) for u in ("ada", "bo", "eve", 7)}
        async with server(auth="jwt", jwt_key=secret, callback_cache=60, **settings) as running:
            url = f"ws://127.0.0.1:{running.port}/ws-online-status?token="
            async with connect(url + tokens["ada"], proxy=None) as ada:
                assert await outcome(ada) == (0, "ada")
                for user_id in ("eve", "bo"):
                    async with connect(url + tokens[user_id], proxy=None) as other:
                        await outcome(other)
                assert await outcome(ada) == (0, "bo"), "the first that it hears of"
            asked = len(application.requests)
            assert await come(running, tokens["ada"]) == (0, "ada")
            assert len(application.requests) == asked, "it is remembered"
            application.handler = nonsense
            assert (await come(running, tokens[7]))[0] == 1013
            assert (await come(running, "forged"))[0] == 4401


async def test_a_returning_stream_sees_the_users_that_the_hook_names_then() -> None:
    """The result is not the user from the first use of the ticket."""
    async with callback_server() as application:
        allowed: dict[str, Any] = {"watch": ["bo", "eve"], "roles": ["causes"]}

        async def whom(_: web.Request) -> web.StreamResponse:
            return web.json_response(allowed)

        application.handler = whom
        settings = {"visibility": "callback", "visibility_url": application.url, "outgoing_private": True}
        async with server(auth="ticket", api_keys=[KEY.entry], **settings) as running, api_of(running, KEY.key) as api:
            await api.announce("bo")
            await api.announce("eve")
            made = (await api.ask("POST", "/tickets", {"userId": "ada"})).json()["ticket"]
            path = f"/watch?everyone=true&token={made}"
            async with api_of(running) as page, page.events(path) as events:
                event = await anext(events)
                assert [user["userId"] for user in event.data["users"]] == ["bo", "eve"]
                assert "cause" in event.data["users"][0]
            allowed = {"watch": ["bo"]}
            secret = event.id.partition(".")[2]
            async with api_of(running) as page, page.events(path, last_event_id=f".{secret}") as events:
                (seen,) = (await anext(events)).data["users"]
                assert seen["userId"] == "bo"
                assert "cause" not in seen


async def test_a_hook_can_say_that_a_token_is_genuine_and_over() -> None:
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    office = {"x-forwarded-for": "203.0.113.7"}
    async with callback_server() as application:

        async def who(_: web.Request) -> web.StreamResponse:
            asked = json.loads(application.bodies[-1])["token"]
            if asked == "forged":
                return web.Response(status=401)
            return web.json_response({"userId": "ada", "expiresIn": 0 if asked == "old" else 60})

        application.handler = who
        async with house_of_hook(application, **limits) as running:
            for _ in range(3):
                assert await come(running, "old", **office) == (4401, "the token has expired")
            assert await come(running, "good", **office) == (0, "ada")
            assert (await come(running, "forged", **office))[0] == 4401
            with pytest.raises(InvalidStatus):
                await come(running, "good", **office)


async def test_a_secret_that_everybody_can_read_is_none() -> None:
    async with callback_server() as issuer:

        async def leaky(_: web.Request) -> web.StreamResponse:
            return web.json_response({"keys": [{"kty": "oct", "k": "QUFB" * 16, "kid": "a"}]})

        issuer.handler = leaky
        forged = jwt.encode({"sub": "ada", "exp": int(time.time()) + 60}, b"AAA" * 16, "HS256", {"kid": "a"})
        async with key_server(issuer) as running:
            assert (await come(running, forged))[0] == 1013


async def test_a_server_that_stops_asks_no_more() -> None:
    async with callback_server() as application:
        application.handler = slow
        async with house_of_hook(application, callback_timeout=20) as running:
            socket: Any = await connect(f"ws://127.0.0.1:{running.port}/ws-online-status?token=t", proxy=None)
            await until(lambda: application.requests)
            started = time.monotonic()
        assert time.monotonic() - started < 10
        await socket.close()
