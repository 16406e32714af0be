"""A receiver of webhooks that verifies them with the specification's own library, and facts to tell it."""

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
from presenced.webhooks.dispatcher import Webhooks

SCALE = 0.01
"""Seconds that stand for one of the product's."""

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The one of the specification's own tests."""
NOON = 1_704_110_400_000


class Received(NamedTuple):
    """One request."""

    id: str
    body: dict[str, Any]
    events: list[dict[str, Any]]
    status: int
    """What it was answered with; 0 for not at all."""
    at: float


Answer = Callable[["Received"], int]
"""The status to answer with; 0 closes the connection without a word."""


class Receiver:
    """Listens on loopback, in threads of its own.

    Args:
        answer: For a request whose signature is right; others get 401.
        port: 0 takes a free one.
    """

    def __init__(self, answer: Answer = lambda _: 204, secret: str = SECRET, port: int = 0) -> None:
        self.answer = answer
        self.headers: dict[str, str] = {}
        """Added to each answer."""
        self.requests: list[Received] = []
        self.asked = 0
        """Requests, also those that have still to be answered."""
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
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=hidden"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """Events answered with 2xx, in order."""
        return [one for request in self.requests if 200 <= request.status < 300 for one in request.events]

    def versions(self, user: object) -> list[int]:
        """Of a user's events that were taken, each event once, in the order of their first arrival."""
        seen = {one["id"]: one["data"] for one in self.taken}
        return [data["version"] for data in seen.values() if data.get("userId") == user]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.connections.add(self.client_address)
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver._take(body, dict(self.headers.items()))
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

    def _take(self, body: bytes, headers: dict[str, str]) -> int:
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
    """Quick, and to loopback."""
    config = WebhookConfig(
        urls,
        (SECRET,),
        allow_private=True,
        timeout=3000 * SCALE,
        batch_wait=2 * SCALE,
        first_retry=2 * SCALE,
        last_retry=10 * SCALE,
        idle_wait=10 * SCALE,
    )
    return msgspec.structs.replace(config, **changes)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def sqlite(file: Path) -> AsyncEngine:
    """An SQLite file as the keeper opens it."""
    made = create_async_engine(f"sqlite+aiosqlite:///{file}", connect_args={"timeout": 5})

    @event.listens_for(made.sync_engine, "connect")
    def connected(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return made


async def make_tables(database: AsyncEngine) -> None:
    async with database.begin() as connection:
        await connection.run_sync(metadata.create_all)


async def tell(hooks: Webhooks, database: AsyncEngine, *facts: Change | RoomOccupancy) -> None:
    """As the keeper does it."""
    async with database.begin() as connection:
        await hooks.enqueue(connection, facts)
    hooks.wake()


def change(user: str, version: int, status: str = "online", **more: Any) -> Change:
    """A change; `was` and `seen_ms` do not matter here."""
    return change_of(user, version, status, at_ms=NOON, **more)


def turns(user: str, first: int, number: int) -> list[Change]:
    """So many changes, each of which is to be told: online, away, online, ..."""
    return [change(user, first + n, ("online", "away")[n % 2]) for n in range(number)]
