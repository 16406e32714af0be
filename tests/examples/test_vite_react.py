"""`examples/vite-react`: its types are right, and the built application shows friends and their statuses."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.support.client import CLIENT, build_client
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = ROOT / "examples/vite-react"


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server()


@pytest.fixture
def application(tmp_path: Path, server: ServerProcess) -> Iterator[str]:
    """Check and build the application with the package as it is now, serve it, and return its URL."""
    build_client()
    folder = tmp_path / "application"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    modules = folder / "node_modules"
    modules.mkdir()
    for installed in (EXAMPLE / "node_modules").iterdir():
        if installed.name != "presenced":
            (modules / installed.name).symlink_to(installed)
    # npm copies the package, and does not copy it again when only its files have changed.
    shutil.copytree(CLIENT / "dist", modules / "presenced/dist")
    shutil.copy(CLIENT / "package.json", modules / "presenced")
    environ = {**os.environ, "VITE_PRESENCE_URL": f"ws://localhost:{server.port}"}
    done = subprocess.run(
        ["npm", "run", "build"], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    handler = functools.partial(_QuietHandler, directory=str(folder / "dist"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://localhost:{serving.server_port}/"
        serving.shutdown()
        thread.join()


def test_friends_see_each_other(browser: Browser, application: str, server: ServerProcess) -> None:
    errors: list[str] = []

    def opened(user: str) -> Page:
        page = browser.new_context().new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{application}?user={user}")
        return page

    def shows(page: Page, *names: str) -> None:
        """Expect these statuses of Ada, Bo and Grace."""
        dots = page.get_by_role("listitem").get_by_role("img")
        expect(dots).to_have_count(len(names))
        for number, name in enumerate(names):
            expect(dots.nth(number)).to_have_accessible_name(name)

    ada = opened("ada")
    shows(ada, "Online", "Offline", "Offline")
    bo = opened("bo")
    shows(ada, "Online", "Online", "Offline")
    bo.get_by_role("button", name="I am busy").click()
    shows(ada, "Online", "Busy", "Offline")
    server.kill()
    expect(ada.get_by_role("status")).to_contain_text("No connection", timeout=15_000)
    shows(ada, "Online", "Busy", "Offline")
    server.start()
    expect(ada.get_by_role("status")).to_be_empty(timeout=15_000)
    shows(ada, "Online", "Busy", "Offline")
    bo.get_by_role("button", name="I am back").click()
    shows(ada, "Online", "Online", "Offline")
    bo.context.close()
    shows(ada, "Online", "Offline", "Offline")
    ada.context.close()
    assert not errors
