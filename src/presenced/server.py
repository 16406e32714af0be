"""The composition root: builds the parts, starts, drains, stops. The five methods of the contract are here."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from presenced.auth.api_keys import ApiKeys
from presenced.auth.authenticator import Authenticator
from presenced.auth.callable import AuthenticateFunction
from presenced.auth.factory import make_authenticator
from presenced.auth.tickets import Tickets
from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.errors import ConfigError
from presenced.http.app import make_app
from presenced.http.waiting import WaitingRequests
from presenced.node.build import build_node
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.node.stats import MAX_PAGE, Stats
from presenced.presence.identity import parse_user_id
from presenced.runtime.clock import SystemClock
from presenced.runtime.logs import logger
from presenced.runtime.metrics import Metrics
from presenced.transports.fastpath.direct import DirectWriter
from presenced.transports.fastpath.writer_pool import WriterPool
from presenced.transports.listener import Listener
from presenced.worker.client import WorkerClient
from presenced.worker.factory import make_worker_client

SPARE_FILES = 64
"""Open files kept free for everything that is not a client's connection."""

MAX_CONNECTIONS = 1_000_000
"""Where the system sets no limit of open files."""


class _Parts(NamedTuple):
    """What runs between `start` and `stop`."""

    node: Node
    service: PresenceService
    waiting: WaitingRequests
    listener: Listener
    writers: WriterPool | None
    storage: WorkerClient | None
    authenticator: Authenticator | None
    loop: asyncio.AbstractEventLoop


