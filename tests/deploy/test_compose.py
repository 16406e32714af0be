"""The Compose projects: valid, without rights or default passwords, and their parts work together.

There is no container engine here. The parts run as programs of this machine, with the files, the environment and the
secrets of the project.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jwt
import pytest
import yaml
from tests.support.certificates import trusting
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.proxies import proxy
from tests.support.services import PostgreSQL, Redis, find
from websockets.sync.client import connect
from websockets.typing import Origin

from presenced.auth.api_keys import ApiKeys

PROJECT = Path(__file__).parents[2] / "deploy/compose"
FILES = {file: yaml.safe_load((PROJECT / file).read_text("utf-8")) for file in ("compose.yaml", "compose.cluster.yaml")}
SERVICES: dict[str, dict[str, Any]] = FILES["compose.yaml"]["services"]
CLUSTER: dict[str, dict[str, Any]] = FILES["compose.cluster.yaml"]["services"]
NODES = ("node-a", "node-b", "node-c")
PAGE = (PROJECT.parents[1] / "docs/how-to/deploy/compose.md").read_text("utf-8")

PATIENCE = 60
"""Seconds until Prometheus has scraped the server."""

EACH = pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file, project in FILES.items() for name in project["services"]]
)


class Initialized(NamedTuple):
    """A copy of the project after `init`."""

    folder: Path
    variables: dict[str, str]
    """Contents of `.env`."""

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text()


@pytest.fixture
def project(tmp_path: Path) -> Initialized:
    folder = shutil.copytree(PROJECT, tmp_path / "compose")
    subprocess.run([folder / "init", "presence.example.com", "https://a.example", "https://b.example"], check=True)
    lines = [line for line in (folder / ".env").read_text().splitlines() if not line.startswith("#")]
    return Initialized(folder, dict(line.split("=", 1) for line in lines))


def interpolated(text: str, variables: dict[str, str]) -> str:
    """Replace `${NAME-default}` and `${NAME:?error}` as Compose does."""

    def value(match: re.Match[str]) -> str:
        if match[2].startswith(":?"):
            return variables[match[1]]
        return variables.get(match[1], match[2].removeprefix("-"))

    return re.sub(r"\$\{(\w+)([^}]*)\}", value, text)


def environment(service: dict[str, Any], project: Initialized) -> dict[str, str]:
    """Return the environment of a service, with its secrets on this machine."""
    secrets = f"{project.folder}/secrets/"
    given = service["environment"].items()
    return {
        name: interpolated(str(value), project.variables).replace("/run/secrets/", secrets) for name, value in given
    }


@pytest.mark.parametrize("file", FILES)
def test_compose_accepts_the_project(file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, PROJECT / file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@EACH
def test_a_service_has_no_rights_and_limits_and_a_health_check(file: str, name: str) -> None:
    service = FILES[file]["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["driver"] == "local", "its files are bounded"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["healthcheck"]["test"]
    assert not service["image"].endswith(":latest")
    assert ":" in service["image"].rpartition("/")[2]


@EACH
def test_a_service_publishes_only_what_is_public(file: str, name: str) -> None:
    published = {"caddy": ["80:80", "443:443"], "grafana": ["127.0.0.1:3000:3000"]}
    assert FILES[file]["services"][name].get("ports", []) == published.get(name, [])


@EACH
def test_a_service_waits_for_what_it_needs(file: str, name: str) -> None:
    services = FILES[file]["services"]
    for other, condition in services[name].get("depends_on", {}).items():
        assert condition == {"condition": "service_healthy"}
        assert set(services[name]["networks"]) & set(services[other]["networks"]), "they share a network"


@EACH
def test_files_that_a_service_mounts_exist(file: str, name: str) -> None:
    for volume in FILES[file]["services"][name].get("volumes", []):
        source, target = volume.split(":")[:2]
        assert target.startswith("/")
        if source.startswith("."):
            assert (PROJECT / source).is_file()
            assert volume.endswith(":ro")
        else:
            assert source in FILES[file]["volumes"]


@EACH
def test_no_secret_is_in_the_environment(file: str, name: str) -> None:
    service = FILES[file]["services"][name]
    for variable, value in service.get("environment", {}).items():
        if re.search("PASSWORD|SECRET|JWT_KEY|DATABASE_URL", variable):
            assert variable.endswith("_FILE")
            assert value.removeprefix("/run/secrets/") in service["secrets"]


def test_init_generates_every_secret(project: Initialized) -> None:
    files = {path.name: path.read_text() for path in (project.folder / "secrets").iterdir()}
    secrets = {name: secret["file"] for one in FILES.values() for name, secret in one["secrets"].items()}
    assert {name: f"secrets/{name}" for name in secrets} == secrets
    assert set(files) == {*secrets, "backend_key", "admin_key"}
    random = {value for name, value in files.items() if name != "database_url"}
    assert len(random) == len(files) - 1
    assert all(len(value) >= 43 for value in random), "256 bits"
    assert files["database_url"] == f"postgresql://presenced:{files['postgres_password']}@postgres/presenced"
    for name in files:
        assert f"`secrets/{name}`" in PAGE


def test_others_cannot_enter_the_folder_and_the_containers_can_read_the_files(project: Initialized) -> None:
    folder = project.folder / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}
    ignored = subprocess.run(
        ["git", "check-ignore", PROJECT / ".env", PROJECT / "secrets/jwt_key"], capture_output=True, check=False
    )
    assert ignored.returncode == 0, "they must not be committed"


def test_init_does_not_replace_secrets(project: Initialized) -> None:
    before = project.secret("jwt_key")
    done = subprocess.run([project.folder / "init", "x.example.com"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Nothing was changed" in done.stderr
    assert project.secret("jwt_key") == before


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_init_explains_its_arguments(arguments: list[str], tmp_path: Path) -> None:
    folder = shutil.copytree(PROJECT, tmp_path / "compose")
    done = subprocess.run([folder / "init", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ./init DOMAIN")
    assert not (folder / "secrets").exists()


def test_the_settings_contain_the_digests_of_the_keys(project: Initialized) -> None:
    entries = environment(SERVICES["presenced"], project)["PRESENCED_API_KEYS"].split(",")
    keys = ApiKeys(entries)
    assert keys.scope(project.secret("metrics_key")) == "read"
    assert keys.scope(project.secret("backend_key")) == "write"
    assert keys.scope(project.secret("admin_key")) == "admin"


def test_presenced_trusts_caddy_and_nothing_else() -> None:
    for services, servers in ((SERVICES, ("presenced",)), (CLUSTER, NODES)):
        address = services["caddy"]["networks"]["front"]["ipv4_address"]
        for server in servers:
            assert services[server]["environment"]["PRESENCED_TRUSTED_PROXIES"] == address


def test_the_page_adds_the_database_to_the_nodes(project: Initialized) -> None:
    file = project.folder / "compose.database.yaml"
    file.write_text(PAGE.partition("`compose.database.yaml`")[2].partition("```yaml\n")[2].partition("```")[0])
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    added = yaml.safe_load(file.read_text())
    assert set(added["services"]) == {*NODES, "postgres"}
    assert added["services"]["postgres"]["extends"] == {"file": "compose.yaml", "service": "postgres"}
    assert set(SERVICES["postgres"]["networks"]) & set(CLUSTER["node-a"]["networks"]), "they reach each other"
    for node in NODES:
        own, single = environment(added["services"][node], project), environment(SERVICES["presenced"], project)
        assert own.items() <= single.items()
    for name, secret in added["secrets"].items():
        assert project.secret(name)
        assert secret == FILES["compose.yaml"]["secrets"][name]


def test_nodes_differ_in_their_names_only() -> None:
    settings = [dict(CLUSTER[node]["environment"]) for node in NODES]
    assert [one.pop("PRESENCED_NODE") for one in settings] == ["a", "b", "c"]
    assert settings[0] == settings[1] == settings[2]


def test_both_projects_have_the_same_monitoring() -> None:
    assert CLUSTER["grafana"] == SERVICES["grafana"]
    other = {**CLUSTER["prometheus"], "volumes": SERVICES["prometheus"]["volumes"]}
    assert other == SERVICES["prometheus"]
    targets = [f"{node}:3001" for node in NODES]
    config = yaml.safe_load((PROJECT / "prometheus.yml").read_text("utf-8"))
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    assert yaml.safe_load((PROJECT / "prometheus.cluster.yml").read_text("utf-8")) == config


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    datasource = yaml.safe_load((PROJECT / "grafana/datasource.yaml").read_text("utf-8"))["datasources"][0]
    assert (datasource["type"], datasource["url"]) == ("prometheus", "http://prometheus:9090")
    provider = yaml.safe_load((PROJECT / "grafana/dashboards.yaml").read_text("utf-8"))["providers"][0]
    mounts = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/dashboard.json" in mounts
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounts


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    with PostgreSQL() as service:
        yield service


def local_settings(project: Initialized, database: PostgreSQL) -> dict[str, str]:
    """Return the environment of presenced, with addresses of this machine."""
    (project.folder / "secrets/database_url").write_text(database.new_database())
    return {**environment(SERVICES["presenced"], project), "PRESENCED_TRUSTED_PROXIES": "127.0.0.1"}


@pytest.mark.slow
def test_the_doctor_finds_nothing_unsafe(project: Initialized, database: PostgreSQL) -> None:
    environ = {**os.environ, **local_settings(project, database), "PRESENCED_HOST": "0.0.0.0"}  # noqa: S104, as in the container
    done = subprocess.run(
        [sys.executable, "-m", "presenced", "doctor"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "other users of this machine may read database_url" in done.stdout, "as the page says"


@pytest.mark.slow
def test_users_connect_through_caddy_and_prometheus_scrapes_the_server(
    project: Initialized, database: PostgreSQL, tmp_path: Path
) -> None:
    environ = local_settings(project, database)
    del environ["PRESENCED_LOG_FORMAT"]  # the test waits for the banner
    with ServerProcess(environ) as server, proxy("caddy", tmp_path, server.port, "192.0.2.1") as port:
        claims = {"sub": "ada", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, project.secret("jwt_key"), "HS256")
        url = f"wss://127.0.0.1:{port}/ws-online-status?token={token}"
        context = trusting(tmp_path / "certificate.pem")
        with connect(url, ssl=context, proxy=None, origin=Origin("https://a.example")) as ada:
            assert '"userId":"ada"' in str(ada.recv(10))
        headers = {"authorization": f"Bearer {project.secret('backend_key')}"}
        assert httpx.get(f"{server.url}api/v1/counts", headers=headers).status_code == 200
        assert scraped(project, server.port, tmp_path) == "1"


def scraped(project: Initialized, port: int, folder: Path) -> str:
    """Run Prometheus with the project's file. Return the value of `up` for the server."""
    text = (PROJECT / "prometheus.yml").read_text("utf-8")
    for old, new in (
        ("presenced:3001", f"127.0.0.1:{port}"),
        ("/run/secrets/", f"{project.folder}/secrets/"),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "prometheus.yml").write_text(text)
    rules = SERVICES["prometheus"]["volumes"][1].split(":")
    assert rules[1] == "/etc/prometheus/alerts.yml", "beside prometheus.yml, which names it"
    shutil.copy(PROJECT / rules[0], folder / "alerts.yml")
    subprocess.run([find("promtool"), "check", "config", folder / "prometheus.yml"], check=True, capture_output=True)
    own = free_port()
    command = [
        find("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{own}"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                query = {"query": 'up{job="presenced"}'}
                answer = httpx.get(f"http://127.0.0.1:{own}/api/v1/query", params=query, trust_env=False).json()
            except httpx.TransportError:
                answer = None
            if answer and answer["data"]["result"]:
                return str(answer["data"]["result"][0]["value"][1])
            time.sleep(0.2)
        raise AssertionError((folder / "log").read_text())
    finally:
        process.kill()
        process.wait()


class SharedStore(Redis):
    """The store of the project: the program of this machine, started as its container starts it."""

    def __init__(self, project: Initialized) -> None:
        super().__init__()
        self.password = project.secret("store_password")
        [shell, option, script] = CLUSTER["valkey"]["command"]
        assert (shell, option) == ("sh", "-c")
        (self.folder / "password").write_text(self.password)
        for old, new in (
            ("$$", "$"),
            ("/tmp/", f"{self.folder}/"),  # noqa: S108, the container's own
            ("/run/secrets/store_password", f"{self.folder}/password"),
            ("valkey-server", find("redis-server")),
        ):
            assert old in script
            script = script.replace(old, new)
        self._script = f"{script} --port {self.port} --bind 127.0.0.1 --dir {self.folder}"

    def command(self) -> list[str]:
        return ["sh", "-c", self._script]

    def cli(self, *command: str) -> str:
        return super().cli("--no-auth-warning", "--pass", self.password, *command)


@pytest.mark.slow
def test_users_of_all_nodes_see_each_other_through_caddy_and_a_node_may_end(
    project: Initialized, tmp_path: Path
) -> None:
    with SharedStore(project) as store, ExitStack() as running:
        assert store.cli("CONFIG", "GET", "maxmemory-policy").split()[1] == "noeviction"
        assert store.cli("CONFIG", "GET", "appendonly").split()[1] == "yes"
        servers = []
        for node in NODES:
            environ = {**environment(CLUSTER[node], project), "PRESENCED_TRUSTED_PROXIES": "127.0.0.1"}
            environ["PRESENCED_BACKEND"] = environ["PRESENCED_BACKEND"].replace(
                "valkey:6379", f"127.0.0.1:{store.port}"
            )
            del environ["PRESENCED_LOG_FORMAT"]  # the test waits for the banner
            servers.append(running.enter_context(ServerProcess(environ)))
        variables = environment(CLUSTER["caddy"], project)
        upstreams = " ".join(f"127.0.0.1:{server.port}" for server in servers)
        variables = {"PRESENCED": upstreams, "BALANCING": variables["BALANCING"]}
        port = running.enter_context(proxy("caddy", tmp_path, servers[0].port, "127.0.0.1", variables))
        url = f"https://127.0.0.1:{port}/api/v1/counts"
        headers = {"authorization": f"Bearer {project.secret('backend_key')}"}
        context = trusting(tmp_path / "certificate.pem")
        with ExitStack() as connected, httpx.Client(verify=context, trust_env=False, timeout=PATIENCE) as http:
            for user in ("ada", "bob", "carl"):
                claims = {"sub": user, "exp": int(time.time()) + 600}
                token = jwt.encode(claims, project.secret("jwt_key"), "HS256")
                address = f"wss://127.0.0.1:{port}/ws-online-status?token={token}"
                client = connect(address, ssl=context, proxy=None, origin=Origin("https://a.example"))
                assert f'"userId":"{user}"' in str(connected.enter_context(client).recv(10))
            deadline = time.monotonic() + PATIENCE
            while (found := http.get(url, headers=headers).json())["onlineUsers"] != 3:
                assert time.monotonic() < deadline, found
                time.sleep(0.05)
            connections = [
                httpx.get(f"{server.url}stats", headers=headers, trust_env=False).json()["totalConnections"]
                for server in servers
            ]
            assert connections == [1, 1, 1], "the node with the fewest connections gets the next one"
            servers[0].kill()
            for _ in range(6):
                assert http.get(url, headers=headers).json()["onlineUsers"] == 3
