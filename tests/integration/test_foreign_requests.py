"""Requests with a foreign host name, and of foreign pages, to every route of a running server."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest
from tests.support.raw import Answer, raw, raw_websocket, upgrade
from tests.support.server import metric, node, server, until
from websockets.frames import Opcode

from presenced import PresenceServer
from presenced.auth.api_keys import new_key
from presenced.http.api.routes import ENDPOINTS, TOKENS

pytestmark = pytest.mark.anyio

EVIL = "evil.example:3001"
KEY = new_key("admin")
TOKEN_SETTINGS: dict[str, Any] = {"auth": "jwt", "jwt_key": "s" * 40, "api_keys": [KEY.entry]}

HEALTH = ["/healthz", "/readyz"]
PATHS = ["/", "/index.html", "/docs/", "/stats", "/metrics", "/nothing", "/ws-online-status", "/api/v1/nothing"]


def filled(path: str) -> str:
    return path.replace("{user_id}", "ada").replace("{room}", "lobby").replace("{source}", "calendar")


ROUTES = [
    *(("GET", path, "") for path in PATHS),
    *((e.method, f"/api/v1{filled(e.path)}", e.example if e.takes_body else "") for e in ENDPOINTS),
    *((e.method, f"/api{filled(e.path)}", e.example) for e in TOKENS),
    ("OPTIONS", "/api/v1/users/ada", ""),
    ("POST", "/healthz/", ""),
    ("GET", "//healthz", ""),
]
"""Method, path and body of every route."""


async def call_api(running: PresenceServer, method: str, path: str, body: str = "", **headers: str) -> Answer:
    """Send one request as documented here. `Host` is the server's own unless given."""
    given = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    async with raw(running.port) as client:
        await client.send(f"{method} {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return await client.answer()


async def test_without_authentication_a_foreign_name_is_refused_on_every_route() -> None:
    """With DNS rebinding, a page has the same origin as the server for the browser."""
    async with server() as running:
        running.broadcast_user_status("ada", is_online=True)
        before = running.get_stats()
        for method, path, body in ROUTES:
            for headers in ({}, {"origin": f"http://{EVIL}"}, {"origin": "http://localhost"}):
                answer = await call_api(
                    running, method, path, body, host=EVIL, access_control_request_method="PUT", **headers
                )
                assert (answer.status, answer.problem["code"]) == (421, "MISDIRECTED"), (method, path)
                assert "allowed_hosts" in answer.problem["detail"]
                assert "access-control-allow-origin" not in answer.headers
                assert answer.headers["connection"] == "close", "a body may be on its way"
        assert running.get_stats() == before, "nothing took effect"
        for method, path, body in ROUTES:
            assert (await call_api(running, method, path, body)).status != 421, (method, path)


@pytest.mark.parametrize("path", HEALTH)
async def test_health_is_served_for_every_host_name_and_pages_read_nothing(path: str) -> None:
    async with server() as running:
        answer = await call_api(running, "GET", path, host=EVIL, origin=f"http://{EVIL}")
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_without_authentication_a_websocket_by_a_foreign_name_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="presenced")
    async with server() as running:
        for more in ("", f"Origin: http://{EVIL}\r\n", "Origin: http://localhost\r\n"):
            async with raw(running.port) as client:
                await client.send(upgrade(more=more).replace(b"Host: localhost", f"Host: {EVIL}".encode()))
                answer = await client.answer()
                assert (answer.status, answer.problem["code"]) == (421, "MISDIRECTED")
        assert metric(running, "presenced_connections_opened_total") == 0
        assert refused(running, "misdirected") == 3
    assert "add evil.example to the setting allowed_hosts" in caplog.text


NAMED: list[tuple[dict[str, Any], str, int]] = [
    ({"allowed_hosts": "presenced"}, "presenced:3001", 200),
    ({"allowed_hosts": "*.example.com"}, "presence.example.com", 200),
    ({"origins": "https://presence.example.com"}, "presence.example.com", 200),
    ({"allowed_hosts": "presenced"}, "evil.example:3001", 421),
    ({}, "192.168.1.5:3001", 200),
    ({}, "[::1]:3001", 200),
    ({}, "app.localhost:3001", 200),
    (TOKEN_SETTINGS, "presence.example.com", 200),
    ({**TOKEN_SETTINGS, "allowed_hosts": "presence.example.com"}, "presence.example.com", 200),
    ({**TOKEN_SETTINGS, "allowed_hosts": "presence.example.com"}, "localhost:3001", 200),
    ({**TOKEN_SETTINGS, "allowed_hosts": "presence.example.com"}, "evil.example:3001", 421),
]


