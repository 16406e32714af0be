"""URLs of connections."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit, urlunsplit

from presenced_client.self import Choice, Self

PATH = "/ws-online-status"

MAX_SECONDS = 1e9
"""Longest time to the end of a choice in a URL, some 30 years. A choice that ends later is only in its request."""

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_HTTP_SCHEMES = {"ws": "http", "wss": "https", "http": "http", "https": "https"}


def websocket_address(url: str) -> str:
    """Return the address of the WebSocket for the server's URL. The path is appended, unless it is there.

    Raises:
        ValueError: The URL is not ws(s):// or http(s)://, or has a query or a fragment.
    """
    scheme, netloc, path = _parts(url, _SCHEMES)
    path = path.rstrip("/")
    return urlunsplit((scheme, netloc, path if path.endswith(PATH) else path + PATH, "", ""))


def http_address(url: str) -> str:
    """Return the address of the HTTP API for the server's URL, without a slash at the end."""
    scheme, netloc, path = _parts(url, _HTTP_SCHEMES)
    return urlunsplit((scheme, netloc, path.rstrip("/").removesuffix(PATH), "", ""))


def connection_url(address: str, identity: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    """Return the URL of a connection, with the user id and device if there are any."""
    return f"{address}?{urlencode({key: value for key, value in {**identity, **parameters}.items() if value})}"


def choice_parameters(own: Self | None) -> dict[str, str]:
    """Return the user's choice for a server that no longer knows it, so nobody flashes online after a restart.

    A SELF without a choice gives nothing. The server ignores these parameters if it knows the user.
    """
    if own is None:
        return {}
    status = "" if own.chosen == "auto" else own.chosen
    found = {"status": status, "text": own.own_text, "emoji": own.own_emoji}
    if any(found.values()) and own.own_until:
        found["until"] = str(own.own_until)
    return {name: value for name, value in found.items() if value}


def status_parameters(choice: Choice, now: float, server_offset_ms: float) -> dict[str, str]:
    """Return the status of a choice that the server may not have received, so nobody sees another status first.

    The whole choice follows as a request, because a bad value in a URL ends the client.
    """
    if choice.status not in ("online", "away", "busy", "invisible"):
        return {}
    if choice.ends_at is None:
        return {"status": choice.status}
    if not now < choice.ends_at < now + MAX_SECONDS:
        return {}
    return {"status": choice.status, "until": str(round(choice.ends_at * 1000 + server_offset_ms))}


def _parts(url: str, schemes: Mapping[str, str]) -> tuple[str, str, str]:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise ValueError(f"url must begin with ws://, wss://, http:// or https:// and a host, not {url!r}")
    if parts.query or parts.fragment:
        raise ValueError("url must have no query and no fragment; user_id, device and token are arguments")
    return schemes[parts.scheme], parts.netloc, parts.path
