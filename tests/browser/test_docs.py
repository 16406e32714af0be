"""The page that describes the HTTP API."""

from __future__ import annotations

import json
import re
import subprocess

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from tests.support.looks import DESKTOP, PHONE, SCHEMES, TOO_FAINT
from tests.support.pages import OpenPage, PresencePage, StartServer
from tests.support.process import ServerProcess

from presenced.auth.api_keys import new_key
from presenced.http.api.routes import ENDPOINTS


def docs(open_page: OpenPage, server: ServerProcess, **options: object) -> PresencePage:
    page = open_page(server, **options)
    page.page.goto(f"{server.url}docs")
    expect(page.page.locator("article")).to_have_count(len(ENDPOINTS))
    return page


def unfolded(page: Page, endpoint: str) -> Locator:
    """Return an endpoint after unfolding it."""
    part = page.locator(f"#{endpoint}")
    if part.locator("details.about").get_attribute("open") is None:
        part.locator("summary").first.click()
    return part


def form_of(page: Page, endpoint: str) -> Locator:
    """Return the form "Try it" of an endpoint, after opening it."""
    part = unfolded(page, endpoint)
    if part.locator("details.try").get_attribute("open") is None:
        part.get_by_text("Try it", exact=True).click()
    return part.get_by_role("form")


def field(form: Locator, name: str) -> Locator:
    """Return the input of a form that begins with this label."""
    return form.get_by_role("textbox", name=re.compile(rf"^{name}\b"))


def send(form: Locator, outcome: str | re.Pattern[str]) -> Locator:
    """Send the request of a form, wait for its outcome, and return the body of the response."""
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text(re.compile(outcome))
    return form.get_by_role("region", name="Response")


