"""Authentication to a running server, by each method and each way to send a token."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import jwt
import pytest
from tests.support.server import metric, server
from tests.support.tokens import SECRET, WRITE, call_api, close_of, first_message, token, token_server, url
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from presenced import PresenceServer, Principal, Settings
from presenced.errors import ConfigError

pytestmark = pytest.mark.anyio


async def test_a_token_in_a_header_authenticates_a_connection() -> None:
    async with token_server() as running:
        headers = {"Authorization": f"Bearer {token(7)}"}
        async with connect(url(running), additional_headers=headers, proxy=None) as socket:
            assert (await first_message(socket))["userId"] == 7


@pytest.mark.parametrize(("protocol", "agreed"), [("presenced.v1", "presenced.v1"), ("presenced.classic",) * 2])
async def test_a_token_beside_the_subprotocol_authenticates_a_connection(protocol: str, agreed: str) -> None:
    async with token_server() as running:
        offered = [Subprotocol(protocol), Subprotocol(f"presenced.token.{token()}")]
        async with connect(url(running, "?userId=ada"), subprotocols=offered, proxy=None) as socket:
            assert socket.subprotocol == agreed
            assert socket.response
            assert "token" not in str(socket.response.headers)
            greeting = await first_message(socket)
            assert greeting["userId"] == "ada"
            assert ("sessionId" in greeting) is (protocol == "presenced.v1")


async def test_a_token_in_the_url_authenticates_a_connection() -> None:
    async with token_server() as running, connect(url(running, f"?token={token()}"), proxy=None) as socket:
        assert (await first_message(socket))["userId"] == "ada"


async def test_a_token_in_a_message_authenticates_a_connection() -> None:
    async with token_server() as running, connect(url(running, "?userId=ada"), proxy=None) as socket:
        await socket.send(json.dumps({"type": "AUTH", "token": token()}))
        assert (await first_message(socket))["userId"] == "ada"


async def test_connections_without_a_good_token_are_closed_and_nobody_is_notified() -> None:
    async with token_server(auth_timeout=0.2) as running:
        watched = url(running, f"?token={token('watcher')}")
        async with connect(watched, proxy=None) as watcher:
            await first_message(watcher)
            for query, says in (
                ("", "this server requires a token, and none came within 0.2 s: set the client's token, or send AUTH"),
                (f"?token={token(seconds=-60)}", "the token has expired"),
                ("?token=nonsense", "the token is not a JSON Web Token"),
                (f"?token={jwt.encode({'sub': 1}, SECRET[::-1])}", "the token's signature does not fit any key"),
            ):
                async with connect(url(running, query), proxy=None) as socket:
                    assert await close_of(socket) == (4401, says)
            async with connect(url(running, f"?userId=bo&token={token()}"), proxy=None) as socket:
                assert (await close_of(socket))[0] == 4403
            async with connect(url(running, f"?token={token('bo')}"), proxy=None) as other:
                await first_message(other)
                assert (await first_message(watcher))["userId"] == "bo", "the first change it receives"


async def test_the_end_of_a_token_closes_its_connection() -> None:
    async with token_server(jwt_leeway=0) as running:
        started = time.monotonic()
        async with connect(url(running, f"?token={token(seconds=4)}"), proxy=None) as socket:
            await first_message(socket)
            assert await close_of(socket) == (4401, "the token has expired")
            assert time.monotonic() - started < 4 + 5


async def test_a_revocation_closes_connections_and_holds() -> None:
    async with token_server() as running:
        old = token(jti="t1")
        async with connect(url(running, f"?token={old}"), proxy=None) as socket:
            await first_message(socket)
            answer = await call_api(running, "POST", "/api/users/ada/revoke")
            assert (answer.status_code, answer.json()) == (200, {"closed": 1})
            assert await close_of(socket) == (4401, "the token was revoked")
        async with connect(url(running, f"?token={old}"), proxy=None) as socket:
            assert await close_of(socket) == (4401, "the token was revoked")
        fresh = token(iat=int(time.time()) + 5)
        async with connect(url(running, f"?token={fresh}"), proxy=None) as socket:
            await first_message(socket)


async def test_an_erased_user_is_disconnected_and_may_return_with_a_new_token() -> None:
    async with token_server() as running:
        async with connect(url(running, f"?token={token()}"), proxy=None) as socket:
            await first_message(socket)
            assert (await call_api(running, "DELETE", "/api/v1/users/ada")).json() == {"closed": 1, "stored": 0}
            assert await close_of(socket) == (4401, "the token was revoked")
        async with connect(url(running, f"?token={token(iat=int(time.time()) + 5)}"), proxy=None) as socket:
            await first_message(socket)


async def test_one_token_is_revoked_by_its_id_or_by_its_session() -> None:
    async with token_server() as running:
        v1 = [Subprotocol("presenced.v1")]
        one, other = token(jti="t1"), token(seconds=599)
        async with (
            connect(url(running, f"?token={one}"), proxy=None) as first_socket,
            connect(url(running, f"?token={other}"), subprotocols=v1, proxy=None) as second,
        ):
            await first_message(first_socket)
            session = (await first_message(second))["sessionId"]
            assert (await call_api(running, "POST", "/api/users/ada/revoke", body={"tokenId": "t1"})).json() == {
                "closed": 1
            }
            assert (await close_of(first_socket))[0] == 4401
            answer = await call_api(running, "POST", "/api/users/ada/revoke", body={"sessionId": session})
            assert answer.json() == {"closed": 1}
            assert (await close_of(second))[0] == 4401


@pytest.mark.parametrize(("visibility", "presence"), [("claims", {"watch": ["bo"]}), ("everyone", {"block": ["eve"]})])
async def test_a_ticket_names_the_visible_users(visibility: str, presence: dict[str, Any]) -> None:
    async with server(auth="ticket", api_keys=[WRITE.entry], visibility=visibility) as running:
        tickets = {}
        for user_id, more in (("ada", {"presence": presence}), ("bo", {}), ("eve", {})):
            answer = await call_api(running, "POST", "/api/tickets", WRITE.key, {"userId": user_id, **more})
            tickets[user_id] = answer.json()["ticket"]
        bad = await call_api(running, "POST", "/api/tickets", WRITE.key, {"userId": 1, "presence": {"watch": 7}})
        assert (bad.status_code, bad.json()["code"]) == (400, "BAD_BODY")
        async with connect(url(running, f"?token={tickets['ada']}"), proxy=None) as ada:
            await first_message(ada)
            for user_id in ("eve", "bo"):
                async with connect(url(running, f"?token={tickets[user_id]}"), proxy=None) as other:
                    await first_message(other)
            assert (await first_message(ada))["userId"] == "bo", "the first change it receives"


async def test_a_ticket_opens_one_connection() -> None:
    async with server(auth="ticket", api_keys=[WRITE.entry]) as running:
        answer = await call_api(running, "POST", "/api/tickets", WRITE.key, {"userId": 7})
        assert answer.status_code == 201
        made = answer.json()
        assert (made["userId"], made["expiresIn"]) == (7, 30)
        assert answer.headers["cache-control"] == "no-store"
        async with connect(url(running, f"?token={made['ticket']}"), proxy=None) as socket:
            assert (await first_message(socket))["userId"] == 7
        async with connect(url(running, f"?token={made['ticket']}"), proxy=None) as socket:
            assert (await close_of(socket))[0] == 4401


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ((), "https://evil.example", 403),
        ((), "null", 403),
        ((), "http://localhost:3000", 101),
        (("https://app.example.com",), "https://app.example.com", 101),
        (("https://app.example.com",), "https://app.example.com.evil", 403),
        (("https://app.example.com",), "http://app.example.com", 403),
        (("https://app.example.com",), "http://localhost:3000", 403),
        (("https://*.example.com",), "https://a.example.com", 101),
    ],
)
async def test_foreign_origins_are_refused(origins: tuple[str, ...], origin: str, status: int) -> None:
    async with server(origins=origins) as running:
        coming = connect(url(running, "?userId=1"), additional_headers={"Origin": origin}, proxy=None)
        if status == 101:
            async with coming as socket:
                await first_message(socket)
        else:
            with pytest.raises(InvalidStatus) as caught:
                await coming
            assert caught.value.response.status_code == status
            assert json.loads(caught.value.response.body)["code"] == "FORBIDDEN_ORIGIN"
        assert metric(running, "presenced_connections_opened_total") == (status == 101)


async def test_a_server_without_a_usable_key_does_not_start() -> None:
    for settings, says in (
        ({"auth": "jwt", "jwt_key": "short"}, "at least 32"),
        ({"auth": "jwt", "jwt_key_file": "/nonexistent"}, "can't read"),
        ({"auth": "jwt", "jwt_key": SECRET, "jwt_algorithms": "RS256"}, "jwt_algorithms"),
        ({"origins": "example.com"}, "origins"),
        ({"api_keys": "admin"}, "api_keys"),
    ):
        running = server(**settings)
        with pytest.raises(ConfigError, match=says):
            await running.start()


async def test_no_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    bad, good = token()[:-4], token()
    async with token_server(log_level="debug") as running:
        for given in (bad, good):
            async with connect(url(running, f"?token={given}"), proxy=None) as socket:
                await (first_message(socket) if given == good else close_of(socket))
        exposition = (await call_api(running, "GET", "/metrics")).text
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("presenced"))
    assert "User ada connected" in ours
    for part in (*bad.split("."), *good.split("."), SECRET):
        assert part not in ours
        assert part not in exposition


async def test_a_function_of_the_program_authenticates_tokens(caplog: pytest.LogCaptureFixture) -> None:
    async def later(given: str) -> Principal | None:
        await asyncio.sleep(0)
        return Principal("bo", time.time() + 600) if given == "later" else None

    def function(given: str) -> Any:
        if given == "fault":
            raise RuntimeError("oh")
        return (
            {"now": 7, "never": None, "newline": "a\nb"}.get(given) if given not in ("later", "other") else later(given)
        )

    async with PresenceServer(Settings(port=0, auth="callable", stats_interval=0), function) as running:
        for given, expected in (("now", 7), ("later", "bo")):
            async with connect(url(running, f"?token={given}"), proxy=None) as socket:
                assert (await first_message(socket))["userId"] == expected
        for given, code in (("never", 4401), ("other", 4401), ("fault", 1013), ("newline", 1013), ("x" * 9000, 4401)):
            async with connect(url(running, f"?token={given}"), proxy=None) as socket:
                assert (await close_of(socket))[0] == code
    with pytest.raises(ConfigError, match="authenticate"):
        await PresenceServer(Settings(port=0, auth="callable")).start()
    with pytest.raises(ConfigError, match="callable"):
        PresenceServer(Settings(), function)
    assert "authentication function failed: RuntimeError" in caplog.text


async def test_the_text_of_a_function_s_exception_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    sessions: dict[str, str] = {}
    given = "a-token-that-is-in-the-text-of-the-exception"
    async with PresenceServer(Settings(port=0, auth="callable"), lambda token: sessions[token]) as running:
        for _ in range(20):
            async with connect(url(running, f"?token={given}"), proxy=None) as socket:
                assert (await close_of(socket))[0] == 1013
    assert given not in caplog.text
    assert 1 <= caplog.text.count("failed: KeyError") < 20, "clients cannot fill the log either"
