"""Keys from a URL, and callbacks: real servers on loopback, which fail in every way."""

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
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.api_client import api_client
from tests.support.callback_server import (
    CallbackServer,
    Handler,
    callback_server,
    connect_with,
    elsewhere,
    jwks_server,
    large,
    nonsense,
    outcome,
    refusing,
    server_with_callbacks,
    slow,
)
from tests.support.certificates import write_certificate
from tests.support.process import ServerProcess
from tests.support.server import metric, server, until
from tests.support.tokens import KEY
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from presenced.auth import jwks
from presenced.auth.callbacks import signature_headers
from presenced.auth.keys import MAX_KEYS
from presenced.errors import Close

pytestmark = pytest.mark.anyio


# Keys.


async def test_keys_come_from_the_url_and_new_ones_when_a_token_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MIN_REFETCH_S", 0.0)
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with jwks_server(issuer) as running:
            assert await connect_with(running, issuer.token()) == (0, "ada")
            issuer.new_key("b")
            assert await connect_with(running, issuer.token("bo")) == (0, "bo")
            assert len(issuer.requests) == 2
            issuer.keys = issuer.keys[1:]
            assert await connect_with(running, issuer.token()) == (0, "ada")
            assert len(issuer.requests) == 2, "tokens of known keys cause no request"


async def test_tokens_with_invented_keys_cause_a_bounded_number_of_requests() -> None:
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with jwks_server(issuer) as running:
            assert await connect_with(running, issuer.token()) == (0, "ada")
            forger = CallbackServer()
            for number in range(50):
                forger.new_key(f"x{number}")
                code, says = await connect_with(running, forger.token())
                assert (code, says) == (4401, "the token is signed with a key or algorithm that is not accepted")
            assert len(issuer.requests) == 1
            forger.keys[-1] = ("a", forger.keys[-1][1])
            assert (await connect_with(running, forger.token()))[1] == "the token's signature does not fit any key"


async def test_keys_beyond_the_bound_are_left_out_beside_a_key_of_ones_own() -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    public = own.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    async with callback_server() as issuer:
        for number in range(MAX_KEYS):
            issuer.new_key(f"k{number}")
        async with jwks_server(issuer, jwt_key=public) as running:
            issuer.keys = issuer.keys[: MAX_KEYS - 1]
            assert await connect_with(running, issuer.token()) == (0, "ada")


async def test_while_the_issuer_is_down_its_keys_stay_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    async with callback_server() as issuer:
        issuer.new_key("a")
        async with jwks_server(issuer, jwt_jwks_refresh=1) as running:
            assert await connect_with(running, issuer.token()) == (0, "ada")

            async def down(_: web.Request) -> web.StreamResponse:
                return web.Response(status=500)

            issuer.handler = down
            await until(lambda: len(issuer.requests) >= 2)
            assert await connect_with(running, issuer.token()) == (0, "ada")


