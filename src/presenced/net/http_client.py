"""HTTP requests that the server sends to the few URLs in its settings, with protection against hostile responses.

Private and link-local addresses are refused unless the settings allow them. Redirects are not followed, and a response
has a maximum time and size. The name is resolved here, and the connection goes to the checked addresses, so a name that
resolves differently the next time gains nothing. If a name has several addresses, they are tried in the resolver's
order, because sometimes only one responds (`localhost` has ::1 and 127.0.0.1).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from presenced.errors import ConfigError
from presenced.net.addresses import parse_address

if TYPE_CHECKING:
    import httpx2

MAX_ANSWER = 262_144
"""Bytes."""

MAX_ADDRESSES = 16
"""Maximum number of addresses tried for one name. Further addresses are ignored."""

UNREACHABLE_S = 60.0
"""Seconds for which an address that refused a connection is tried after the others of its name. Otherwise a dead first
address would take a share of every request's timeout."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Function that returns the addresses of a name, for a port. It may raise OSError."""


_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "presenced"}


class OutgoingError(Exception):
    """There was no answer that can be used; the text is for the log."""


class Answer(NamedTuple):
    """The answer of another server."""

    status: int
    body: bytes
    retry_after: str = ""
    """The header of that name."""


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Return the addresses from the system's resolver, in its order (RFC 6724)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Outgoing:
    """Client for requests to one URL.

    Bounds: `MAX_ANSWER` for a response; `MAX_ADDRESSES` for a name; `timeout` seconds for a request, over all
    addresses.

    Args:
        name: Setting that holds the URL.

    Raises:
        ConfigError: The URL is invalid.
    """

    def __init__(
        self, name: str, url: str, timeout: float, allow_private: bool, resolve: Resolve = resolve_by_system
    ) -> None:
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
        self._resolve = resolve
        self._unreachable: dict[str, float] = {}
        """Monotonic time until which an address is tried last. Only current addresses of the name are in it."""
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

        loop = asyncio.get_running_loop()
        request = method, body, {"host": self._netloc, **_HEADERS, **headers}
        faults: list[str] = []
        try:
            async with asyncio.timeout(self._timeout):
                ends = loop.time() + self._timeout
                addresses = await self._addresses()
                for tried, address in enumerate(addresses):
                    # The last address may use all the remaining time. Each earlier address gets a share of it.
                    share = max((ends - loop.time()) / (len(addresses) - tried), 0.001)
                    try:
                        answer = await self._ask(address, share, *request)
                    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL) as error:
                        # Nothing was sent, so trying another address cannot repeat the request.
                        self._unreachable[address] = loop.time() + UNREACHABLE_S
                        faults.append(f"{address}: {type(error).__name__}: {error}")
                    else:
                        self._unreachable.pop(address, None)
                        return answer
        except TimeoutError:
            raise OutgoingError(f"{self._host} did not answer within {self._timeout:g} s") from None
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise OutgoingError(f"{self._host} can't be asked: {type(error).__name__}: {error}") from None
        raise OutgoingError(f"{self._host} can't be reached: {'; '.join(faults)}")

    async def _ask(
        self, address: str, connect_timeout: float, method: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        """Send the request to one address. The certificate and the `Host` header must match the name."""
        import httpx2

        url = httpx2.URL(self._url).copy_with(host=address)
        timeout = httpx2.Timeout(self._timeout, connect=connect_timeout)
        extensions = {"sni_hostname": self._host}
        async with self._connected().stream(
            method, url, content=body, headers=headers, extensions=extensions, timeout=timeout
        ) as response:
            found = b""
            async for part in response.aiter_raw():
                found += part
                if len(found) > MAX_ANSWER:
                    raise OutgoingError(f"{self._host} answered with more than {MAX_ANSWER:,} bytes")
            return Answer(response.status_code, found, response.headers.get("retry-after", ""))

    def _connected(self) -> httpx2.AsyncClient:
        import httpx2  # 70 ms, which most servers need not spend

        if self._client is None:
            # Certificates as the machine knows them, and SSL_CERT_FILE; but no proxies out of the environment.
            trusted = httpx2.create_ssl_context()
            self._client = httpx2.AsyncClient(
                verify=trusted, follow_redirects=False, trust_env=False, timeout=self._timeout
            )
        return self._client

    async def _addresses(self) -> Sequence[str]:
        """Return the name's addresses, in the order to try them.

        Raises:
            OutgoingError: The name has no address, or one that is not allowed. A single private address rules out the
                whole name, because a public name with such an address is suspicious.
        """
        try:
            found = await self._resolve(self._host, self._port)
        except OSError as error:
            raise OutgoingError(f"{self._host} is not known: {error.strerror}") from None
        if not self._allow_private and not all(map(is_public, found)):
            raise OutgoingError(f"{self._host} has a private address, which outgoing_private would allow")
        addresses = list(dict.fromkeys(found))[:MAX_ADDRESSES]
        now, unreachable = asyncio.get_running_loop().time(), self._unreachable
        self._unreachable = {a: unreachable[a] for a in addresses if unreachable.get(a, 0.0) > now}
        return sorted(addresses, key=self._unreachable.__contains__)  # stable: keeps the resolver's order otherwise


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
