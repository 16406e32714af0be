"""HTTP requests that the server sends to the few URLs in its settings: JWK Set, callbacks and webhooks.

A request of the server can reach machines that the public cannot, such as metadata services of clouds. These rules keep
anyone who controls the other server, or its DNS, from using that (server-side request forgery, CVE-2026-32301):

| rule | attack that it stops |
|---|---|
| The URL comes from the settings, never from a token, request or response | a URL of the attacker's choice |
| `https` only, and public addresses only, unless `outgoing_private` is set | a name that resolves to 10.0.0.1 |
| One private address rules out the whole name | a second address that is used when the first fails |
| The connection goes to the address that was checked | a name that resolves differently the next time |
| IPv4 in IPv6 (mapped, 6to4, Teredo, NAT64) is not public | `::ffff:10.0.0.1`, `64:ff9b::a00:1` |
| Redirects are not followed | `Location: http://169.254.169.254/` |
| The certificate must match the name, with the trust store of the machine | an address that someone else took over |
| At most `MAX_RESPONSE_BYTES`, uncompressed, within `timeout` | endless responses, compression bombs |
| No proxies from the environment | a proxy that resolves the name itself |

A name may have several addresses, such as ::1 and 127.0.0.1 of `localhost`, and perhaps only one of them responds. They
are tried in the resolver's order, each with its share of the remaining time. An address that refused is tried last for
`UNREACHABLE_S` seconds. A request that was sent is never repeated at another address, because the first one may have
processed it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from presenced.errors import ConfigError
from presenced.net.addresses import parse_address

if TYPE_CHECKING:
    import httpx2

MAX_RESPONSE_BYTES = 262_144
"""Maximum number of bytes of a response. A longer one is a failure."""

MAX_ADDRESSES_OF_NAME = 16
"""Maximum number of addresses tried for one name. Further addresses are ignored."""

UNREACHABLE_S = 60.0
"""Seconds for which an address that refused a connection is tried after the others of its name. Otherwise a dead first
address would take a share of every request's timeout."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Function that returns the addresses of a name, for a port. It may raise OSError."""

# `identity`: a compressed response could expand beyond the bound.
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "presenced"}

_PRIVATE_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "::/96",  # IPv4-compatible (RFC 4291 section 2.5.5.1)
            "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765 section 2.1)
            "64:ff9b::/96",  # NAT64 (RFC 6052 section 2.1)
            "64:ff9b:1::/48",  # NAT64 of a network (RFC 8215)
            "2001::/32",  # Teredo (RFC 4380 section 2.6)
            "2002::/16",  # 6to4 (RFC 3056 section 2)
            "fec0::/10",  # site-local (RFC 3879)
        ),
    )
)
"""Networks that Python counts as global, and whose addresses may lead into a private network: most contain an IPv4
address to which a gateway may forward."""


class HttpClientError(Exception):
    """There is no usable response. The text is for the log."""


class HttpResponse(NamedTuple):
    """Response of another server."""

    status: int
    body: bytes
    retry_after: str = ""
    """Value of the `Retry-After` header."""


