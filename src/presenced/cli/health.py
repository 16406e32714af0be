"""Command for health checks: `health`."""

from __future__ import annotations

import http.client
import ipaddress
import os
import ssl
import sys
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec
from cyclopts import Parameter

from presenced.cli.options import ConfigFile
from presenced.config.settings import Settings
from presenced.config.sources import load
from presenced.errors import ConfigError, PresencedError
from presenced.net.proxy_protocol import SIGNATURE
from presenced.server import authority

ADDRESS_SETTINGS = ("host", "port", "tls_certificate", "tls_key", "proxy_protocol", "trusted_proxies", "insecure")
"""Settings that this command uses. It needs no secret."""

TIMEOUT_S = 5.0
"""Timeout in seconds for connecting, and again for the response. After that the server counts as unhealthy."""

MAX_HEALTH_RESPONSE_BYTES = 65_536
"""Maximum number of bytes read of a response. The rest is ignored."""

# The header of a connection that a proxy makes for itself (command LOCAL, no addresses).
_LOCAL_PROXY_HEADER = SIGNATURE + b"\x20\x00\x00\x00"


class UnhealthyError(PresencedError):
    """Error that ends `health` with exit code 1 when the server does not work."""


class _Target(NamedTuple):
    """Server to check."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """None without TLS."""
    proxy_protocol: bool = False
    """Whether the server expects a PROXY protocol header."""

    @property
    def name(self) -> str:
        return authority(self.host, self.port)


class _Body(msgspec.Struct):
    """Fields of a response of `/healthz` or `/readyz`, or of a refusal."""

    version: str = ""
    reasons: list[str] = []
    warnings: list[str] = []
    code: str = ""
    detail: str = ""


def health(
    *,
    ready: Annotated[
        bool, Parameter(help="Check whether the server accepts new clients, not only whether it works.")
    ] = False,
    url: Annotated[
        str, Parameter(metavar="URL", help="Check the server at this URL, for example http://localhost:4000.")
    ] = "",
    config: ConfigFile = None,
) -> None:
    """Check whether the server with these settings works. The exit code is 0 if it does, 1 if it does not.

    The command asks /healthz, or /readyz with --ready. It is made for health checks of containers. A server without
    free connections works, but is not ready: a restart would not help it.
    """
    target = _target_of_url(url) if url else _target_of(_settings(config))
    status, body = _ask(target, "/readyz" if ready else "/healthz")
    if status == http.client.OK:
        sys.stdout.write("ready\n" if ready else f"alive, version {body.version}\n")
        sys.stdout.writelines(f"warning: {warning}\n" for warning in body.warnings)
    elif ready and (reasons := body.reasons or [body.detail]) != [""]:
        raise UnhealthyError(f"not ready: {'; '.join(reasons)}")
    elif body.code == "UNAVAILABLE":
        sys.stdout.write(f"alive, but it accepts no new connections: {body.detail}\n")
    else:
        detail = f": {body.detail}" if body.detail else ""
        raise UnhealthyError(f"{target.name} responds with status {status}, which is not healthy{detail}")


def _settings(config: ConfigFile) -> Settings:
    """Return the settings that say where the server is.

    `insecure` allows every host without authentication: the server may have it, or authentication, as a flag, which
    this command does not know.
    """
    return load({"insecure": True}, os.environ, config, ADDRESS_SETTINGS).settings


def _target_of(settings: Settings) -> _Target:
    """Return the server of these settings, at an address of this machine."""
    if not settings.port:
        raise ConfigError("port is 0, so the server has chosen one: name it with --url")
    tls = None
    if settings.tls_key:
        # The certificate is for the public name, and the connection does not leave the machine.
        tls = ssl._create_unverified_context()  # noqa: S323, see above
    return _Target(_address_of(settings.host), settings.port, tls, settings.proxy_protocol)


def _address_of(host: str) -> str:
    """Return the loopback address if the server listens on all addresses, else the host itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _target_of_url(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.path not in ("", "/"):
        raise ConfigError(f"--url can't be {url!r}: expected a URL like http://localhost:3001, without a path")
    if parts.scheme == "https":
        return _Target(parts.hostname, port or 443, ssl.create_default_context())
    return _Target(parts.hostname, port or 80)


class _Connection(http.client.HTTPConnection):
    """HTTP connection that begins with a PROXY protocol header and TLS, as the target needs them."""

    def __init__(self, target: _Target) -> None:
        super().__init__(target.host, target.port, timeout=TIMEOUT_S)
        self._target = target

    def connect(self) -> None:
        """Connect."""
        super().connect()
        if self._target.proxy_protocol:
            self.sock.sendall(_LOCAL_PROXY_HEADER)
        if self._target.tls is not None:
            self.sock = self._target.tls.wrap_socket(self.sock, server_hostname=self._target.host)


def _ask(target: _Target, path: str) -> tuple[int, _Body]:
    """Return the status and the body of the response.

    Raises:
        UnhealthyError: There is no response.
    """
    connection = _Connection(target)
    try:
        connection.request("GET", path, headers={"accept": "application/json", "connection": "close"})
        response = connection.getresponse()
        content = response.read(MAX_HEALTH_RESPONSE_BYTES)
    except TimeoutError:
        raise UnhealthyError(f"{target.name} does not respond within {TIMEOUT_S:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or repr(error)  # errors of TLS and of name resolution have it, too
        raise UnhealthyError(f"no server responds at {target.name}: {reason}") from None
    finally:
        connection.close()
    try:
        return response.status, msgspec.json.decode(content, type=_Body)
    except msgspec.DecodeError:
        raise UnhealthyError(f"{target.name} responds with status {response.status}, but is not presenced") from None
