"""The composition root: `PresenceServer` builds the parts, starts, drains and stops them."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from presenced.auth.authenticator import Authenticator
from presenced.auth.callable import AuthenticateFunction
from presenced.auth.factory import make_authenticator
from presenced.auth.tickets import Tickets
from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.errors import ConfigError
from presenced.http.api.endpoint import Api
from presenced.http.app import make_app
from presenced.http.waiting import WaitingRequests
from presenced.node.build import build_node
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.node.stats import MAX_PAGE_SESSIONS, Stats
from presenced.python_api.following import ChangeFollowers
from presenced.python_api.operations import PresenceOperations, RunningParts
from presenced.runtime.clock import SystemClock
from presenced.runtime.logs import logger
from presenced.runtime.metrics import Metrics
from presenced.runtime.signals import stop_signal
from presenced.transports.fastpath.direct import DirectWriter
from presenced.transports.fastpath.writer_pool import WriterPool
from presenced.transports.listener import Listener
from presenced.worker.client import WorkerClient
from presenced.worker.factory import make_worker_client

if TYPE_CHECKING:
    from presenced.cluster.factory import ClusterNode
    from presenced.runtime.clock import Clock

SPARE_FILES = 64
"""Number of open files reserved for everything that is not a client's connection."""

MAX_CONNECTIONS = 1_000_000
"""Maximum number of connections if the system sets no limit for open files, or a higher one."""


class _ServerParts(NamedTuple):
    """Parts that run between `start` and `stop`."""

    node: Node
    service: PresenceService
    followers: ChangeFollowers
    waiting: WaitingRequests
    listener: Listener
    writers: WriterPool | None
    storage: WorkerClient | None
    cluster: ClusterNode | None
    authenticator: Authenticator | None
    loop: asyncio.AbstractEventLoop


class PresenceServer(PresenceOperations):
    """Presence server for your own asyncio program. `docs/reference/python-api.md` describes everything it can do.

        async with PresenceServer(Settings(port=3001)) as server:
            server.announce(123)
            print(server.presence("ada").status)
            await server.wait_for_signal()

    Call all methods in the thread of the event loop in which the server was started. The server can be started again
    after `stop`. It logs to the logger `presenced`. It installs no log handlers, and signal handlers only in
    `wait_for_signal`.

    Args:
        settings: Settings; None for the defaults.
        authenticate: Function for `Settings(auth="callable")`. It receives a client's token and returns the user id, a
            `Principal`, or None to refuse the token. It may be a coroutine function.

    Raises:
        ConfigError: `authenticate` is given and `auth` is not callable.
    """

    def __init__(self, settings: Settings | None = None, authenticate: AuthenticateFunction | None = None) -> None:
        self.settings = settings or Settings()
        if authenticate is not None and self.settings.auth != "callable":
            raise ConfigError(f'authenticate is given, and the setting auth is {self.settings.auth}, not "callable"')
        self._authenticate = authenticate
        self._parts: _ServerParts | None = None

    async def start(self) -> None:
        """Start to listen and serve. Return as soon as the server accepts connections.

        Raises:
            ConfigError: A key, an origin or another setting is invalid.
            PortInUse: Another program has the port.
            StorageError: The database cannot be used as it is. The message says what to do.
            ListenError: Listening on the address fails for another reason.
            RuntimeError: The server is running already.
        """
        if self._parts is not None:
            raise RuntimeError("the server is running already")
        clock, metrics = SystemClock(asyncio.get_running_loop()), Metrics()
        storage = make_worker_client(self.settings, clock, metrics)
        writers = WriterPool(self.settings.writers, clock, metrics) if self.settings.writers else None
        parts = None
        try:
            parts = self._build(clock, metrics, storage, writers)
            if storage is not None and parts.node.storage is not None:
                await storage.start(parts.node.storage)
            if parts.cluster is not None:
                await parts.cluster.join()
            await parts.listener.start()
        except BaseException:
            await _abandon(parts, storage, writers)
            raise
        parts.node.start()
        for warning in parts.service.warnings():
            logger.warning("%s", warning, extra={"event": "insecure"})
        if parts.authenticator is not None:
            parts.authenticator.start()
        metrics.gc_pauses.start()
        self._parts = parts

    def _build(
        self, clock: SystemClock, metrics: Metrics, storage: WorkerClient | None, writers: WriterPool | None
    ) -> _ServerParts:
        """Return the connected parts. None has started."""
        tickets = Tickets(self.settings.api_keys)
        authenticator = make_authenticator(self.settings, tickets=tickets, clock=clock, function=self._authenticate)
        node = build_node(
            settings=self.settings,
            clock=clock,
            metrics=metrics,
            max_connections=self.settings.max_connections or _connection_limit(),
            writer=writers or DirectWriter(),
            authenticator=authenticator,
            storage_worker=storage,
            epoch=storage.epoch if storage is not None else "",
            **(cluster_parts() if self.settings.backend else {}),
        )
        service = PresenceService(node, tickets, storage.calls if storage is not None else None)
        api = Api(node, service)
        return _ServerParts(
            node=node,
            service=service,
            followers=ChangeFollowers(service, clock),
            waiting=api.waiting,
            listener=Listener(node, make_app(api)),
            writers=writers,
            storage=storage,
            cluster=make_cluster(self.settings, node, service, clock) if self.settings.backend else None,
            authenticator=authenticator,
            loop=asyncio.get_running_loop(),
        )

    def reload(self) -> None:
        """Load the TLS certificate if its files have changed; no-op without TLS, or if the server is not running.

        The server also does so by itself within seconds.
        """
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
        node = self._checked_parts().node

        def repeat() -> None:
            node.timer.set(repeat, node.clock.monotonic() + seconds)
            action()

        repeat()

    async def stop(self) -> None:
        """Accept no more connections, close every open one with 1001, and wait up to `close_timeout` for the answers.

        Nobody is notified that users leave, because their clients will reconnect. Records that wait for the database
        are stored, if it responds in time. No-op if the server is not running. A second call during the first one
        returns immediately.
        """
        parts = self._parts
        if parts is None or parts.node.is_draining:
            return
        parts.node.log.stopping(len(parts.node.connections))
        try:
            parts.listener.stop_accepting()
            parts.waiting.end()
            parts.followers.stop()
            if parts.cluster is not None:
                parts.cluster.leave()
            await _close_connections(parts)
            if parts.cluster is not None:
                await parts.cluster.stop()
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
        """TCP port on which the server listens, even if the setting is 0."""
        return self._checked_parts().listener.port

    @property
    def url(self) -> str:
        """WebSocket URL without the query, such as `ws://localhost:3001/ws-online-status`."""
        scheme = "wss" if self.settings.tls_key else "ws"
        return f"{scheme}://{authority(self.settings.host, self.port)}{WEBSOCKET_PATH}"

    def get_stats(self, limit: int = MAX_PAGE_SESSIONS, after: int = 0) -> Stats:
        """Return the numbers of users and connections, and a page of the active sessions.

        Args:
            limit: Maximum number of sessions, 0 to 1000.
            after: `Stats.next` of the previous page; 0 for the first page.

        Raises:
            ValueError: `limit` or `after` is out of bounds.
        """
        if not 0 <= limit <= MAX_PAGE_SESSIONS:
            raise ValueError(f"limit is {limit}, expected 0 to {MAX_PAGE_SESSIONS}")
        if after < 0:
            raise ValueError(f"after is {after}, expected 0 or the `next` of the page before")
        return self._checked_parts().node.stats(limit, after)

    def broadcast_user_status(self, user_id: str | int, is_online: bool) -> bool:
        """Do the same as `announce` with the argument `online`. The classic server has this name for it.

        Args:
            is_online: As `online` of `announce`.
        """
        return self.announce(user_id, is_online)

    def handle_user_disconnect(self, user_id: str | int) -> int:
        """Do the same as `disconnect`. The classic server has this name for it."""
        return self.disconnect(user_id)

    async def wait_for_signal(self) -> signal.Signals:
        """Wait for SIGINT (Ctrl+C) or SIGTERM, and return the signal. A second signal ends the process immediately.

        Then leave the `async with` block, or call `stop`.

        Raises:
            RuntimeError: The server is not running.
            ValueError: This is not the main thread, and only that can handle signals.
        """
        self._checked_parts()
        return await stop_signal()

    def _running_parts(self) -> RunningParts:
        parts = self._checked_parts()
        return RunningParts(parts.service, parts.followers, parts.node.clock)

    def _checked_parts(self) -> _ServerParts:
        if self._parts is None:
            raise RuntimeError("the server is not running: await start() first, or use `async with`")
        # The private function returns None outside a loop, where `get_running_loop` raises another error.
        if asyncio._get_running_loop() is not self._parts.loop:
            raise RuntimeError(
                "called outside the server's event loop; from another thread use "
                "loop.call_soon_threadsafe(server.announce, user_id)"
            )
        return self._parts