class PresenceServer:
    """The online-status server, for your own asyncio program.

        async with PresenceServer(Settings(port=3001)) as server:
            server.broadcast_user_status(123, True)

    All methods belong to the thread of the event loop it was started in. Logging goes to the logger `presenced`;
    no handler is installed, no signal taken.

    Args:
        authenticate: For `Settings(auth="callable")`: given what a client shows, the id of its user, a `Principal`, or
            None; or something to await that yields one of these.

    Raises:
        ConfigError: `authenticate` is given and `auth` is not callable.
    """

    def __init__(self, settings: Settings | None = None, authenticate: AuthenticateFunction | None = None) -> None:
        self.settings = settings or Settings()
        if authenticate is not None and self.settings.auth != "callable":
            raise ConfigError(f'authenticate is given, and the setting auth is {self.settings.auth}, not "callable"')
        self._authenticate = authenticate
        self._parts: _Parts | None = None

    async def start(self) -> None:
        """Listen and serve; returns as soon as connections are taken.

        Raises:
            ConfigError: A key, an origin or another setting can't be used.
            PortInUse: Another program has the port.
            StorageError: The database can't be used as it is.
            ListenError: The address can't be listened on for another reason.
            RuntimeError: It is running already.
        """
        if self._parts is not None:
            raise RuntimeError("the server is running already")
        loop = asyncio.get_running_loop()
        max_connections = self.settings.max_connections or _files_left()
        clock, metrics = SystemClock(loop), Metrics()
        storage = make_worker_client(self.settings, clock, metrics)
        writers = WriterPool(self.settings.writers, clock, metrics) if self.settings.writers else None
        try:
            tickets = Tickets(self.settings.api_keys)
            authenticator = make_authenticator(self.settings, tickets=tickets, clock=clock, function=self._authenticate)
            node = build_node(
                settings=self.settings,
                clock=clock,
                metrics=metrics,
                max_connections=max_connections,
                writer=writers or DirectWriter(),
                authenticator=authenticator,
                storage_worker=storage,
                epoch=storage.epoch if storage is not None else "",
            )
            service = PresenceService(node)
            waiting = WaitingRequests(service.on_change, metrics.api_followers.set)
            app = make_app(
                service=service,
                settings=self.settings,
                clock=clock,
                metrics=metrics,
                throttle=node.throttle,
                gatekeeper=node.gatekeeper,
                keys=ApiKeys(self.settings.api_keys),
                tickets=tickets,
                waiting=waiting,
                storage=storage.calls if storage is not None else None,
            )
            listener = Listener(node, app)
            if storage is not None and node.storage is not None:
                await storage.start(node.storage)
            await listener.start()
        except BaseException:
            if storage is not None:
                storage.abandon()
            if writers is not None:
                writers.stop()
            raise
        node.start()
        for warning in service.warnings():
            logger.warning("%s", warning, extra={"event": "insecure"})
        if authenticator is not None:
            authenticator.start()
        metrics.gc_pauses.start()
        self._parts = _Parts(node, service, waiting, listener, writers, storage, authenticator, loop)

    def reload(self) -> None:
        """Take the TLS certificate's files if they have changed; it happens by itself within seconds, too."""
        if self._parts is not None:
            self._parts.listener.reload_certificate()

    def call_every(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` now and every `seconds` until the server has stopped, with the timer of the heartbeats.

        A watchdog can rely on it: if the event loop hangs or the timer fails, the calls cease.

        Raises:
            ValueError: `seconds` is not above 0.
        """
        if not seconds > 0:
            raise ValueError(f"seconds is {seconds}, expected more than 0")
        node = self._running().node

        def repeat() -> None:
            node.timer.set(repeat, node.clock.monotonic() + seconds)
            action()

        repeat()

    async def stop(self) -> None:
        """Stop: no new connections, a close frame 1001 to every open one, `close_timeout` for the answers.

        Nobody is told of anybody's leaving. No-op when it is not running; a second call while the first one is
        under way returns at once.
        """
        parts = self._parts
        if parts is None or parts.node.draining:
            return
        try:
            parts.listener.stop_accepting()
            parts.waiting.end()
            for pause in parts.node.drain():
                await asyncio.sleep(pause)
            await parts.listener.stop()
            if parts.storage is not None:
                await parts.storage.stop()
        finally:
            parts.node.stop()
            parts.node.metrics.gc_pauses.stop()
            if parts.storage is not None:
                parts.storage.abandon()
            if parts.authenticator is not None:
                await parts.authenticator.stop()
            if parts.writers is not None:
                parts.writers.stop()
            self._parts = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        """The TCP port it listens on, also when the setting was 0."""
        return self._running().listener.port

    @property
    def url(self) -> str:
        """The WebSocket URL, without the query: `ws://localhost:3001/ws-online-status`."""
        scheme = "wss" if self.settings.tls_key else "ws"
        return f"{scheme}://{authority(self.settings.host, self.port)}{WEBSOCKET_PATH}"

    def get_stats(self, limit: int = MAX_PAGE, after: int = 0) -> Stats:
        """Users, connections, and the active sessions.

        Args:
            limit: Sessions at most, 0 to 1000.
            after: `Stats.next` of the page before.

        Raises:
            ValueError: `limit` or `after` is out of bounds.
        """
        if not 0 <= limit <= MAX_PAGE:
            raise ValueError(f"limit is {limit}, expected 0 to {MAX_PAGE}")
        if after < 0:
            raise ValueError(f"after is {after}, expected 0 or the `next` of the page before")
        return self._running().node.stats(limit, after)

    def broadcast_user_status(self, user_id: str | int, is_online: bool) -> bool:
        """Announce the status of a user your backend knows of from elsewhere.

        If that changes the visible status, all others are notified. The announcement holds until you announce the
        opposite. It adds presence and never removes it: a user with an open connection stays online. If none is open,
        announcing offline also ends the grace period of a lost connection.

        Returns:
            Whether the visible status changed.

        Raises:
            BadUserId: `presence.identity.parse_user_id` refuses `user_id`.
            CapacityError: `max_announced` users are already announced online.
        """
        checked = parse_user_id(user_id, self.settings.placeholder_ids)
        return self._running().service.announce(checked, is_online)

    def handle_user_disconnect(self, user_id: str | int) -> int:
        """Close all connections of a user (close code 4410), who goes offline immediately, without a grace period.

        An announcement (`broadcast_user_status`) stays in force.

        Returns:
            Number of connections that were closed.

        Raises:
            BadUserId: `presence.identity.parse_user_id` refuses `user_id`.
        """
        return self._running().service.disconnect(parse_user_id(user_id))

    def _running(self) -> _Parts:
        if self._parts is None:
            raise RuntimeError("the server is not running: await start() first, or use `async with`")
        if asyncio._get_running_loop() is not self._parts.loop:
            raise RuntimeError(
                "called outside the server's event loop; from another thread use "
                "loop.call_soon_threadsafe(server.broadcast_user_status, user_id, True)"
            )
        return self._parts


def authority(host: str, port: int) -> str:
    """`host:port` as a URL has it (RFC 3986 section 3.2): an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _files_left() -> int:
    """How many connections the limit of open files leaves room for."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(soft - SPARE_FILES, MAX_CONNECTIONS))
