"""The configurations of the proxies are valid and agree with each other. tests/integration/test_proxies.py runs two."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from tests.support.proxies import DEPLOY, proxy_command
from tests.support.services import find

PUBLIC = {"/ws-online-status", "/api/v1/watch", "/client.js", "/healthz"}
"""Paths for users. Everything else is for operators and backends."""

NGINX = (DEPLOY / "nginx.conf").read_text("utf-8")
CADDYFILE = (DEPLOY / "Caddyfile").read_text("utf-8")


def traefik(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((DEPLOY / "traefik" / name).read_text("utf-8"))
    return parsed


def test_nginx_accepts_its_file(tmp_path: Path) -> None:
    command = proxy_command("nginx", tmp_path, 65000, 65001, "127.0.0.1")
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


def test_caddy_accepts_its_file_with_the_defaults_and_with_other_values() -> None:
    """The Compose project sets the variables."""
    other = {"DOMAIN": "online.example.com", "PRESENCED": "presenced:3001", "BACKENDS": "192.0.2.1 192.0.2.128/25"}
    several = {**other, "PRESENCED": "a:3001 b:3001", "BALANCING": "lb_policy least_conn\nhealth_uri /readyz"}
    for variables, host, upstream, networks in (
        ({}, "presence.example.com", "127.0.0.1:3001", "10.0.0.0/8"),
        (other, "online.example.com", "presenced:3001", '192.0.2.1","192.0.2.128/25'),
        (several, "online.example.com", 'a:3001"},{"dial":"b:3001', '192.0.2.1","192.0.2.128/25'),
    ):
        command = [
            find("caddy"),
            "adapt",
            "--validate",
            "--adapter",
            "caddyfile",
            "--config",
            str(DEPLOY / "Caddyfile"),
        ]
        environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for part in (f'"host":["{host}"]', f'"dial":"{upstream}"', f'"ranges":["{networks}"]'):
            assert part in done.stdout


def test_the_files_forward_the_same_paths_to_the_public() -> None:
    exact = set(re.findall(r"location = (\S+)", NGINX))
    (caddy,) = re.findall(r"@presenced path (.*)", CADDYFILE)
    routers = traefik("presenced.yaml")["http"]["routers"]
    ingress = yaml.safe_load((DEPLOY / "kubernetes/components/ingress/ingress.yaml").read_text("utf-8"))
    rules = ingress["spec"]["rules"][0]["http"]["paths"]
    assert all(rule["pathType"] == "Exact" for rule in rules)
    assert (
        PUBLIC
        == exact
        == set(caddy.split())
        == set(re.findall(r"Path\(`([^`]+)`\)", routers["presenced"]["rule"]))
        == {rule["path"] for rule in rules}
    )


def test_nginx_listens_on_both_versions_of_ip() -> None:
    """`listen 443` alone is IPv4; Caddy and Traefik listen on both by default."""
    assert re.findall(r"listen (.*);", NGINX) == ["443 ssl", "[::]:443 ssl"]


def test_traefik_forwards_the_api_for_backends_only() -> None:
    parsed = traefik("presenced.yaml")["http"]
    routers = parsed["routers"]
    assert set(routers) == {"presenced", "presenced-api"}
    assert routers["presenced-api"]["middlewares"] == ["backends"]
    assert parsed["middlewares"]["backends"]["ipAllowList"]["sourceRange"] == ["10.0.0.0/8"]
    assert routers["presenced"]["priority"] > routers["presenced-api"]["priority"], "/api/v1/watch is for users"


def test_the_parts_of_the_traefik_files_fit_together() -> None:
    static, dynamic = traefik("traefik.yaml"), traefik("presenced.yaml")["http"]
    for router in dynamic["routers"].values():
        assert set(router["entryPoints"]) <= set(static["entryPoints"])
        assert router["tls"]["certResolver"] in static["certificatesResolvers"]
        assert router["service"] in dynamic["services"]
    (service,) = dynamic["services"].values()
    assert service["loadBalancer"]["serversTransport"] in dynamic["serversTransports"]
    assert static["accessLog"]["fields"]["names"]["RequestPath"] == "drop", "its query may contain a token"


def test_the_files_close_idle_connections_before_the_server_does() -> None:
    (transport,) = traefik("presenced.yaml")["http"]["serversTransports"].values()
    assert transport["forwardingTimeouts"]["idleConnTimeout"] == "60s"  # test_http1.py compares nginx and Caddy
