"""The HTTP API in memory, without a socket, on a fake clock and a fake database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.support.nodes import make_node

from presenced.auth.tickets import Tickets
from presenced.config.settings import Settings
from presenced.errors import BadParameter, StorageUnavailable
from presenced.http.api.endpoint import Api
from presenced.http.app import make_app
from presenced.node.service import PresenceService
from presenced.storage.records import StoredUser
from presenced.testing import FakeClock
from presenced.worker.calls import StorageCalls

WEBHOOKS: dict[str, Any] = {
    "database": "sqlite",
    "webhook_urls": ["https://example.com/hook"],
    "webhook_secrets": "whsec_" + "A" * 32,
}


class FakeStorage(StorageCalls):
    """Storage worker that gives fixed answers and records the calls."""

    def __init__(self, is_down: bool = False) -> None:
        self.is_down = is_down
        self.asked: list[Any] = []
        self.waiting: dict[str, StoredUser] = {}

    def _reply(self, *asked: object, answer: bytes) -> bytes:
        self.asked.append(asked)
        if self.is_down:
            raise StorageUnavailable("the database does not answer")
        return answer

    def unstored(self, user_ids: Sequence[str]) -> dict[str, StoredUser]:
        """Return the records in `waiting` of these users."""
        return {user_id: record for user_id, record in self.waiting.items() if user_id in user_ids}

    async def last_seen(self, user_ids: Sequence[str]) -> bytes:
        """Return two fixed users."""
        answer = b'[{"userId":7,"lastSeen":500,"lastActive":400},{"userId":"ada","lastSeen":100,"lastActive":90}]'
        return self._reply(*user_ids, answer=answer)

    async def history(self, user_id: str, after: str, limit: int) -> bytes:
        """Return an empty page."""
        return self._reply(user_id, after, limit, answer=b'{"changes":[],"next":null}')

    async def sessions(self, user_id: str, after: str, limit: int) -> bytes:
        """Return an empty page, or refuse the cursor `nonsense`."""
        if after == "nonsense":
            raise BadParameter("after is not the `next` of a page")
        return self._reply(user_id, after, limit, answer=b'{"sessions":[],"next":null}')

    async def erase(self, user_id: str) -> bytes:
        """Return that 12 rows were deleted."""
        return self._reply(user_id, answer=b'{"stored":12}')

    async def dead_letters(self, after: str, limit: int) -> bytes:
        """Return an empty page."""
        return self._reply(after, limit, answer=b'{"deadLetters":[],"next":null}')

    async def retry_dead(self, ids: Sequence[str] | None) -> bytes:
        """Return that 3 dead letters were queued."""
        return self._reply(ids, answer=b'{"retried":3}')


@asynccontextmanager
async def api_client(
    storage: FakeStorage | None = None, **settings: object
) -> AsyncIterator[tuple[PresenceService, httpx.AsyncClient]]:
    """Yield the service of a node and a client whose paths are below `/api/v1`."""
    options = Settings.model_validate({"stats_interval": 0, **(WEBHOOKS if storage else {}), **settings})
    node = make_node(options, FakeClock())
    service = PresenceService(node, Tickets(), storage)
    app = make_app(Api(node, service))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/v1") as client:
        yield service, client
