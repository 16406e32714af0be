"""Requests of the server's own, to a few addresses from its settings: guarded, for what answers may be anything.

Private and link-local addresses are refused unless they are allowed, redirects are not followed, an answer has a time
and a size. The name is looked up here and the address that was checked is the one connected to, so that a name that
means something else the next time gains nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from presenced.auth.addresses import parse_address
from presenced.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER = 262_144
"""Bytes."""


_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "presenced"}


class OutgoingError(Exception):
    """There was no answer that can be used; the text is for the log."""


class Answer(NamedTuple):
    """Of another server."""

    status: int
    body: bytes
    retry_after: str = ""
    """The header of that name."""


class Outgoing:
    """Requests to one URL.

    Bounds: `MAX_ANSWER`, `timeout` seconds for all of a request.

    Args:
        name: Of the setting the URL comes from.

    Raises:
        ConfigError: The URL can't be used.
    """

    def __init__(self, name: str, url: str, timeout: float, allow_private: bool) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            raise ConfigError(f"{name} can't be {url!r}: expected a URL like https://example.com/path, without a user")
        if parts.scheme == "http" and not allow_private:
            raise ConfigError(
                f"{name} is not https, which is for private addresses only: add outgoing_private where it is one"
            )
        self._url = url
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._netloc = parts.netloc
        self._timeout = timeout
        self._allow_private = allow_private
        self._client: httpx2.AsyncClient | None = None

    async def get(self) -> Answer:
        """GET.

        Raises:
            OutgoingError: It failed.
        """
        return await self._request("GET", b"", {})

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST of JSON.

        Raises:
            OutgoingError: It failed.
        """
        return await self._request("POST", body, {"content-type": "application/json", **headers})

    async def close(self) -> None:
        """Close the connections kept open."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _request(self, method: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        import httpx2

        try:
            async with asyncio.timeout(self._timeout):
                address = await self._address()
                # Connected to by address; the certificate and the header are held to the name.
                url = httpx2.URL(self._url).copy_with(host=address)
                given = {"host": self._netloc, **_HEADERS, **headers}
                extensions = {"sni_hostname": self._host}
                async with self._connected().stream(
                    method, url, content=body, headers=given, extensions=extensions
                ) as response:
                    found = b""
                    async for part in response.aiter_raw():
                        found += part
                        if len(found) > MAX_ANSWER:
                            raise OutgoingError(f"{self._host} answered with more than {MAX_ANSWER:,} bytes")
                    return Answer(response.status_code, found, response.headers.get("retry-after", ""))
        except TimeoutError:
            raise OutgoingError(f"{self._host} did not answer within {self._timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise OutgoingError(f"{self._host} can't be asked: {type(error).__name__}: {error}") from None

    def _connected(self) -> httpx2.AsyncClient:
        import httpx2  # 70 ms, which most servers need not spend

        if self._client is None:
            # Certificates as the machine knows them, and SSL_CERT_FILE; but no proxies out of the environment.
            trusted = httpx2.create_ssl_context()
            self._client = httpx2.AsyncClient(
                verify=trusted, follow_redirects=False, trust_env=False, timeout=self._timeout
            )
        return self._client

    async def _address(self) -> str:
        """One of the name's; all of them have to be allowed."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise OutgoingError(f"{self._host} is not known: {error.strerror}") from None
        addresses = [str(entry[4][0]) for entry in found]
        if not self._allow_private and not all(map(is_public, addresses)):
            raise OutgoingError(f"{self._host} has a private address, which outgoing_private would allow")
        return addresses[0]


def is_public(text: str) -> bool:
    """Whether an address is one of the internet at large: not private, link-local, loopback, shared or reserved."""
    address = parse_address(text)
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None or address in _NAT64:
            return False
    return address.is_global and not address.is_multicast


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def signed(secret: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """Headers by which the receiver knows whose request it is, and that it is not an old one sent again.

    `Presenced-Signature` is `v1=` and the hexadecimal HMAC-SHA256 of the timestamp, a full stop and the body.
    """
    signature = hmac.digest(secret.encode(), str(timestamp).encode() + b"." + body, hashlib.sha256).hex()
    return {"presenced-timestamp": str(timestamp), "presenced-signature": f"v1={signature}"}
