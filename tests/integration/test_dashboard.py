"""A Prometheus server evaluates the dashboard and the alerts, with the metrics of a running presenced."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator

import httpx
import jwt
import msgspec
import pytest
from tests.support.dashboard import ALERTS, QUERIES, RULES
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.services import Redis, find
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from presenced.auth.api_keys import new_key

SECRET = "a secret of forty characters, or nearly so"
KEY = new_key("admin")

PATIENCE = 40
"""Seconds until Prometheus has scraped everything twice."""


def token(key: str = SECRET) -> str:
    return jwt.encode({"sub": "ada", "exp": int(time.time()) + 600}, key, "HS256")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run a server that uses every feature with metrics."""
    secrets = {
        "PRESENCED_JWT_KEY": SECRET,
        "PRESENCED_API_KEYS": KEY.entry,
        "PRESENCED_WEBHOOK_SECRETS": "whsec_" + "QUJD" * 11,
    }
    folder = str(tmp_path_factory.mktemp("kept"))
    webhooks: dict[str, str | float] = {"webhook_urls": f"http://127.0.0.1:{free_port()}/", "outgoing_private": True}
    with ServerProcess(secrets, auth="jwt", database="sqlite", data_dir=folder, writers=1, **webhooks) as running:
        yield running


def use(server: ServerProcess) -> None:
    """Connect, send requests, fail to authenticate, and use the HTTP API, so that every metric has a value."""
    url = f"{server.websocket_url}?token="
    with connect(url + token(), subprotocols=[Subprotocol("presenced.v1")], proxy=None) as socket:
        socket.send('{"type":"SET_STATUS","status":"busy"}')
        socket.send("nonsense")
        socket.recv()
    # The server refuses the token.
    with contextlib.suppress(ConnectionClosed), connect(url + token(SECRET[::-1]), proxy=None) as socket:
        socket.recv()
    httpx.get(f"{server.url}api/v1/counts", headers={"authorization": f"Bearer {KEY.key}"})


@pytest.fixture(scope="module")
def node() -> Iterator[ServerProcess]:
    """Run a node of a cluster. A server with a database is none yet."""
    with Redis() as store, ServerProcess({"PRESENCED_BACKEND": store.url("0")}) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(
    server: ServerProcess, node: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Run Prometheus with the alerts. It scrapes the server four times a second."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {
                "job_name": "presenced",
                "static_configs": [{"targets": [f"127.0.0.1:{one.port}" for one in (server, node)]}],
            },
        ],
    }
    (folder / "prometheus.yml").write_bytes(msgspec.yaml.encode(config))
    command = [
        find("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/", trust_env=False) as client:
            until = time.monotonic() + PATIENCE
            while not answers(client):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
            yield client
    finally:
        process.kill()
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("-/ready").status_code == 200
    except httpx.TransportError:
        return False


def filled_in(query: str) -> str:
    return query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


def shows(prometheus: httpx.Client, query: str) -> bool:
    answer = prometheus.get("api/v1/query", params={"query": filled_in(query)}).json()
    assert answer["status"] == "success", (query, answer)
    return bool(answer["data"]["result"])


def test_every_panel_has_data_of_a_server_that_uses_every_feature(
    server: ServerProcess, prometheus: httpx.Client
) -> None:
    wanted = dict(QUERIES)
    until = time.monotonic() + PATIENCE
    while wanted and time.monotonic() < until:
        use(server)
        wanted = {name: query for name, query in wanted.items() if not shows(prometheus, query)}
    assert not wanted


def test_prometheus_evaluates_every_rule(prometheus: httpx.Client) -> None:
    until = time.monotonic() + PATIENCE
    health: dict[str, str] = {}
    while "unknown" in health.values() or not health:
        assert time.monotonic() < until, health
        groups = prometheus.get("api/v1/rules").json()["data"]["groups"]
        health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert len(health) == len(RULES)
    assert set(health.values()) == {"ok"}, health
