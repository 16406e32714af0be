"""The real proxies of `deploy/`: their shipped configurations with other ports, names and files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tests.support.certificates import write_certificate
from tests.support.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"

PATIENCE = 10.0
"""Maximum number of seconds for a proxy to listen, and to stop."""


def has_ipv6() -> bool:
    """Return whether this machine has the IPv6 loopback address. Some containers lack it."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@contextmanager
def proxy(
    kind: str,
    folder: Path,
    behind: int,
    backends: str,
    variables: Mapping[str, str] = MappingProxyType({}),
    edit: Callable[[str], str] = str,
) -> Iterator[int]:
    """Run a proxy in front of the server on port `behind`. Yields its own port, which uses TLS.

    Args:
        kind: `nginx` or `caddy`.
        folder: Directory for its files, with its certificate.
        backends: Addresses that may use the API through it.
        variables: Environment, with which the configuration may replace what is above.
        edit: Changes the configuration further.
    """
    port = free_port()
    command = proxy_command(kind, folder, port, behind, backends)
    configuration = folder / {"nginx": "nginx.conf", "caddy": "Caddyfile"}[kind]
    configuration.write_text(edit(configuration.read_text()))
    log = (folder / "proxy.log").open("w+")
    environ = {"HOME": str(folder), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **variables}
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
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE)
        log.close()


def proxy_command(kind: str, folder: Path, port: int, behind: int, backends: str) -> list[str]:
    """Write the configuration of a proxy, and return the command that runs it (`proxy`)."""
    write_certificate(folder)
    return {"nginx": _nginx, "caddy": _caddy}[kind](folder, port, behind, backends)


def _nginx(folder: Path, port: int, behind: int, backends: str) -> list[str]:
    found = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert found, "apt-get install nginx-light"
    text = (DEPLOY / "nginx.conf").read_text("utf-8")
    for old, new in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("listen [::]:443 ssl;", f"listen [::1]:{port} ssl;" if has_ipv6() else ""),
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
    user = "user root;" if os.geteuid() == 0 else ""  # otherwise its workers could not write to the folder
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr;"
        f" events {{ worker_connections 16384; }} http {{ {paths}\n{text}\n}}"
    )
    return [found, "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, port: int, behind: int, backends: str) -> list[str]:
    found = shutil.which("caddy")
    assert found, "apt-get install caddy"
    text = (DEPLOY / "Caddyfile").read_text("utf-8")
    for old, new in (
        (
            "{$DOMAIN:presence.example.com} {",
            f"https://127.0.0.1:{port} {{\n tls {folder}/certificate.pem {folder}/key.pem",
        ),
        ("127.0.0.1:3001", f"127.0.0.1:{behind}"),
        ("{$BACKENDS:10.0.0.0/8}", backends),
        ("\n{\n", "\n{\n admin off\n auto_https disable_redirects\n"),
        ("\n\n\tlog {", f"\n\n\tlog {{\n output file {folder}/access.log"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "Caddyfile").write_text(text)
    return [found, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
