"""The proxies of `deploy/`, for real: as they are there, but for ports, names and files."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
from tests.certificates import trusting, write_certificate
from tests.integration.house import engine, heard_from_all, metric, server, until
from tests.integration.raw import PATIENCE
from tests.integration.tokens import KEY, SECRET, token
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from presenced import PresenceServer

DEPLOY = Path(__file__).parents[2] / "deploy"

pytestmark = pytest.mark.anyio


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """A proxy that listens."""
    log = (folder / "proxy.log").open("w+")
    environ = {"HOME": str(folder), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    try:
        for _ in range(int(PATIENCE * 20)):
            assert process.poll() is None, (folder / "proxy.log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                pass
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)
        log.close()


def nginx(folder: Path, port: int, behind: int, backends: str) -> list[str]:
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert found, "apt-get install nginx-light"
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("127.0.0.1:3001", f"127.0.0.1:{behind}"),
        ("/etc/ssl/presence.example.com/fullchain.pem", str(folder / "certificate.pem")),
        ("/etc/ssl/presence.example.com/privkey.pem", str(folder / "key.pem")),
        ("/var/log/nginx/presenced.log", str(folder / "access.log")),
        ("allow 10.0.0.0/8", f"allow {backends}"),
    ):
        assert old in text
        text = text.replace(old, new)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ {paths}\n{text}\n}}"
    )
    return [found, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, behind: int, backends: str) -> list[str]:
    found = shutil.which("caddy")
    assert found, "apt-get install caddy"
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    for old, new in (
        ("presence.example.com {", f"https://127.0.0.1:{port} {{\n tls {folder}/certificate.pem {folder}/key.pem"),
        ("127.0.0.1:3001", f"127.0.0.1:{behind}"),
        ("remote_ip 10.0.0.0/8", f"remote_ip {backends}"),
        ("log {", f"log {{\n output file {folder}/access.log"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(f"{{\n admin off\n auto_https disable_redirects\n}}\n{text}")
    return [found, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@asynccontextmanager
async def proxied(
    kind: str, folder: Path, backends: str = "127.0.0.1", **changes: object
) -> AsyncIterator[tuple[PresenceServer, int]]:
    """A server behind a proxy, and the proxy's port."""
    write_certificate(folder)
    port = free_port()
    async with server(trusted_proxies="127.0.0.1", **changes) as house:
        command = {"nginx": nginx, "caddy": caddy}[kind](folder, port, house.port, backends)
        with running(command, folder, port):
            yield house, port


KINDS = pytest.mark.parametrize("kind", ["nginx", "caddy"])


@KINDS
async def test_a_client_behind_the_proxy_is_served_and_counts_by_its_address(kind: str, tmp_path: Path) -> None:
    async with proxied(kind, tmp_path, heartbeat_interval=1, pong_timeout=1) as (house, port):
        context = trusting(tmp_path / "certificate.pem")
        url = f"wss://127.0.0.1:{port}/ws-online-status?userId=ada&token=hidden-in-logs"
        forged = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.8"}
        async with connect(url, ssl=context, proxy=None, additional_headers=forged) as ada:
            assert json.loads(await ada.recv())["userId"] == "ada"
            addresses = {connection.address for connection in engine(house)._connections.values()}
            assert addresses == {""}, "this machine's own, whatever the client says"
            await heard_from_all(house)
            assert ada.state.name == "OPEN", "heartbeats pass"
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            base = f"https://127.0.0.1:{port}"
            assert (await client.get(f"{base}/healthz")).status_code == 200
            for path in ("/", "/metrics", "/stats", "/readyz"):
                assert (await client.get(f"{base}{path}")).status_code == 404
            passed_on = await client.post(f"{base}/api/tickets", json={"userId": 1})
            assert passed_on.status_code == 401, "not of this machine: a proxy passed it on"
    assert "hidden-in-logs" not in (tmp_path / "access.log").read_text()


@KINDS
async def test_origins_are_held_to_behind_the_proxy(kind: str, tmp_path: Path) -> None:
    async with proxied(kind, tmp_path, origins="https://app.example.com") as (_, port):
        context = trusting(tmp_path / "certificate.pem")
        url = f"wss://127.0.0.1:{port}/ws-online-status?userId=ada"
        async with connect(url, ssl=context, proxy=None, additional_headers={"Origin": "https://app.example.com"}):
            pass
        with pytest.raises(InvalidStatus):
            await connect(url, ssl=context, proxy=None, additional_headers={"Origin": "https://evil.example"})
    # The same host, when no origin is named.
    async with proxied(kind, tmp_path) as (_, port):
        context = trusting(tmp_path / "certificate.pem")
        url = f"wss://127.0.0.1:{port}/ws-online-status?userId=ada"
        async with connect(url, ssl=context, proxy=None, additional_headers={"Origin": f"https://127.0.0.1:{port}"}):
            pass


@KINDS
async def test_users_watch_by_server_sent_events_behind_the_proxy(kind: str, tmp_path: Path) -> None:
    tokens: dict[str, object] = {"auth": "jwt", "jwt_key": SECRET, "api_keys": [KEY.entry]}
    async with proxied(kind, tmp_path, "192.0.2.1", **tokens) as (house, port):
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
                    assert [user["status"] for user in json.loads(line[6:])["users"]] == [status], "each as it comes"
                    house.broadcast_user_status("bo", is_online=status == "offline")
                assert metric(house, "presenced_api_followers") == 1
            await until(lambda: metric(house, "presenced_api_followers") == 0)
            assert (await client.get(f"{base}/watch?users=bo")).status_code == 401
            for path in ("/counts", "/watch/", "/users/bo"):
                refused = await client.get(f"{base}{path}", headers={"authorization": f"Bearer {KEY.key}"})
                assert refused.status_code in (403, 404), "all else is for backends, which are elsewhere"
    assert mine not in (tmp_path / "access.log").read_text()
