"""Responses over plain HTTP: health checks, statistics, metrics, the page, errors."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.raw import raw_websocket
from tests.support.server import node, server, until

from presenced import PresenceServer, __version__

pytestmark = pytest.mark.anyio


def visitor(running: PresenceServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False)


async def ask(running: PresenceServer, path: str, method: str = "GET") -> httpx.Response:
    async with visitor(running) as client:
        return await client.request(method, path)


def parsed(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status
    return response.json()


async def test_the_health_checks_report_alive_and_ready() -> None:
    async with server() as running:
        assert parsed(await ask(running, "/healthz")) == {
            "status": "alive",
            "version": __version__,
            "authentication": "none",
        }
        assert parsed(await ask(running, "/readyz")) == {"status": "ready", "reasons": [], "warnings": []}


async def test_a_full_server_reports_why_it_is_not_ready() -> None:
    async with server() as running, raw_websocket(running.port), visitor(running) as client:
        assert (await client.get("/readyz")).status_code == 200
        node(running).connections.max_connections = 1  # this HTTP connection is open already
        answer = parsed(await client.get("/readyz"), 503)
        assert answer["reasons"] == ["all 1 connections are taken"]


async def test_stats_are_the_pages_of_get_stats() -> None:
    async with server() as running, raw_websocket(running.port, "?userId=1"), raw_websocket(running.port, "?userId=a"):
        await until(lambda: running.get_stats().total_connections == 2)
        first = parsed(await ask(running, "/stats?limit=1"))
        assert (first["connectedUsers"], first["onlineUsers"], first["totalConnections"]) == (2, 2, 2)
        (session,) = first["userSessions"]
        assert set(session) == {"userId", "connectionId", "connectedAt", "lastSeen"}
        assert session["userId"] == 1
        rest = parsed(await ask(running, f"/stats?limit=1&after={first['next']}"))
        assert [s["userId"] for s in rest["userSessions"]] == ["a"]
        assert rest["next"] is None
        assert len(parsed(await ask(running, "/stats"))["userSessions"]) == 2


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=1001", "limit=x", "after=-5", "after=%D9%A3", "limit=", "limit=1&limit=2"]
)
async def test_an_error_names_the_bad_parameter(query: str) -> None:
    async with server() as running:
        answer = parsed(await ask(running, f"/stats?{query}"), 400)
        assert answer["code"] == "BAD_PARAMETER"
        assert answer["detail"].startswith(query.partition("=")[0])


async def test_stats_refuse_unknown_parameters() -> None:
    """An ignored `viewer` would not restrict the response."""
    async with server() as running:
        answer = parsed(await ask(running, "/stats?viewer=bo"), 400)
        assert answer["detail"] == "unknown parameter viewer; known parameters: limit, after"
        assert parsed(await ask(running, "/stats?x-trace=1"))["totalConnections"] == 0


async def test_metrics_can_be_parsed_and_name_no_user() -> None:
    async with server() as running, raw_websocket(running.port, "?userId=secret-name") as client:
        await client.frame()
        response = await ask(running, "/metrics")
        found = {family.name: family for family in text_string_to_metric_families(response.text)}
        for name in (
            "presenced_connections",
            "presenced_users_online",
            "presenced_users_connected",
            "presenced_connections_opened",
            "presenced_connections_closed",
            "presenced_handshakes_refused",
            "presenced_messages_received",
            "presenced_changes",
            "presenced_deliveries",
            "presenced_sent_bytes",
            "presenced_flush_changes",
            "presenced_flush_duration_seconds",
            "presenced_slow_watchers",
            "presenced_heartbeats_failed",
            "presenced_loop_lag_seconds",
            "process_resident_memory_bytes",
        ):
            assert name in found
            assert found[name].documentation
        assert found["presenced_connections"].samples[0].value == 1
        assert "secret-name" not in response.text


async def test_the_page_is_served_with_a_strict_policy() -> None:
    async with server() as running:
        page = await ask(running, "/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "Connect" in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"


async def test_pages_of_every_origin_may_load_the_client_and_cache_it() -> None:
    async with server() as running, visitor(running) as client:
        for origin in ({}, {"origin": "https://elsewhere.example"}, {"origin": "null"}):
            script = await client.get("/client.js", headers=origin)
            assert script.status_code == 200
            assert script.headers["access-control-allow-origin"] == "*"
            assert script.headers["cross-origin-resource-policy"] == "cross-origin"
            assert script.headers["content-type"].startswith("text/javascript")
            assert script.headers["x-content-type-options"] == "nosniff"
            assert "createPresence" in script.text
            unchanged = await client.get("/client.js", headers={"if-none-match": script.headers["etag"], **origin})
            assert (unchanged.status_code, unchanged.content) == (304, b"")
            assert unchanged.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/stats", "/client.js.map"])
async def test_pages_of_other_origins_may_read_nothing_else(path: str) -> None:
    async with server() as running, visitor(running) as client:
        response = await client.get(path, headers={"origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/nope", "/../pyproject.toml", "/%2e%2e/__init__.py", "/web/index.html", "/healthz/"])
async def test_an_unknown_path_is_a_404_that_lists_the_paths(path: str) -> None:
    async with server() as running:
        answer = parsed(await ask(running, path), 404)
        assert answer["code"] == "NOT_FOUND"
        assert "/ws-online-status?userId=ID" in answer["detail"]


@pytest.mark.parametrize("path", ["/", "/healthz", "/stats", "/metrics"])
async def test_other_methods_are_refused(path: str) -> None:
    async with server() as running:
        for method in ("POST", "DELETE"):
            assert parsed(await ask(running, path, method), 405)["code"] == "METHOD_NOT_ALLOWED"
        assert (await ask(running, path, "HEAD")).status_code == 200