async def _close_connections(parts: _ServerParts) -> None:
    """Close all connections in waves. In a cluster, their sessions are saved first, for the other nodes."""
    for pause in parts.node.drain():
        if parts.cluster is not None:
            await parts.cluster.flush()
        await asyncio.sleep(pause)
    await parts.listener.stop()
    if parts.cluster is not None:
        await parts.cluster.flush()


async def _abandon(parts: _ServerParts | None, storage: WorkerClient | None, writers: WriterPool | None) -> None:
    """Stop what has started, because the server cannot start."""
    if parts is not None:
        if parts.cluster is not None:
            await parts.cluster.stop()
        parts.node.stop()  # restored data may have set timers
    if storage is not None:
        storage.abandon()
    if writers is not None:
        writers.stop()


def cluster_parts() -> dict[str, Any]:
    """Return the arguments of `build_node` that differ in a cluster. A server that is alone does not import it."""
    from presenced.cluster.directory import SharedDirectory
    from presenced.cluster.history.write_behind import SharedWriteBehind
    from presenced.cluster.names import SharedNames

    return {"directory_class": SharedDirectory, "names_class": SharedNames, "storage_class": SharedWriteBehind}


def make_cluster(settings: Settings, node: Node, service: PresenceService, clock: Clock) -> ClusterNode:
    """Return the node's part in the cluster, not started.

    Raises:
        ConfigError: The client library of the backend is not installed, or the URL is invalid.
    """
    from presenced.cluster.factory import make_cluster_node

    return make_cluster_node(settings, node, service, clock)


def authority(host: str, port: int) -> str:
    """Return `host:port` for a URL (RFC 3986 section 3.2), with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _connection_limit() -> int:
    """Return the number of connections that the system's limit for open files allows."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(soft - SPARE_FILES, MAX_CONNECTIONS))
