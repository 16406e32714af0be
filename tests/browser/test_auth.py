"""The test page of a server with authentication."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from tests.support.pages import OpenPage, StartServer
from tests.support.tokens import SECRET, token


def test_the_page_asks_for_a_token_and_does_not_store_it(start_server: StartServer, open_page: OpenPage) -> None:
    server = start_server({"PRESENCED_JWT_KEY": SECRET}, auth="jwt")
    page = open_page(server, protocol="Classic")
    field = page.page.get_by_label("Token", exact=True)
    expect(field).to_be_visible()
    expect(page.page.get_by_text("This server authenticates its users")).to_be_visible()
    expect(page.page.get_by_text("presenced token")).to_be_visible()
    expect(page.person("Ada")).to_be_hidden()
    field.fill(token("ada"))
    page.connect("ada")
    page.speak("presenced.v1")
    field.fill(token("bo"))
    page.connect("bo")
    page.expect_online("ada", "bo")
    page.ignore(re.compile("presenced: (FORBIDDEN|UNAUTHORIZED)"))
    page.submit("carl")  # with the token of bo
    expect(page.connections("carl")).to_contain_text("4403")
    field.fill("nonsense")
    page.submit("dora")
    expect(page.connections("dora")).to_contain_text("4401")
    kept = page.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.body.innerText])")
    for user_id in ("ada", "bo"):
        assert token(user_id).split(".")[1][:20] not in kept


def test_the_page_does_not_ask_for_a_token_without_authentication(
    start_server: StartServer, open_page: OpenPage
) -> None:
    page = open_page(start_server())
    expect(page.page.get_by_text("presenced 0.")).to_be_visible()
    expect(page.page.get_by_label("Token", exact=True)).to_be_hidden()
    expect(page.page.get_by_text("This server authenticates its users")).to_be_hidden()
    expect(page.person("Ada")).to_be_visible()
