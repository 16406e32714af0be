"""The server behind the proxies with the configurations in `deploy/`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.support.certificates import trusting
from tests.support.ports import free_port
from tests.support.proxies import has_ipv6, proxy
from tests.support.raw import PATIENCE
from tests.support.server import metric, node, server, until, until_all_have_answered
from tests.support.tokens import KEY, SECRET, call_api, token
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from presenced import PresenceServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@asynccontextmanager
async def proxied(
    kind: str, folder: Path, backends: str = "127.0.0.1", **changes: object
) -> AsyncIterator[tuple[PresenceServer, int]]:
    """Run a server behind a proxy. Yields the server and the proxy's port."""
    async with server(trusted_proxies="127.0.0.1", **changes) as running:
        with proxy(kind, folder, running.port, backends) as port:
            yield running, port


KINDS = pytest.mark.parametrize("kind", ["nginx", "caddy"])


@KINDS
async def test_a_client_behind_the_proxy_is_served_and_counts_by_its_address(kind: str, tmp_path: Path) -> None:
    async with proxied(kind, tmp_path, heartbeat_interval=1, pong_timeout=1) as (running, port):
        context = trusting(tmp_path / "certificate.pem")
        url = f"wss://127.0.0.1:{port}/ws-online-status?userId=ada&token=hidden-in-logs"
        forged = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.8"}
        async with connect(url, ssl=context, proxy=None, additional_headers=forged) as ada:
            assert json.loads(await ada.recv())["userId"] == "ada"
            addresses = {connection.throttle_key for connection in node(running).connections.by_serial.values()}
            assert addresses == {""}, "the address of this machine, whatever headers the client sends"
            await until_all_have_answered(running)
            assert ada.state.name == "OPEN", "heartbeats pass"
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            base = f"https://127.0.0.1:{port}"
            assert (await client.get(f"{base}/healthz")).status_code == 200
            for path in ("/", "/metrics", "/stats", "/readyz"):
                assert (await client.get(f"{base}{path}")).status_code == 404
            passed_on = await client.post(f"{base}/api/tickets", json={"userId": 1})
            assert passed_on.status_code == 401, "a forwarded request is not local"
    assert "hidden-in-logs" not in (tmp_path / "access.log").read_text()


@KINDS
async def test_pages_of_other_origins_load_the_client_library_through_the_proxy(kind: str, tmp_path: Path) -> None:
    async with proxied(kind, tmp_path, allowed_hosts="127.0.0.1") as (running, port):
        context = trusting(tmp_path / "certificate.pem")
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            origin = {"Origin": "https://app.example.com"}
            answer = await client.get(f"https://127.0.0.1:{port}/client.js", headers=origin)
            direct = await client.get(f"http://127.0.0.1:{running.port}/client.js")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert answer.headers["content-type"] == direct.headers["content-type"]
    assert answer.content == direct.content


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_nginx_serves_clients_with_ipv6(tmp_path: Path) -> None:
    insecure = httpx.AsyncClient(verify=False, trust_env=False)  # noqa: S501  # the certificate has no IPv6 address
    async with proxied("nginx", tmp_path) as (_, port), insecure as client:
        assert (await client.get(f"https://[::1]:{port}/healthz")).status_code == 200


@KINDS
async def test_origins_are_checked_behind_the_proxy(kind: str, tmp_path: Path) -> None:
    async with proxied(kind, tmp_path, origins="https://app.example.com") as (_, port):
        context = trusting(tmp_path / "certificate.pem")
        url = f"wss://127.0.0.1:{port}/ws-online-status?userId=ada"
        async with connect(url, ssl=context, proxy=None, additional_headers={"Origin": "https://app.example.com"}):
            pass
        with pytest.raises(InvalidStatus):
            await connect(url, ssl=context, proxy=None, additional_headers={"Origin": "https://evil.example"})
    # Without a list, pages of the same host may connect.
    async with proxied(kind, tmp_path) as (_, port):
        context = trusting(tmp_path / "certificate.pem")
        url = f"wss://127.0.0.1:{port}/ws-online-status?userId=ada"
        async with connect(url, ssl=context, proxy=None, additional_headers={"Origin": f"https://127.0.0.1:{port}"}):
            pass


