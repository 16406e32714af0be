"""`examples/fastapi` with uvicorn: its tokens are accepted, its page shows users, and it receives signed webhooks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from standardwebhooks.webhooks import Webhook
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.program import Program, until
from tests.support.tokens import SECRET
from websockets.sync.client import connect

from presenced.webhooks.signing import new_secret

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples/fastapi"
WEBHOOK_SECRET = new_secret()
ADA, GRACE = ("ada", "lovelace"), ("grace", "hopper")


@pytest.fixture
def application() -> Iterator[httpx.Client]:
    """Run the example, and return a client for it."""
    port = free_port()
    environ = {"PRESENCED_JWT_KEY": SECRET, "PRESENCED_WEBHOOK_SECRETS": WEBHOOK_SECRET}
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port), "--no-access-log"]
    with Program(command, EXAMPLE, environ) as program:
        program.expect("Uvicorn running on")
        with httpx.Client(base_url=f"http://localhost:{port}", trust_env=False) as client:
            yield client


@pytest.fixture
def server(application: httpx.Client, start_server: StartServer, tmp_path: Path) -> ServerProcess:
    return start_server(
        {"PRESENCED_JWT_KEY": SECRET, "PRESENCED_WEBHOOK_SECRETS": WEBHOOK_SECRET},
        auth="jwt",
        database="sqlite",
        data_dir=str(tmp_path),
        webhook_urls=f"http://127.0.0.1:{application.base_url.port}/presence-events",
        outgoing_private=True,
    )


def test_a_token_identifies_the_user_who_is_logged_in(application: httpx.Client, server: ServerProcess) -> None:
    assert application.post("/presence-token").status_code == 401
    assert application.post("/presence-token", auth=("ada", "wrong")).status_code == 401
    token = application.post("/presence-token", auth=ADA).json()["token"]
    with connect(f"{server.websocket_url}?token={token}", proxy=None) as socket:
        assert '"userId":"ada"' in str(socket.recv())


def test_webhooks_fill_the_table_of_users_who_are_online(application: httpx.Client, server: ServerProcess) -> None:
    def online() -> list[str]:
        return list(application.get("/online", auth=GRACE).json())

    token = application.post("/presence-token", auth=ADA).json()["token"]
    with connect(f"{server.websocket_url}?token={token}", proxy=None):
        until(lambda: online() == ["ada"])
    until(lambda: online() == [])
    assert application.get("/online").status_code == 401


def test_a_forged_webhook_is_refused_and_an_old_version_is_ignored(application: httpx.Client) -> None:
    def send(secret: str, version: int, status: str) -> int:
        body = (
            '{"type": "presence.batch", "data": {"events": [{"type": "user.online", "data": '
            f'{{"userId": 7, "status": "{status}", "version": {version}}}}}]}}}}'
        )
        now = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("msg_1", now, body),
        }
        return application.post("/presence-events", content=body, headers=headers).status_code

    assert send(new_secret(), 1, "online") == 401
    assert application.get("/online", auth=ADA).json() == []
    assert send(WEBHOOK_SECRET, 5, "online") == 204
    assert send(WEBHOOK_SECRET, 4, "offline") == 204
    assert application.get("/online", auth=ADA).json() == ["7"]


def test_the_page_shows_the_names_of_users(application: httpx.Client, server: ServerProcess, browser: Browser) -> None:
    pages = []
    for user, password in (ADA, GRACE):
        context = browser.new_context(http_credentials={"username": user, "password": password})
        page = context.new_page()
        page.goto(f"{application.base_url}/?server={server.url.rstrip('/')}")
        pages.append(page)
    for page in pages:
        # Which of the two comes first depends on who connected first.
        for text in ("Ada Lovelace: online", "Grace Hopper: online"):
            expect(page.locator("li", has_text=text)).to_have_count(1)
        expect(page.locator("li")).to_have_count(2)
        page.context.close()