async def resolve_with_system(host: str, port: int) -> Sequence[str]:
    """Return the addresses from the system's resolver, in its order (RFC 6724)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class HttpClient:
    """Client for requests to one URL. It keeps connections open between requests.

    Bounds: `MAX_RESPONSE_BYTES` for a response; `MAX_ADDRESSES_OF_NAME` for a name; `timeout` seconds for a request,
    over all addresses.

    Args:
        name: Setting that holds the URL.
        allow_private: Also allow private addresses, and `http`.

    Raises:
        ConfigError: The URL is invalid.
    """

    def __init__(
        self, name: str, url: str, timeout: float, allow_private: bool, resolve: Resolve = resolve_with_system
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:  # the port is not a number in range, or the brackets hold no IPv6 address
            raise ConfigError(f"{name} can't be {url!r}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment:
            raise ConfigError(f"{name} can't be {url!r}: expected a URL like https://example.com/path, without a user")
        if parts.scheme == "http" and not allow_private:
            raise ConfigError(
                f"{name} is not https, which is for private addresses only: add outgoing_private if it is one"
            )
        self._url = url
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._netloc = parts.netloc
        self._timeout = timeout
        self._allow_private = allow_private
        self._resolve = resolve
        self._unreachable: dict[str, float] = {}
        """Monotonic time until which an address is tried last. Only current addresses of the name are in it."""
        self._client: httpx2.AsyncClient | None = None

    async def get(self) -> HttpResponse:
        """Send a GET request.

        Raises:
            HttpClientError: There is no usable response.
        """
        return await self._request("GET", b"", {})

    async def post(self, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Send a POST request with a JSON body.

        Raises:
            HttpClientError: There is no usable response.
        """
        return await self._request("POST", body, {"content-type": "application/json", **headers})

    async def close(self) -> None:
        """Close open connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _request(self, method: str, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
        import httpx2  # not at the top: it takes 70 ms, and most servers send no requests

        loop = asyncio.get_running_loop()
        request_headers = {"host": self._netloc, **_HEADERS, **headers}
        faults: list[str] = []
        try:
            async with asyncio.timeout(self._timeout):
                ends = loop.time() + self._timeout
                addresses = await self._addresses()
                for tried, address in enumerate(addresses):
                    # The last address may use all the remaining time. Each earlier address gets a share of it.
                    share = max((ends - loop.time()) / (len(addresses) - tried), 0.001)
                    try:
                        response = await self._send(address, share, method, body, request_headers)
                    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.InvalidURL) as error:
                        # Nothing was sent, so trying another address cannot repeat the request.
                        self._unreachable[address] = loop.time() + UNREACHABLE_S
                        faults.append(f"{address}: {type(error).__name__}: {error}")
                    else:
                        self._unreachable.pop(address, None)
                        return response
        except TimeoutError:
            raise HttpClientError(f"{self._host} did not respond within {self._timeout:g} s") from None
        except (httpx2.HTTPError, OSError, ValueError) as error:
            raise HttpClientError(f"the request to {self._host} failed: {type(error).__name__}: {error}") from None
        raise HttpClientError(f"{self._host} can't be reached: {'; '.join(faults)}")

    async def _send(
        self, address: str, connect_timeout: float, method: str, body: bytes, headers: Mapping[str, str]
    ) -> HttpResponse:
        """Send the request to one address. The certificate and the `Host` header must match the name."""
        import httpx2

        if self._client is None:
            # This context uses the trust store of the machine, and SSL_CERT_FILE. `trust_env` would add proxies.
            trusted = httpx2.create_ssl_context()
            self._client = httpx2.AsyncClient(verify=trusted, follow_redirects=False, trust_env=False)
        url = httpx2.URL(self._url).copy_with(host=address)
        timeout = httpx2.Timeout(self._timeout, connect=connect_timeout)
        extensions = {"sni_hostname": self._host}
        async with self._client.stream(
            method, url, content=body, headers=headers, extensions=extensions, timeout=timeout
        ) as response:
            found = b""
            async for part in response.aiter_raw():  # raw: not decompressed, regardless of Content-Encoding
                found += part
                if len(found) > MAX_RESPONSE_BYTES:
                    raise HttpClientError(f"{self._host} responded with more than {MAX_RESPONSE_BYTES:,} bytes")
            return HttpResponse(response.status_code, found, response.headers.get("retry-after", ""))

    async def _addresses(self) -> Sequence[str]:
        """Return the name's addresses, in the order to try them.

        Raises:
            HttpClientError: The name has no address, or one that is not allowed.
        """
        try:
            found = await self._resolve(self._host, self._port)
        except OSError as error:
            raise HttpClientError(f"{self._host} is not known: {error.strerror}") from None
        if not self._allow_private and not all(map(is_public, found)):
            raise HttpClientError(f"{self._host} has a private address, which outgoing_private would allow")
        addresses = list(dict.fromkeys(found))[:MAX_ADDRESSES_OF_NAME]
        now, unreachable = asyncio.get_running_loop().time(), self._unreachable
        self._unreachable = {a: unreachable[a] for a in addresses if unreachable.get(a, 0.0) > now}
        # False sorts before True, so unreachable addresses come last. Otherwise the resolver's order stays.
        return sorted(addresses, key=lambda address: address in self._unreachable)


def is_public(text: str) -> bool:
    """Return whether an address is public: not private, link-local, loopback, shared, reserved or multicast."""
    address = parse_address(text)
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _PRIVATE_IPV6):
        return False
    return address.is_global and not address.is_multicast
