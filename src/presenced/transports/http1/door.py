"""The contract between an HTTP connection and the front door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp

from presenced.config.settings import Settings
from presenced.net.refusals import Refusal
from presenced.runtime.clock import Clock, Timer
from presenced.transports.http1.faults import Faults
from presenced.transports.http1.head import Head

if TYPE_CHECKING:
    from presenced.transports.http1.connection import HttpConnection


class Door(Protocol):
    """State that the connections of one listener share, and the decisions about each of them."""

    settings: Settings
    clock: Clock
    timer: Timer
    app: ASGIApp
    """ASGI application that answers the requests."""
    tasks: set[asyncio.Task[None]]
    """Tasks of the requests being answered."""
    faults: Faults

    def came(self, connection: HttpConnection) -> None:
        """Register a new connection, or refuse it."""

    def left(self, connection: HttpConnection) -> None:
        """Unregister a connection that ended without an upgrade."""

    def identify(self, connection: HttpConnection, data: bytes) -> bytes | None:
        """Return the bytes after the PROXY header; None if the header is incomplete or was refused."""

    def upgrades(self, connection: HttpConnection, head: Head) -> bool:
        """Return whether the request was a handshake, which upgrades the connection or refuses it."""

    def refused(self, connection: HttpConnection, refusal: Refusal) -> None:
        """Log and count `refusal`. The connection calls this for every refusal, before writing it."""
