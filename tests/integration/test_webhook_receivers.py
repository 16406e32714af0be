"""The receivers in docs/how-to/build/webhooks.md, run unchanged."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest
from tests.support.client import CLIENT, build_client
from tests.support.raw import PATIENCE
from tests.support.webhooks import SECRET, config_for, make_tables, now_ms, sqlite, tell, turns

from presenced.webhooks.dispatcher import WebhookDispatcher
from presenced.webhooks.sender import send_test_events
from presenced.webhooks.signing import new_secret

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).parents[2] / "docs/how-to/build/webhooks.md"


@pytest.fixture
def anyio_backend() -> object:
    """One event loop is enough, because the receivers are under test."""
    return "asyncio"


@pytest.mark.parametrize(("language", "suffix", "program"), [("python", "py", sys.executable), ("js", "mjs", "node")])
async def test_the_receivers_in_the_documents_work(
    tmp_path: Path, unused_port: int, language: str, suffix: str, program: str
) -> None:
    found = shutil.which(program)
    assert found, f"{program} is there (tools/setup)"
    (code,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    file = tmp_path / f"receiver.{suffix}"
    file.write_text(code, "utf-8")
    build_client()
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/presenced").symlink_to(CLIENT)
    environ = {**os.environ, "PORT": str(unused_port), "WEBHOOK_SECRET": SECRET}
    child = await asyncio.create_subprocess_exec(found, file, env=environ, stdout=asyncio.subprocess.PIPE)
    database = sqlite(tmp_path / "presenced.db")
    await make_tables(database)
    config = config_for(f"http://127.0.0.1:{unused_port}/")
    hooks = WebhookDispatcher(database, config, now_ms)
    delivering = asyncio.create_task(hooks.run())
    try:
        await tell(hooks, database, *turns("7", 1, 2), *turns("é'", 3, 1))
        assert child.stdout
        async with asyncio.timeout(PATIENCE):
            lines = [(await child.stdout.readline()).decode() for _ in range(3)]
        assert lines == ["user.online 7 online\n", "user.status_changed 7 away\n", "user.online é' online\n"]
        assert [result.error for result in await send_test_events(config, now_ms())] == [""]
        forged = config_for(*config.urls, secrets=(new_secret(),))
        assert [result.status for result in await send_test_events(forged, now_ms())] == [401]
        late = [result.status for result in await send_test_events(config, now_ms() - 600_000)]
        assert late == [401]
    finally:
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)
        await database.dispose()
        child.kill()
        await child.communicate()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
