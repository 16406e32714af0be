"""The page's description of a presenced.v1 user: after losses, with claims of backends, on another server."""

from __future__ import annotations

import re
from urllib.parse import quote

import httpx
from playwright.sync_api import expect
from tests.support.pages import OpenPage, PresencePage, StartServer, until
from tests.support.process import ServerProcess

AWKWARD = "a&status=away #1 + 100 % „é“ 👩‍💻"
"""Text with characters that need escaping in a URL."""


def open_v1(open_page: OpenPage, server: ServerProcess) -> PresencePage:
    page = open_page(server)
    page.speak("presenced.v1")
    return page


def claim(server: ServerProcess, user_id: str, status: str, priority: int = 0, **fields: object) -> None:
    """Set a claim as a calendar would."""
    body = {"status": status, "priority": priority, **fields}
    httpx.put(f"{server.url}api/v1/users/{quote(user_id)}/claims/calendar", json=body).raise_for_status()


def others_see(page: PresencePage, user_id: str, status: str, words: str) -> None:
    """Return the user's own card's description of how others see them."""
    card = page.card(user_id)
    expect(card).to_have_attribute("data-status", status)
    expect(card.locator("header .status")).to_have_text(status)
    expect(card.locator(".own-others")).to_have_text(words)


def test_the_list_is_correct_after_a_drop_and_a_reconnect(patient_server: ServerProcess, open_page: OpenPage) -> None:
    """Users who did not change meanwhile are not sent again when the session resumes."""
    page, others = open_v1(open_page, patient_server), open_v1(open_page, patient_server)
    others.connect("bruno", "chiara", "dalia")
    others.set_status("bruno", "Busy", "in a meeting")
    page.connect("ada")
    page.set_status("ada", "Away", "lunch")
    page.expect_status("bruno", "busy", "in a meeting")
    for _ in range(2):
        page.press("Drop", "ada")
        until(lambda: patient_server.closed("going_away") > 0)
        others.press("Disconnect", "chiara")
        page.press("Reconnect", "ada")
        expect(page.connections("ada").locator(".back-line")).to_contain_text("Resumed.")
        page.expect_status("bruno", "busy", "in a meeting")
        page.expect_status("ada", "away", "lunch")
        page.expect_status("dalia", "online")
        page.expect_status("chiara", "offline")
        others.press("Connect again", "chiara")
        page.expect_status("chiara", "online")


def test_the_card_shows_the_status_to_others_after_the_only_connection_is_lost(
    start_server: StartServer, open_page: OpenPage
) -> None:
    """Nobody on the page is notified of them then, but a lost connection leaves a user unchanged."""
    server = start_server(grace_going_away=3)
    page, other = open_v1(open_page, server), open_v1(open_page, server)
    other.connect("bruno")
    page.connect("ada")
    page.set_status("ada", "Busy", "writing")
    others_see(page, "ada", "busy", "Others see the same.")
    page.press("Drop", "ada")
    until(lambda: server.closed("going_away") == 1)
    expect(page.connections("ada")).to_contain_text("Online until the grace period ends")
    others_see(page, "ada", "busy", "Others see the same.")
    other.expect_status("ada", "busy")
    other.expect_status("ada", "offline")
    others_see(page, "ada", "offline", "Others see: offline.")
    page.press("Reconnect", "ada")
    others_see(page, "ada", "busy", "Others see the same.")

    page.set_status("ada", "Invisible")
    others_see(page, "ada", "offline", "Others see: offline.")
    page.press("Drop", "ada")
    others_see(page, "ada", "offline", "Others see: offline.")


def test_the_card_shows_the_status_to_others_if_no_connection_watches(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_v1(open_page, server)
    page.connect("ada")
    page.watch("ada", "Nobody")
    page.set_status("ada", "Busy")
    others_see(page, "ada", "busy", "Others see the same.")
    claim(server, "ada", "away", priority=1)
    others_see(page, "ada", "away", "Others see the same.")


def test_the_card_names_a_claim_as_the_source(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_v1(open_page, server)
    page.connect("ada")
    expect(page.truth("ada")).to_have_text("online, as detected")
    claim(server, "ada", "away", text="stand-up", expiresIn=600)
    expect(page.truth("ada")).to_have_text(re.compile(r"^away, claimed by a backend · stand-up until \d\d:\d\d:\d\d$"))
    says = page.page.locator("#log li").filter(has_text='"type":"SELF"').first.locator(".says")
    expect(says).to_have_text(re.compile("^own status: away, claimed by a backend · stand-up until .* \\(claim\\)$"))
    for step in ("set a status", "to idle"):
        expect(page.page.locator("#steps .done").filter(has_text=step)).to_have_count(0)
    page.card("ada").get_by_role("button", name="Set status").click()
    expect(page.card("ada").get_by_label("Text")).to_have_value("")  # the claim's text is not the user's own
    page.card("ada").get_by_role("button", name="Cancel").click()

    page.set_status("ada", "Busy", "writing")
    expect(page.truth("ada")).to_have_text("busy, chosen · writing")
    claim(server, "ada", "away", priority=1, text="fire drill")
    expect(page.truth("ada")).to_have_text("away, claimed by a backend over your choice of busy · fire drill")
    page.card("ada").get_by_role("button", name="Set status").click()
    expect(page.card("ada").get_by_label("Text")).to_have_value("writing")
    page.screenshot("claimed")


def test_a_reconnect_restores_text_and_emoji_on_another_server(server: ServerProcess, open_page: OpenPage) -> None:
    """Also if a claim decided: the claim's text is not sent as the user's own."""
    page = open_v1(open_page, server)
    page.connect("ada", "bruno")
    page.set_status("ada", "Away", AWKWARD, "☕")
    page.set_status("bruno", "Auto", "at the desk")
    expect(page.truth("ada")).to_have_text(f"away, chosen · ☕ {AWKWARD}")
    claim(server, "ada", "busy", priority=1, text="stand-up")
    expect(page.truth("ada")).to_contain_text("stand-up")
    page.expect_server_to_go()
    server.kill()
    expect(page.page.get_by_role("alert")).to_contain_text("The server has been unreachable")
    server.start()
    for user_id in ("ada", "bruno"):
        expect(page.connections(user_id)).to_have_attribute("data-state", "open", timeout=10_000)
    expect(page.truth("ada")).to_have_text(f"away, chosen · ☕ {AWKWARD}")
    expect(page.truth("bruno")).to_have_text("online, as detected · at the desk")


def test_a_new_session_of_an_idle_user_is_never_online(start_server: StartServer, open_page: OpenPage) -> None:
    """The server has lost the session, as after a restart. The URL says that nobody is at the device."""
    server = start_server(resume_window=0, grace_going_away=0)
    page, watcher = open_v1(open_page, server), open_v1(open_page, server)
    watcher.connect("watcher")
    page.connect("ada")
    page.set_idle("ada", True)
    watcher.expect_status("ada", "away")
    page.press("Drop", "ada")
    watcher.expect_status("ada", "offline")
    page.press("Reconnect", "ada")
    watcher.expect_status("ada", "away")
    expect(page.connections("ada").get_by_role("switch")).to_have_attribute("aria-checked", "true")
    page.set_status("ada", "Busy")
    watcher.expect_status("ada", "busy")
    assert watcher.seen("ada", by="watcher #1") == ["online", "away", "offline", "away", "busy"]
