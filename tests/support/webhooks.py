"""A receiver of webhooks that verifies signatures with the library of the specification, and records to send."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from standardwebhooks.webhooks import Webhook
from tests.support.changes import change_of

from presenced.presence.model import Change
from presenced.storage.records import RoomOccupancy
from presenced.storage.schema import metadata
from presenced.webhooks.config import WebhookConfig
from presenced.webhooks.dispatcher import WebhookDispatcher

SCALE = 0.01
"""Seconds in tests for one second of the product."""

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Secret in the tests of the specification."""
NOON = 1_704_110_400_000


class Received(NamedTuple):
    """One request to a receiver."""

    id: str
    body: dict[str, Any]
    events: list[dict[str, Any]]
    status: int
    """Status of the response; 0 if there was none."""
    at: float


Answer = Callable[["Received"], int]
"""Function that returns the status to answer with; 0 closes the connection without a response."""


class Receiver:
    """HTTP server on loopback, in threads of its own.

    Args:
        answer: Status for a request with a valid signature. Others get 401.
        port: 0 for a free one.
    """

    def __init__(self, answer: Answer = lambda _: 204, secret: str = SECRET, port: int = 0) -> None:
        self.answer = answer
        self.headers: dict[str, str] = {}
        """Headers added to each response."""
        self.requests: list[Received] = []
        self.asked = 0
        """Number of requests, including those that are not answered yet."""
        self.forged = 0
        self.connections: set[object] = set()
        self._secret = secret
        self._news = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """Port of the receiver."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """URL for webhooks, with a secret in its query."""
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Return the events answered with 2xx, in order."""
        return [one for request in self.requests if 200 <= request.status < 300 for one in request.events]

    def versions(self, user: object) -> list[int]:
        """Return the versions of a user's accepted events, each event once, in the order of their first arrival."""
        seen = {one["id"]: one["data"] for one in self.taken}
        return [data["version"] for data in seen.values() if data.get("userId") == user]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.connections.add(self.client_address)
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.respond(body, dict(self.headers.items()))
                if not status:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def respond(self, body: bytes, headers: dict[str, str]) -> int:
        """Verify and record a request, and return the status to answer with; 0 for none."""
        try:
            found = Webhook(self._secret).verify(body, headers)
        except Exception:
            self.forged += 1
            return 401
        events = found["data"].get("events", []) if isinstance(found["data"], dict) else []
        self.asked += 1
        request = Received(headers["webhook-id"], found, events, 0, time.monotonic())
        status = self.answer(request)
        with self._news:
            self.requests.append(request._replace(status=status))
            self._news.notify_all()
        return status


def config_for(*urls: str, **changes: Any) -> WebhookConfig:
    """Return a configuration with short delays that allows loopback."""
    config = WebhookConfig(
        urls,
        (SECRET,),
        allow_private=True,
        timeout_s=3000 * SCALE,
        batch_wait_s=2 * SCALE,
        first_retry_s=2 * SCALE,
        max_retry_s=10 * SCALE,
        poll_s=10 * SCALE,
    )
    return msgspec.structs.replace(config, **changes)


def now_ms() -> int:
    """Return the time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def sqlite(file: Path) -> AsyncEngine:
    """Open an SQLite file as the storage worker does."""
    made = create_async_engine(f"sqlite+aiosqlite:///{file}", connect_args={"timeout": 5})

    @event.listens_for(made.sync_engine, "connect")
    def connected(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return made


async def make_tables(database: AsyncEngine) -> None:
    """Create all tables."""
    async with database.begin() as connection:
        await connection.run_sync(metadata.create_all)


async def tell(hooks: WebhookDispatcher, database: AsyncEngine, *records: Change | RoomOccupancy) -> None:
    """Queue the events of records as the storage worker does."""
    async with database.begin() as connection:
        await hooks.producer.enqueue(connection, records)
    hooks.wake()


def change(user: str, version: int, status: str = "online", **more: Any) -> Change:
    """Return a change; `was` and `seen_ms` do not matter here."""
    return change_of(user, version, status, at_ms=NOON, **more)


def turns(user: str, first: int, number: int) -> list[Change]:
    """Return changes that are all events: online, away, online, ..."""
    return [change(user, first + n, ("online", "away")[n % 2]) for n in range(number)]
