"""`examples/nextjs`: its types are right, and the built application shows users, from the first response on."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from standardwebhooks.webhooks import Webhook
from tests.support.documents import NODE_MODULES, ROOT
from tests.support.pages import StartServer
from tests.support.process import ServerProcess
from tests.support.program import Program
from tests.support.proxies import free_port

from presenced.auth.api_keys import new_key
from presenced.webhooks.signing import new_secret

EXAMPLE = ROOT / "examples/nextjs"
KEY = new_key("write")
WEBHOOK_SECRET = new_secret()

WITHOUT_TYPES = """
import { readFileSync } from "node:fs";
import { transformWithOxc } from "vite";
const name = process.argv[1];
const { code } = await transformWithOxc(readFileSync(name, "utf-8"), name, { sourcemap: false });
process.stdout.write(code);
"""


def run_npm(script: str) -> None:
    environ = {**os.environ, "NEXT_TELEMETRY_DISABLED": "1", "CI": "1"}
    done = subprocess.run(["npm", "run", script], cwd=EXAMPLE, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_are_right() -> None:
    run_npm("types")


def test_its_module_is_that_of_the_documentation_with_types(module: str, tmp_path: Path) -> None:
    def without_types(name: str, text: str) -> list[str]:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        command = ["node", "--input-type=module", "-e", WITHOUT_TYPES, str(path)]
        code = subprocess.run(command, cwd=NODE_MODULES.parent, capture_output=True, text=True, check=True).stdout
        lines = (line.partition(" // ")[0].strip() for line in code.split("\n"))
        joined = "".join(line for line in lines if line and not line.startswith(("//", "/*", "*")))
        return joined.replace("let ", "").replace(";", ",").split(",")

    typed = (EXAMPLE / "lib/presence.ts").read_text("utf-8")
    assert without_types("presence.ts", typed) == without_types("presence.js", module)


def test_the_tutorial_contains_the_files_of_the_example_unchanged() -> None:
    page = (ROOT / "docs/tutorial/nextjs-app.md").read_text("utf-8")
    shown = re.findall(r"<!-- test: file people/(\S+) -->\n```\w+\n(.*?)```\n", page, re.DOTALL)
    assert len(shown) >= 5
    for name, code in shown:
        assert code == (EXAMPLE / name).read_text("utf-8"), name


@pytest.fixture(scope="module")
def built() -> None:
    """Build the application, in its folder, because the bundler follows no links."""
    run_npm("build")


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server({"PRESENCED_API_KEYS": KEY.entry}, auth="ticket")


@pytest.fixture
def application(built: None, server: ServerProcess) -> Iterator[tuple[str, Program]]:
    """Run the built application, and return its URL and its output."""
    port = free_port()
    environ = {
        "PRESENCE_API": f"{server.url}api/v1",
        "PRESENCE_API_KEY": KEY.key,
        "PRESENCE_URL": server.websocket_url,
        "PRESENCE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "SESSION_KEY": "a key of the test",
        "NEXT_TELEMETRY_DISABLED": "1",
    }
    command = ["node", "node_modules/next/dist/bin/next", "start", "--port", str(port)]
    with Program(command, EXAMPLE, environ) as program:
        program.expect("Ready in")
        yield f"http://localhost:{port}/", program


def log_in(browser: Browser, url: str, name: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(url)
    page.get_by_label("User").select_option(name)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    return page


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_people_see_each_other_and_the_first_response_has_the_dots(
    browser: Browser, application: tuple[str, Program], server: ServerProcess
) -> None:
    url, program = application
    ada = log_in(browser, url, "Ada Lovelace")
    expect(ada.locator("li")).to_have_text(["Ada Lovelace: online", "Alan Turing: offline", "Grace Hopper: offline"])
    grace = log_in(browser, url, "Grace Hopper")
    grace.get_by_placeholder("Text").fill("reading")
    grace.get_by_label("My status").select_option("busy")
    expect(ada.locator("li").nth(2)).to_have_text("Grace Hopper: busy (reading)")
    cookies = {cookie["name"]: cookie["value"] for cookie in ada.context.cookies()}
    html = httpx.get(url, cookies=cookies, trust_env=False).text.replace("<!-- -->", "")
    assert "Grace Hopper: busy (reading)" in html, "it is in the first response"
    server.kill()
    server.start()
    expect(ada.locator("li").nth(2)).to_have_text("Grace Hopper: busy")
    grace.get_by_role("button", name="Log out Grace Hopper").click()
    expect(grace.get_by_role("heading", name="Log in")).to_be_visible()
    expect(ada.locator("li").nth(2)).to_have_text("Grace Hopper: offline")
    for page in (ada, grace):
        page.context.close()

    assert httpx.post(f"{url}api/presence-ticket", trust_env=False).status_code == 401
    forged = {"session": "grace." + cookies["session"].partition(".")[2]}
    assert httpx.post(f"{url}api/presence-ticket", cookies=forged, trust_env=False).status_code == 401
    body = '{"type": "presence.batch", "data": {"events": [{"type": "user.online", "data": {"userId": 7, '
    body += '"status": "online", "version": 5}}]}}'
    for secret, status in ((new_secret(), 401), (WEBHOOK_SECRET, 204)):
        now = datetime.now(UTC)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign("msg_1", now, body),
        }
        assert httpx.post(f"{url}api/presence-events", content=body, headers=headers).status_code == status
    program.expect("user.online 7 online 5")
