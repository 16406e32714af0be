"""`examples/plain-page` in a browser: it shows who is online, and returns silently after every kind of loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.support.documents import ROOT
from tests.support.pages import StartServer
from tests.support.process import ServerProcess
from tests.support.program import until

pytestmark = pytest.mark.slow

PAGE = (ROOT / "examples/plain-page/index.html").read_text("utf-8")


@contextmanager
def person(browser: Browser, url: str, server: ServerProcess, user_id: str) -> Iterator[Page]:
    """Open the page in a browser of its own, and connect."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}?server={server.url.replace('http', 'ws', 1).rstrip('/')}")
    page.get_by_label("Your id").fill(user_id)
    page.get_by_role("button", name="Connect").click()
    expect(page.locator("#connection")).to_contain_text("Connected.")
    yield page
    context.close()


def notices_loss(page: Page) -> bool:
    """Show the page again, and return whether it notices the loss: within 3 s, unless a message has just arrived."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    try:
        expect(page.locator("#connection")).to_contain_text("Connection lost", timeout=5_000)
    except AssertionError:
        return False
    return True


def changes(server: ServerProcess, user_id: str) -> list[str]:
    """Return the statuses that others saw, oldest first."""
    epoch = httpx.get(f"{server.url}api/v1/online").json()["position"].partition("-")[0]
    found = httpx.get(f"{server.url}api/v1/changes?after={epoch}-0").json()["changes"]
    return [change["status"] for change in found if change["userId"] == user_id]


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    return start_server(grace_lost=20, grace_going_away=20)


def test_two_people_see_each_other_and_a_chosen_status(
    browser: Browser, plain_page: str, server: ServerProcess
) -> None:
    with person(browser, plain_page, server, "ada") as ada, person(browser, plain_page, server, "bo") as bo:
        bo.get_by_label("Status").select_option("busy")
        bo.get_by_label("Text").fill("in a <b>meeting</b>")
        bo.get_by_role("button", name="Set").click()
        expect(ada.get_by_text("bo, busy: in a <b>meeting</b>")).to_be_visible()
        expect(bo.locator("#connection")).to_have_text("Connected. You are busy: in a <b>meeting</b>.")
        bo.get_by_label("Status").select_option("invisible")
        bo.get_by_role("button", name="Set").click()
        expect(ada.locator("li")).to_have_text(["ada, online"])


def test_a_lost_connection_resumes_and_nobody_notices(browser: Browser, plain_page: str, server: ServerProcess) -> None:
    with person(browser, plain_page, server, "ada") as ada:
        epoch = httpx.get(f"{server.url}api/v1/online").json()["position"]
        for _ in range(2):
            # To the browser the connection is open. The page notices by its own ping that it is dead.
            ada.context.set_offline(True)
            until(lambda: notices_loss(ada))
            ada.context.set_offline(False)
            expect(ada.locator("#connection")).to_contain_text("Connected.")
        assert httpx.get(f"{server.url}api/v1/online").json()["position"] == epoch, "nothing has changed"
        assert server.closed("replaced") + server.closed("lost") + server.closed("keep_session") > 0


def test_users_stay_on_the_page_while_the_server_restarts(
    browser: Browser, plain_page: str, server: ServerProcess
) -> None:
    with person(browser, plain_page, server, "ada") as ada, person(browser, plain_page, server, "bo") as bo:
        expect(ada.locator("li")).to_have_count(2)
        bo.get_by_label("Status").select_option("invisible")
        bo.get_by_role("button", name="Set").click()
        expect(ada.locator("li")).to_have_count(1)
        server.kill()
        expect(ada.locator("#connection")).to_contain_text("Connection lost")
        expect(ada.locator("li")).to_have_count(1)
        server.start()
        for page in (ada, bo):
            expect(page.locator("#connection")).to_contain_text("Connected.")
        expect(bo.locator("#connection")).to_contain_text("You are invisible")
        assert changes(server, "ada") == ["online"]
        assert changes(server, "bo") == [], "the page sent its choice in the URL"


def test_a_page_from_a_file_is_refused(browser: Browser, server: ServerProcess) -> None:
    page = browser.new_page()
    page.goto(f"file://{ROOT}/examples/plain-page/index.html?server={server.url.replace('http', 'ws', 1).rstrip('/')}")
    page.get_by_label("Your id").fill("ada")
    page.get_by_role("button", name="Connect").click()
    expect(page.locator("#connection")).to_contain_text("Connection lost")
    until(lambda: "page null may not connect; to allow it, add file:// to the setting origins" in server.output)
    page.close()
