"""The dashboard and the alerts speak of metrics that a server has, in words that Prometheus understands: a real one."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import msgspec
import pytest
from tests.support.process import ServerProcess
from tests.support.services import find, free_port
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from presenced.auth.api_keys import new_key

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboard.json").read_bytes())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = {
    f"{panel['title']}, {target['refId']}": str(target["expr"])
    for panel in PANELS
    for target in panel.get("targets", [])
}
RULES = [
    str(rule["expr"])
    for group in msgspec.yaml.decode((DEPLOY / "prometheus" / "alerts.yml").read_bytes())["groups"]
    for rule in group["rules"]
]

SECRET = "a secret of forty characters, or nearly so"
KEY = new_key("admin")

PATIENCE = 40
"""Seconds until Prometheus has seen everything twice."""

OF_PROMETHEUS = {"up"}
"""It makes this one itself, of each job."""


def token(key: str = SECRET) -> str:
    return jwt.encode({"sub": "ada", "exp": int(time.time()) + 600}, key, "HS256")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With everything on."""
    secrets = {
        "PRESENCED_JWT_KEY": SECRET,
        "PRESENCED_API_KEYS": KEY.entry,
        "PRESENCED_WEBHOOK_SECRETS": "whsec_" + "QUJD" * 11,
    }
    folder = str(tmp_path_factory.mktemp("kept"))
    webhooks: dict[str, str | float] = {"webhook_urls": f"http://127.0.0.1:{free_port()}/", "outgoing_private": True}
    with ServerProcess(secrets, auth="jwt", database="sqlite", data_dir=folder, writers=1, **webhooks) as running:
        yield running


def live(server: ServerProcess) -> None:
    """Somebody comes, asks for something, goes; somebody else is refused; a backend asks."""
    url = f"{server.websocket_url}?token="
    with connect(url + token(), subprotocols=[Subprotocol("presenced.v1")], proxy=None) as socket:
        socket.send('{"type":"SET_STATUS","status":"busy"}')
        socket.send("nonsense")
        socket.recv()
    with contextlib.suppress(ConnectionClosed), connect(url + token(SECRET[::-1]), proxy=None) as socket:
        socket.recv()
    httpx.get(f"{server.url}api/v1/counts", headers={"authorization": f"Bearer {KEY.key}"})


@pytest.fixture(scope="module")
def prometheus(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One that looks at the server four times a second, and at the rules."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "1s"},
        "rule_files": [str(DEPLOY / "prometheus" / "alerts.yml")],
        "scrape_configs": [
            {"job_name": "presenced", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]},
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


def as_grafana_asks(query: str) -> str:
    return query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


def shows(prometheus: httpx.Client, query: str) -> bool:
    answer = prometheus.get("api/v1/query", params={"query": as_grafana_asks(query)}).json()
    assert answer["status"] == "success", (query, answer)
    return bool(answer["data"]["result"])


def test_every_panel_shows_something_of_a_server_with_everything_on(
    server: ServerProcess, prometheus: httpx.Client
) -> None:
    wanted = dict(QUERIES)
    until = time.monotonic() + PATIENCE
    while wanted and time.monotonic() < until:
        live(server)
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


def metrics_in(query: str) -> set[str]:
    """Names that are neither functions nor words of the language nor labels."""
    bare = re.sub(r"\"[^\"]*\"|\{[^}]*\}|\[[^]]*\]|\b(by|without) *\([^)]*\)", "", query)
    names = set(re.findall(r"\b[a-z_][a-z0-9_]*\b(?! *\()", bare))
    return names - {"by", "without", "and", "or", "unless"}


def test_every_metric_exists(server: ServerProcess) -> None:
    """Also those whose labels nobody has given a value yet."""
    lines = httpx.get(f"{server.url}metrics").text.splitlines()
    exist = set(OF_PROMETHEUS)
    for _, kind, name, what in (line.split(" ", 3) for line in lines if line.startswith("# TYPE ")):
        exist |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if what == "histogram" else {name}
        assert kind == "TYPE"
    used = {name for query in (*QUERIES.values(), *RULES) for name in metrics_in(query)}
    assert len(used) > 40
    assert used <= exist, used - exist


def test_the_panels_have_ids_places_and_a_data_source_of_their_own() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells), "no two overlap"
    assert max(x for x, _ in cells) < 24
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert {"datasource", "job", "instance"} <= variables
    for panel in PANELS:
        for part in (panel, *panel.get("targets", [])):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for query in QUERIES.values():
        assert set(re.findall(r"\$(\w+)", query)) - {"__rate_interval"} <= variables
        assert len(re.findall(r'job=~"\$job",instance=~"\$instance"', query)) == len(metrics_in(query)), query
