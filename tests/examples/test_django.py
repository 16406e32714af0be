"""`examples/django` with Django's server: its tickets connect, and its pages show last seen times and live dots."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.program import Program, until

from presenced.auth.api_keys import new_key

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples/django"
KEY = new_key("write")


@pytest.fixture
def server(start_server: StartServer, tmp_path: Path) -> ServerProcess:
    return start_server(
        {"PRESENCED_API_KEYS": KEY.entry}, auth="ticket", database="sqlite", data_dir=str(tmp_path), grace_lost=1
    )


@pytest.fixture
def application(server: ServerProcess, tmp_path: Path) -> Iterator[str]:
    """Run the example, and return its URL."""
    environ = {
        "DJANGO_DATABASE": str(tmp_path / "people.sqlite3"),
        "PRESENCE_API": f"{server.url}api/v1",
        "PRESENCE_API_KEY": KEY.key,
        "PRESENCE_URL": server.url.rstrip("/"),
        "no_proxy": "*",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    for command in ("migrate", "loaddata people"):
        with Program([sys.executable, "manage.py", *command.split()], EXAMPLE, environ) as program:
            assert program.exit_code() == 0, program.output
    port = free_port()
    with Program([sys.executable, "manage.py", "runserver", "--noreload", str(port)], EXAMPLE, environ) as program:
        program.expect("Starting development server")
        yield f"http://localhost:{port}/"


def log_in(browser: Browser, url: str, user: str, password: str) -> Page:
    page = browser.new_context().new_page()
    page.goto(url)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="People")).to_be_visible()
    return page


def test_people_see_dots_and_last_seen_times(browser: Browser, application: str) -> None:
    ada = log_in(browser, application, "ada", "lovelace")
    expect(ada.locator("[data-seen]")).to_have_text(["online", "offline", "offline"])
    grace = log_in(browser, application, "grace", "hopper")
    expect(ada.locator("[data-seen]")).to_have_text(["online", "offline", "online"])
    grace.get_by_role("button", name="Log out").click()
    expect(grace.get_by_role("heading", name="Log in")).to_be_visible()
    expect(ada.locator("[data-seen]")).to_have_text(["online", "offline", "last seen just now"])
    expect(ada.locator("[data-user='2']")).to_have_attribute("data-status", "offline")
    # The server itself renders the time, without a script.
    html = httpx.get(application, cookies={c["name"]: c["value"] for c in ada.context.cookies()}, trust_env=False).text
    assert re.search(r'<td data-seen="2">last seen (now|(a|\d+) seconds? ago)</td>', html.replace("\xa0", " ")), html
    for page in (ada, grace):
        page.context.close()


def test_a_logout_ends_all_tabs_of_the_browser_and_leaves_other_devices_alone(
    browser: Browser, application: str, server: ServerProcess
) -> None:
    ada, grace, phone = (
        log_in(browser, application, *user) for user in (("ada", "lovelace"), ("grace", "hopper"), ("grace", "hopper"))
    )
    tab = grace.context.new_page()
    tab.goto(application)
    expect(ada.locator("[data-seen='2']")).to_have_text("online")
    expect(tab.locator("[data-seen='1']")).to_have_text("online")
    ada.evaluate(
        """() => {
          window.seen = [];
          const cell = document.querySelector("[data-seen='2']");
          new MutationObserver(() => seen.push(cell.textContent)).observe(cell, { childList: true });
        }"""
    )
    grace.get_by_role("button", name="Log out").click()
    for page in (grace, tab):
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    until(lambda: server.closed("closed") == 2)
    assert ada.evaluate("seen") == [], "the phone is still logged in"
    phone.get_by_role("button", name="Log out").click()
    expect(ada.locator("[data-seen='2']")).to_have_text("last seen just now")
    for page in (ada, grace, phone):
        page.context.close()


def test_a_ticket_needs_a_login_and_a_csrf_token(browser: Browser, application: str) -> None:
    assert httpx.post(f"{application}presence-ticket", trust_env=False).status_code == 403, "no CSRF token"
    page = browser.new_context().new_page()
    page.goto(f"{application}login")
    status = page.evaluate(
        """async () => {
          const headers = { "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value };
          return (await fetch("/presence-ticket", { method: "POST", headers })).status;
        }"""
    )
    assert status == 401
    page.context.close()


def test_the_list_works_while_presenced_is_down(browser: Browser, application: str, server: ServerProcess) -> None:
    server.kill()
    page = log_in(browser, application, "ada", "lovelace")
    expect(page.locator("[data-seen]")).to_have_text(["unknown", "unknown", "unknown"])
    server.start()
    expect(page.locator("[data-seen]")).to_have_text(["online", "offline", "offline"])
    page.context.close()


def test_the_project_passes_the_checks_of_django() -> None:
    subprocess.run([sys.executable, "manage.py", "check", "--fail-level", "WARNING"], cwd=EXAMPLE, check=True)