def test_every_endpoint_has_its_fields_and_an_example(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    expect(page.locator("nav a")).to_have_count(len(ENDPOINTS))
    status = page.locator("#setStatus")
    expect(status).to_contain_text("PUT/users/{userId}/status")
    for words in ("expiresIn", "JSON of at most 2,048 bytes", '"status": "busy"', "scope write", "BODY_TOO_LARGE"):
        expect(status).to_contain_text(words)
    page.get_by_role("link", name="GET /online").click()
    expect(page.locator("#listOnline")).to_be_in_viewport()
    expect(page.locator("#listOnline").get_by_role("heading", name="Parameters")).to_be_visible()


def test_endpoints_and_groups_are_folded_and_unfolded(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    refusals = page.get_by_role("heading", name="Refusals")
    expect(refusals).to_have_count(0)
    page.get_by_role("button", name="Unfold all").click()
    expect(refusals).to_have_count(len(ENDPOINTS))
    page.get_by_role("button", name="Fold all").click()
    expect(refusals).to_have_count(0)
    page.get_by_text("Presence", exact=True).last.click()
    expect(page.locator("#getUser")).to_be_hidden()
    page.get_by_role("link", name="GET /users/{userId}", exact=True).click()
    expect(page.locator("#getUser").get_by_role("heading", name="Refusals")).to_be_visible()
    page.goto(f"{server.url}docs#setClaim")
    expect(page.locator("#setClaim").get_by_role("heading", name="Body")).to_be_visible()


def test_a_request_is_edited_and_sent(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    form = form_of(page, "setStatus")
    field(form, "userId").fill("a/b ö")
    field(form, "Body").fill('{"status": "away", "text": "lunch"}')
    shown = send(form, r"^200 OK · \d+ ms · \d+ bytes$")
    expect(shown).to_contain_text('"userId": "a/b ö"')
    expect(form.locator("dl")).to_contain_text("application/json")
    expect(page.locator("#setStatus .curl pre")).to_contain_text("/users/a%2Fb%20%C3%B6/status")
    found = httpx.get(f"{server.url}api/v1/users/a%2Fb%20%C3%B6/explain").json()
    assert (found["chosen"]["status"], found["chosen"]["text"]) == ("away", "lunch")


def test_refusals_of_the_server_are_shown(server: ServerProcess, open_page: OpenPage) -> None:
    opened = docs(open_page, server, viewport=DESKTOP)
    opened.ignore(re.compile("status of 400"))  # Chromium reports every refused request in the console
    form = form_of(opened.page, "setStatus")
    field(form, "Body").fill("{nonsense")
    expect(send(form, "^400 ")).to_contain_text('"code": "BAD_BODY"')
    field(form, "userId").fill("")
    send(form, "^Enter userId")
    form = form_of(opened.page, "listOnline")
    field(form, "limit").fill("0")
    expect(send(form, "^400 ")).to_contain_text('"code": "BAD_PARAMETER"')


def test_a_destructive_request_asks_first(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    httpx.post(f"{server.url}api/v1/users/ada/announce", json={"online": True})
    form, dialog = form_of(page, "erase"), page.get_by_role("dialog")
    form.get_by_role("button", name="Send").click()
    expect(dialog).to_contain_text("Erase a user.")
    expect(dialog).to_contain_text(f"DELETE {server.url}api/v1/users/ada")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(form.get_by_role("status")).to_have_text("Not sent.")
    form.get_by_role("button", name="Send").click()
    page.keyboard.press("Enter")
    expect(form.get_by_role("status")).to_have_text("Not sent.")
    assert httpx.get(f"{server.url}api/v1/users/ada").json()["status"] == "online"
    form.get_by_role("button", name="Send").click()
    dialog.get_by_role("button", name="Send").click()
    expect(form.get_by_role("status")).to_have_text(re.compile("^200 OK"))
    assert httpx.get(f"{server.url}api/v1/users/ada").json()["status"] == "offline"


def test_a_stream_is_shown_as_it_arrives_until_it_is_stopped(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    form = form_of(page, "followChanges")
    form.get_by_label("As a stream of events").check()
    expect(send(form, "receiving events$")).to_contain_text("event: digest")
    shown = form.get_by_role("region")
    for user_id in ("ada", "bo"):
        httpx.post(f"{server.url}api/v1/users/{user_id}/announce", json={"online": True})
        expect(shown).to_contain_text(f'"userId":"{user_id}"')
    form.get_by_role("button", name="Stop").click()
    expect(form.get_by_role("status")).to_have_text("Stopped.")
    expect(form.get_by_role("button", name="Send")).to_be_focused()
    form = form_of(page, "watch")
    field(form, "users").fill("ada\nnobody")
    expect(send(form, "receiving events$")).to_contain_text('"userId":"nobody"')


def test_a_long_poll_can_be_stopped(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    form = form_of(page, "followChanges")
    field(form, "wait").fill("60")
    form.get_by_role("button", name="Send").click()
    form.get_by_role("button", name="Stop").click()
    expect(form.get_by_role("status")).to_have_text("Stopped.")


def test_the_api_key_is_sent_and_is_nowhere_else(start_server: StartServer, open_page: OpenPage) -> None:
    key = new_key("admin")
    server = start_server({"PRESENCED_API_KEYS": key.entry})
    opened = docs(open_page, server, viewport=DESKTOP)
    opened.ignore(re.compile("status of 401"))
    page = opened.page
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    form = form_of(page, "listAllSessions")
    expect(send(form, "^401 ")).to_contain_text("send Authorization: Bearer and a key")
    page.get_by_label("API key").fill(key.key)
    expect(send(form, "^200 OK")).to_contain_text('"sessions": []')
    assert key.key not in page.content()
    assert not any(key.key in url for url in urls)
    assert key.key not in page.evaluate("document.cookie + JSON.stringify([localStorage, sessionStorage])")
    assert key.key not in json.dumps(page.context.storage_state())
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("")
    page.get_by_label("API key").fill(key.key)
    page.get_by_role("link", name="Test page").click()
    page.go_back()
    expect(page.get_by_label("API key")).to_have_value("")


def test_the_keyboard_suffices(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=DESKTOP).page
    page.locator("#announce summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#announce").get_by_role("heading", name="Refusals")).to_be_visible()
    for _ in range(3):  # the command, its button, "Try it"
        page.keyboard.press("Tab")
    expect(page.locator("#announce .try summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#announce form")).to_be_visible()
    page.keyboard.press("Tab")
    expect(field(page.locator("#announce"), "userId")).to_be_focused()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("carl")
    page.keyboard.press("Enter")
    expect(page.locator("#announce").get_by_role("status")).to_have_text(re.compile("^200 OK"))
    assert httpx.get(f"{server.url}api/v1/users/carl").json()["status"] == "online"


def test_a_copied_command_runs(server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, permissions=["clipboard-read", "clipboard-write"]).page
    part = unfolded(page, "setClaim")
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
    send(form_of(page.page, "getUser"), "^200 OK")
    form_of(page.page, "watch")
    for scheme in SCHEMES:
        page.page.emulate_media(color_scheme=scheme)
        page.screenshot(f"docs-{scheme}")
        assert page.page.evaluate(TOO_FAINT) == []


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_the_page_is_not_wider_than_the_screen(width: int, server: ServerProcess, open_page: OpenPage) -> None:
    page = docs(open_page, server, viewport=PHONE, is_mobile=True, has_touch=True)
    page.page.set_viewport_size({"width": width, "height": 740})
    send(form_of(page.page, "setStatus"), "^200 OK")
    form_of(page.page, "followChanges")
    widest = "Math.max(document.documentElement.scrollWidth, visualViewport.width, innerWidth)"
    assert page.page.evaluate(widest) <= width
    page.screenshot(f"docs-width-{width}")
