"""The contract between an HTTP connection and the front door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp

from presenced.clock import Clock, Timer
from presenced.refusals import Refusal
from presenced.settings import Settings
from presenced.transports.http1.faults import Faults
from presenced.transports.http1.head import Head

if TYPE_CHECKING:
    from presenced.transports.http1.connection import HttpConnection


class Door(Protocol):
    """State that the connections of one listener share, and decisions about each."""

    settings: Settings
    clock: Clock
    timer: Timer
    app: ASGIApp
    """Answers the requests."""
    tasks: set[asyncio.Task[None]]
    """Requests being answered."""
    faults: Faults

    def came(self, connection: HttpConnection) -> None:
        """A client connected. It may be refused."""

    def left(self, connection: HttpConnection) -> None:
        """The connection ended without an upgrade."""

    def identify(self, connection: HttpConnection, data: bytes) -> bytes | None:
        """Return what follows the PROXY header in `data`; None: that is not complete, or was refused."""

    def upgrades(self, connection: HttpConnection, head: Head) -> bool:
        """Whether the request was no ordinary one: the connection was upgraded, or refused."""

    def refused(self, connection: HttpConnection, refusal: Refusal) -> None:
        """The connection is answered with `refusal`. Called for every refusal, before it is written."""