@KINDS
async def test_users_watch_by_server_sent_events_behind_the_proxy(kind: str, tmp_path: Path) -> None:
    tokens: dict[str, object] = {"auth": "jwt", "jwt_key": SECRET, "api_keys": [KEY.entry]}
    async with proxied(kind, tmp_path, "192.0.2.1", **tokens) as (running, port):
        context = trusting(tmp_path / "certificate.pem")
        base = f"https://127.0.0.1:{port}/api/v1"
        mine = token()
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            async with client.stream("GET", f"{base}/watch?users=bo&token={mine}") as answer:
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/event-stream")
                lines = answer.aiter_lines()
                for status in ("offline", "online", "offline"):
                    async with asyncio.timeout(PATIENCE):
                        while not (line := await anext(lines)).startswith("data: "):
                            pass
                    assert [user["status"] for user in json.loads(line[6:])["users"]] == [status], (
                        "each change immediately"
                    )
                    running.broadcast_user_status("bo", is_online=status == "offline")
                assert metric(running, "presenced_api_followers") == 1
            await until(lambda: metric(running, "presenced_api_followers") == 0)
            assert (await client.get(f"{base}/watch?users=bo")).status_code == 401
            for path in ("/counts", "/watch/", "/users/bo"):
                refused = await client.get(f"{base}{path}", headers={"authorization": f"Bearer {KEY.key}"})
                assert refused.status_code in (403, 404), "all other routes are for backends"
    assert mine not in (tmp_path / "access.log").read_text()


@KINDS
async def test_a_ticket_stream_resumes_through_the_proxy_and_its_secret_is_not_logged(
    kind: str, tmp_path: Path
) -> None:
    async with proxied(kind, tmp_path, "192.0.2.1", auth="ticket", api_keys=[KEY.entry]) as (running, port):
        context = trusting(tmp_path / "certificate.pem")
        made = (await call_api(running, "POST", "/api/tickets", body={"userId": "ada"})).json()["ticket"]
        url = f"https://127.0.0.1:{port}/api/v1/watch?users=bo&token={made}"
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:

            async def opened(url: str, **headers: str) -> str:
                """Return the first id of a stream, and lose the stream."""
                async with client.stream("GET", url, headers=headers) as answer, asyncio.timeout(PATIENCE):
                    assert answer.status_code == 200
                    return await anext(line[4:] async for line in answer.aiter_lines() if line.startswith("id: "))

            last = await opened(url)
            last = await opened(url, **{"last-event-id": last})
            last = await opened(f"{url}&lastEventId={last}")
            assert (await client.get(url)).status_code == 401
    logged = (tmp_path / "access.log").read_text()
    assert "/api/v1/watch" in logged
    assert made not in logged
    assert last.partition("~")[2] not in logged


@KINDS
async def test_tokens_are_in_no_log_of_the_proxy_while_the_server_is_down(kind: str, tmp_path: Path) -> None:
    """A proxy logs a failed request once more as an error, and each restart of the server makes many of them."""
    secrets = {name: f"hidden-{name}" for name in ("subprotocol", "query", "header", "event", "session")}
    with proxy(kind, tmp_path, free_port(), "192.0.2.1") as port:
        context = trusting(tmp_path / "certificate.pem")
        with pytest.raises(InvalidStatus, match="502"):
            await connect(
                f"wss://127.0.0.1:{port}/ws-online-status?token={secrets['query']}&session={secrets['session']}",
                ssl=context,
                proxy=None,
                subprotocols=[Subprotocol("presenced.v1"), Subprotocol(f"presenced.token.{secrets['subprotocol']}")],
                additional_headers={"authorization": f"Bearer {secrets['header']}"},
            )
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            url = f"https://127.0.0.1:{port}/api/v1/watch?token={secrets['query']}&lastEventId={secrets['event']}"
            headers = {"authorization": f"Bearer {secrets['header']}", "last-event-id": secrets["event"]}
            assert (await client.get(url, headers=headers)).status_code == 502
    logged = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "/api/v1/watch" in logged, "the failures are in the access log"
    assert not [name for name, secret in secrets.items() if secret in logged], logged


@pytest.mark.parametrize(("allowed", "status"), [("", 421), ("presence.example.com", 200)])
async def test_without_authentication_the_public_name_must_be_in_the_settings(
    allowed: str, status: int, tmp_path: Path
) -> None:
    """The proxy forwards the name that clients use. Its own health check needs no setting."""
    async with proxied("nginx", tmp_path, allowed_hosts=allowed) as (_, port):
        context = trusting(tmp_path / "certificate.pem")
        headers = {"host": "presence.example.com"}
        async with httpx.AsyncClient(verify=context, trust_env=False, headers=headers) as client:
            base = f"https://127.0.0.1:{port}"
            assert (await client.get(f"{base}/healthz")).status_code == 200
            async with client.stream("GET", f"{base}/api/v1/watch?users=bo") as answer:
                assert answer.status_code == status