@pytest.mark.parametrize("handler", [large, slow, elsewhere, nonsense, refusing])
async def test_without_any_key_clients_are_asked_to_retry(
    handler: Handler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("presenced.auth.factory.JWKS_TIMEOUT_S", 3.0)
    async with callback_server() as issuer:
        issuer.new_key("a")
        issuer.handler = handler
        async with jwks_server(issuer) as running:
            code, says = await connect_with(running, issuer.token())
            assert (code, says) == (1013, "the user cannot be authenticated now; retry later")
            assert len(issuer.requests) == 1, "a redirect is not followed"
    assert "gave no keys" in caplog.text


async def test_with_tls_the_certificate_must_match_the_name(tmp_path: Path) -> None:
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


# Callbacks.


async def test_a_callback_names_the_user_and_its_request_is_signed() -> None:
    async with callback_server() as application:

        async def who(request: web.Request) -> web.StreamResponse:
            return web.json_response({"userId": 7, "expiresIn": 60, "x-more": True})

        application.handler = who
        async with server_with_callbacks(application, callback_secret="s3cret") as running:
            assert await connect_with(running, "session-of-7") == (0, 7)  # type: ignore[comparison-overlap]  # a number
        (request,) = application.requests
        assert application.bodies == [b'{"token":"session-of-7"}']
        timestamp = int(request.headers["presenced-timestamp"])
        assert abs(timestamp - time.time()) < 60
        for name, value in signature_headers("s3cret", timestamp, application.bodies[0]).items():
            assert request.headers[name] == value
        assert request.headers["host"].startswith("localhost:")


@pytest.mark.parametrize("wrong", [{"expires_in": 60}, {"presense": {"watch": []}}, {"presence": None}])
async def test_a_callback_response_with_a_misspelt_restriction_admits_nobody(
    wrong: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with callback_server() as application:

        async def who(request: web.Request) -> web.StreamResponse:
            return web.json_response({"userId": 7, **wrong})

        application.handler = who
        async with server_with_callbacks(application) as running:
            assert (await connect_with(running, "session-of-7"))[0] == Close.TRY_AGAIN_LATER.code
    (name,) = wrong
    assert name in caplog.text, "the log names the field"


async def test_a_callback_result_may_expire_and_may_be_cached() -> None:
    async with callback_server() as application:

        async def who(request: web.Request) -> web.StreamResponse:
            return web.json_response({"userId": "ada", "expiresIn": 1})

        application.handler = who
        async with server_with_callbacks(application, callback_cache=60) as running:
            async with connect(f"ws://127.0.0.1:{running.port}/ws-online-status?token=t", proxy=None) as socket:
                assert await outcome(socket) == (0, "ada")
                assert await outcome(socket) == (4401, "the token has expired")
            assert len(application.requests) == 1
            await connect_with(running, "t")
            assert len(application.requests) == 2, "a result that has expired is not used"


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_token_that_the_callback_refuses_is_refused(status: int) -> None:
    async with callback_server() as application:

        async def refuse(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status)

        application.handler = refuse
        async with server_with_callbacks(application) as running:
            assert await connect_with(running, "t") == (4401, "the token is not accepted")


@pytest.mark.parametrize("handler", [large, slow, elsewhere, nonsense, refusing])
async def test_while_the_callback_fails_clients_are_asked_to_retry(
    handler: Handler, caplog: pytest.LogCaptureFixture
) -> None:
    async with callback_server() as application:
        application.handler = handler
        async with server_with_callbacks(application, callback_timeout=3) as running:
            assert (await connect_with(running, "secret-token"))[0] == 1013
            assert len(application.requests) == 1
    assert "callback_url" in caplog.text
    assert "secret-token" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("presenced"))


async def test_clients_retry_while_nothing_listens_at_the_callback_url() -> None:
    async with callback_server() as application:
        running = server_with_callbacks(application)
    async with running:
        assert (await connect_with(running, "t"))[0] == 1013


async def test_simultaneous_callbacks_are_bounded_and_further_ones_wait() -> None:
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
        async with server_with_callbacks(application, callback_concurrency=3, callback_timeout=10) as running:
            coming = [asyncio.create_task(connect_with(running, f"t{number}")) for number in range(10)]
            await until(lambda: metric(running, "presenced_unauthenticated") == 10)
            await until(lambda: now == 3)
            release.set()
            assert await asyncio.gather(*coming) == [(0, "ada")] * 10
            assert most == 3


@pytest.mark.parametrize("presence", [{"watch": ["bo"]}, {"watch": "*", "block": ["eve"]}])
async def test_a_callback_names_the_visible_users(presence: dict[str, Any]) -> None:
    async with callback_server() as application:
        allowed: dict[str, Any] = {"ada": presence, "bo": {}, "eve": {}, "7": {"watch": "*"}}

        async def whom(request: web.Request) -> web.StreamResponse:
            requested = json.loads(application.bodies[-1])["userId"]
            return web.json_response(allowed[str(requested)])

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
                assert await outcome(ada) == (0, "bo"), "the first change it receives"
            before = len(application.requests)
            assert await connect_with(running, tokens["ada"]) == (0, "ada")
            assert len(application.requests) == before, "it is cached"
            application.handler = nonsense
            assert (await connect_with(running, tokens[7]))[0] == 1013
            assert (await connect_with(running, "forged"))[0] == 4401


async def test_a_resuming_stream_sees_the_users_that_the_callback_names_now() -> None:
    """The result is not the user from the first use of the ticket."""
    async with callback_server() as application:
        allowed: dict[str, Any] = {"watch": ["bo", "eve"], "roles": ["causes"]}

        async def whom(_: web.Request) -> web.StreamResponse:
            return web.json_response(allowed)

        application.handler = whom
        settings = {"visibility": "callback", "visibility_url": application.url, "outgoing_private": True}
        async with (
            server(auth="ticket", api_keys=[KEY.entry], **settings) as running,
            api_client(running, KEY.key) as api,
        ):
            await api.announce("bo")
            await api.announce("eve")
            made = (await api.ask("POST", "/tickets", {"userId": "ada"})).json()["ticket"]
            path = f"/watch?everyone=true&token={made}"
            async with api_client(running) as page, page.events(path) as events:
                event = await anext(events)
                assert [user["userId"] for user in event.data["users"]] == ["bo", "eve"]
                assert "cause" in event.data["users"][0]
            allowed = {"watch": ["bo"]}
            secret = event.id.partition("~")[2]
            async with api_client(running) as page, page.events(path, last_event_id=f"~{secret}") as events:
                (seen,) = (await anext(events)).data["users"]
                assert seen["userId"] == "bo"
                assert "cause" not in seen


async def test_a_callback_can_report_a_token_as_expired() -> None:
    limits = {"trusted_proxies": "127.0.0.1", "address_failure_burst": 1, "address_failure_rate": 0.001}
    office = {"x-forwarded-for": "203.0.113.7"}
    async with callback_server() as application:

        async def who(_: web.Request) -> web.StreamResponse:
            requested = json.loads(application.bodies[-1])["token"]
            if requested == "forged":
                return web.Response(status=401)
            return web.json_response({"userId": "ada", "expiresIn": 0 if requested == "old" else 60})

        application.handler = who
        async with server_with_callbacks(application, **limits) as running:
            for _ in range(3):
                assert await connect_with(running, "old", **office) == (4401, "the token has expired")
            assert await connect_with(running, "good", **office) == (0, "ada")
            assert (await connect_with(running, "forged", **office))[0] == 4401
            with pytest.raises(InvalidStatus):
                await connect_with(running, "good", **office)


async def test_a_shared_secret_in_a_public_jwk_set_is_ignored() -> None:
    async with callback_server() as issuer:

        async def leaky(_: web.Request) -> web.StreamResponse:
            return web.json_response({"keys": [{"kty": "oct", "k": "QUFB" * 16, "kid": "a"}]})

        issuer.handler = leaky
        forged = jwt.encode({"sub": "ada", "exp": int(time.time()) + 60}, b"AAA" * 16, "HS256", {"kid": "a"})
        async with jwks_server(issuer) as running:
            assert (await connect_with(running, forged))[0] == 1013


async def test_a_stopping_server_cancels_callbacks() -> None:
    async with callback_server() as application:
        application.handler = slow
        async with server_with_callbacks(application, callback_timeout=20) as running:
            socket: Any = await connect(f"ws://127.0.0.1:{running.port}/ws-online-status?token=t", proxy=None)
            await until(lambda: application.requests)
            started = time.monotonic()
        assert time.monotonic() - started < 10
        await socket.close()
