"""The page that describes the HTTP API."""

from __future__ import annotations

import subprocess

import pytest
from playwright.sync_api import expect
from tests.support.looks import DESKTOP, PHONE, SCHEMES, TOO_FAINT
from tests.support.pages import OpenPage, PresencePage
from tests.support.process import ServerProcess

from presenced.http.api.routes import ENDPOINTS


def docs(open_page: OpenPage, server: ServerProcess, **options: object) -> PresencePage:
    page = open_page(server, **options)
    page.page.goto(f"{server.url}docs")
    expect(page.page.locator("article")).to_have_count(len(ENDPOINTS))
    return page


def test_every_endpoint_has_its_fields_and_an_example(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    expect(page.locator("nav a")).to_have_count(len(ENDPOINTS))
    status = page.locator("#setStatus")
    expect(status).to_contain_text("PUT/users/{userId}/status")
    for words in ("expiresIn", "JSON of at most 2,048 bytes", '"status": "busy"', "scope write", "BODY_TOO_LARGE"):
        expect(status).to_contain_text(words)
    page.get_by_role("link", name="GET /online").click()
    expect(page.locator("#listOnline")).to_be_in_viewport()


def test_a_copied_command_runs(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, permissions=["clipboard-read", "clipboard-write"]).page
    part = page.locator("#setClaim")
    part.get_by_role("button", name="Copy").click()
    expect(part.get_by_role("button", name="Copied")).to_be_visible()
    line = page.evaluate("navigator.clipboard.readText()")
    assert line.startswith(f"curl -X PUT '{server.url}api/v1/users/ada/claims/calendar'")
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=20, check=True)
    assert '"userId":"ada"' in ran.stdout


def test_the_search_finds_an_endpoint(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server).page
    page.get_by_label("Find an endpoint").fill("priority")
    expect(page.locator("#setClaim")).to_be_visible()
    expect(page.locator("#getCounts")).to_be_hidden()
    page.get_by_label("Find an endpoint").fill("")
    expect(page.locator("#getCounts")).to_be_visible()


def test_the_test_page_links_to_the_api_page(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    page.get_by_role("link", name="/docs", exact=True).click()
    expect(page.locator("article")).to_have_count(len(ENDPOINTS))
    page.get_by_role("link", name="Test page").click()
    expect(page.get_by_label("User id")).to_be_visible()


def test_text_has_enough_contrast(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP, reduced_motion="reduce")
    for scheme in SCHEMES:
        page.page.emulate_media(color_scheme=scheme)
        page.screenshot(f"docs-{scheme}")
        assert page.page.evaluate(TOO_FAINT) == []


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_the_page_is_not_wider_than_the_screen(width: int, server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=PHONE, is_mobile=True, has_touch=True)
    page.page.set_viewport_size({"width": width, "height": 740})
    widest = "Math.max(document.documentElement.scrollWidth, visualViewport.width, innerWidth)"
    assert page.page.evaluate(widest) <= width
    page.screenshot(f"docs-width-{width}")