@pytest.mark.parametrize(("settings", "host", "status"), NAMED)
async def test_the_page_the_api_and_figures_accept_the_names_in_the_settings(
    settings: dict[str, Any], host: str, status: int
) -> None:
    async with server(**settings) as running:
        for path in ("/", "/stats", "/metrics", "/api/v1/online"):
            answer = await call_api(running, "GET", path, host=host, authorization=f"Bearer {KEY.key}")
            assert answer.status == status, path
        async with raw(running.port) as client:
            await client.send(upgrade().replace(b"Host: localhost", f"Host: {host}".encode()))
            assert (await client.answer()).status == {200: 101, 421: 421}[status]


@pytest.mark.parametrize("path", ["/stats", "/metrics"])
async def test_with_authentication_a_request_with_a_foreign_name_is_not_local(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Local requests need no key for them, and a page that rebinds its name sends local requests."""
    caplog.set_level(logging.INFO, logger="presenced")
    async with server(**TOKEN_SETTINGS) as running:
        for host in ("localhost", "127.0.0.1:3001"):
            assert (await call_api(running, "GET", path, host=host)).status == 200
        answer = await call_api(running, "GET", path, host=EVIL)
        assert (answer.status, answer.problem["code"]) == (421, "MISDIRECTED")
        assert "allowed_hosts" in answer.problem["detail"]
        assert "add evil.example to the setting allowed_hosts" in caplog.text
        assert (await call_api(running, "GET", path, host=EVIL, authorization=f"Bearer {KEY.key}")).status == 200
        assert (await call_api(running, "GET", path, host=EVIL, x_forwarded_for="203.0.113.7")).status == 401
    async with server(**TOKEN_SETTINGS, allowed_hosts="evil.example") as running:
        assert (await call_api(running, "GET", path, host=EVIL)).status == 200


async def test_a_client_of_http_1_0_needs_no_host() -> None:
    """Probes of load balancers send none. A browser always does."""
    async with server() as running, raw(running.port) as client:
        await client.send(b"GET /api/v1/counts HTTP/1.0\r\n\r\n")
        assert (await client.answer()).status == 200


# Pages.


def refused(running: PresenceServer, reason: str) -> float:
    labels = {"reason": reason}
    found = node(running).metrics.registry.get_sample_value("presenced_connections_refused_total", labels)
    return found or 0.0


FOREIGN = ["https://app.example.com", "null", "file://", "capacitor://localhost", "http://localhost.evil.example"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_refused_page_is_logged_with_the_setting_that_would_allow_it_and_counted(
    origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="presenced")
    entry = "file://" if origin in ("null", "file://") else origin
    advice = f"page {origin} may not connect; to allow it, add {entry} to the setting origins"
    async with server() as running:
        async with raw(running.port) as client:
            await client.send(upgrade(more=f"Origin: {origin}\r\n"))
            assert (await client.answer()).status == 403
        assert sum(advice in line for line in caplog.messages) == refused(running, "forbidden_origin") == 1
        assert (await call_api(running, "GET", "/api/v1/watch?users=ada", origin=origin)).status == 403
        preflight = {"origin": origin, "access_control_request_method": "GET"}
        assert (await call_api(running, "OPTIONS", "/api/v1/watch", **preflight)).status == 403
        assert sum(advice in line for line in caplog.messages) == refused(running, "forbidden_origin") == 3
    async with server(origins=[entry]) as running, raw(running.port) as client:
        await client.send(upgrade(more=f"Origin: {origin}\r\n"))
        assert (await client.answer()).status == 101, "the advice helps"
        answer = await call_api(running, "GET", "/api/v1/online", origin=origin)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)


REFUSALS: list[tuple[bytes, str, dict[str, Any]]] = [
    (upgrade().replace(b"Version: 13", b"Version: 8"), "websocket_version", {}),
    (upgrade().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), "bad_handshake", {}),
    (upgrade(version="1.0"), "http_version", {}),
    (upgrade(more="Content-Length: 5\r\n"), "bad_handshake", {}),
    (upgrade(more="X: " + "x" * 20_000 + "\r\n"), "head_too_large", {}),
    (b"nonsense\r\n\r\n", "bad_request", {}),
    (upgrade().replace(b"Upgrade: websocket", b"X: y"), "upgrade_required", {}),
    (upgrade().replace(b"Connection: Upgrade", b"Connection: close"), "upgrade_required", {}),
    (upgrade(path="/ws"), "not_found", {}),
    (upgrade(method="POST"), "method_not_allowed", {}),
    (b"", "full", {"max_connections": 1}),
]


@pytest.mark.parametrize(("request_", "reason", "settings"), REFUSALS, ids=[reason for _, reason, _ in REFUSALS])
async def test_every_refusal_before_the_upgrade_is_logged_and_counted_once(
    request_: bytes, reason: str, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="presenced")
    async with server(**settings) as running, raw(running.port), raw(running.port) as client:
        await client.send(request_)
        answer = await client.answer()
        assert answer.status >= 400
        await until(lambda: refused(running, reason) == 1)
        said = [line for line in caplog.messages if "Refused" in line]
        assert len(said) == 1
        assert said[0].startswith(f"⛔ HTTP: Refused, {answer.status} {answer.problem['code']}: ")


async def test_a_token_in_a_refused_handshake_reaches_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="presenced")
    async with server() as running:
        for more in (
            "Sec-WebSocket-Protocol: presenced.v1 presenced.token.hidden\r\n",
            "Sec-WebSocket-Protocol: presenced.v1, presenced.token.hidden\r\nOrigin: https://evil.example\r\n",
            "Authorization: Bearer hidden\r\nOrigin: https://evil.example\r\n",
        ):
            async with raw(running.port) as client:
                await client.send(upgrade("?token=hidden", more=more))
                assert (await client.answer()).status in (400, 403)
    assert "Refused" in caplog.text
    assert "hidden" not in caplog.text


async def test_an_empty_subprotocol_header_offers_nothing() -> None:
    async with server() as running:
        for value in ("", " ", ",", ", ,\t"):
            async with raw(running.port) as client:
                await client.send(upgrade(more=f"Sec-WebSocket-Protocol: {value}\r\n"))
                answer = await client.answer()
                assert answer.status == 101
                assert "sec-websocket-protocol" not in answer.headers
                frame = await client.frame()
                assert frame.opcode is Opcode.TEXT
                assert json.loads(bytes(frame.data))["type"] == "CONNECTION_ESTABLISHED"


async def test_a_preflight_allows_the_headers_of_event_source_polyfills() -> None:
    async with server() as running:
        answer = await call_api(
            running,
            "OPTIONS",
            "/api/v1/watch",
            origin="http://localhost:5173",
            access_control_request_method="GET",
            access_control_request_headers="authorization,cache-control,last-event-id",
        )
        assert answer.status == 204
        allowed = answer.headers["access-control-allow-headers"].split(", ")
        assert {"authorization", "cache-control", "last-event-id"} <= set(allowed)
        assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_the_api_refuses_requests_of_foreign_pages_without_an_origin(site: str) -> None:
    """`<img src=...>` sends no `Origin` with its GET, and would occupy a place among the requests waiting for
    changes."""
    async with server() as running:
        for path in ("/api/v1/changes", "/api/v1/watch?users=ada", "/api/v1/online"):
            answer = await call_api(running, "GET", path, sec_fetch_site=site, sec_fetch_mode="no-cors")
            assert (answer.status, answer.problem["code"]) == (403, "FORBIDDEN_ORIGIN")
        for mode, own in (("navigate", site), ("no-cors", "same-origin"), ("no-cors", "none"), ("cors", "same-origin")):
            answer = await call_api(running, "GET", "/api/v1/online", sec_fetch_site=own, sec_fetch_mode=mode)
            assert answer.status == 200


async def test_origins_that_admit_foreign_pages_cause_a_warning_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="presenced")
    for settings, says in (
        ({**TOKEN_SETTINGS, "origins": "*"}, "pages of every origin may connect"),
        ({"origins": "file://"}, "from a sandboxed frame"),
    ):
        async with server(**settings) as running:
            assert [r.levelname for r in caplog.records if says in r.getMessage()] == ["WARNING"]
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client:
                (warning,) = (await client.get("/readyz")).json()["warnings"]
                assert says in warning


async def test_with_authentication_every_origin_may_be_allowed() -> None:
    async with server(**TOKEN_SETTINGS, origins="*") as running, raw(running.port) as client:
        await client.send(upgrade(more="Origin: https://anything.example\r\n"))
        assert (await client.answer()).status == 101


async def test_the_server_s_own_page_and_programs_are_served() -> None:
    async with server() as running, raw_websocket(running.port) as client:
        assert json.loads(bytes((await client.frame()).data))["type"] == "CONNECTION_ESTABLISHED"
        for headers in ({}, {"origin": f"http://localhost:{running.port}"}):
            assert (await call_api(running, "POST", "/api/v1/users/query", '{"users": [1]}', **headers)).status == 200
