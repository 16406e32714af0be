"""Layout, colours and motion of the test page. Screenshots go to `.screenshots/`."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import expect
from tests.support.looks import DESKTOP, PHONE, SCHEMES, TOO_FAINT
from tests.support.pages import OpenPage, PresencePage
from tests.support.process import ServerProcess


def fill(page: PresencePage) -> None:
    """Show every kind of element: two connections of one user, each kind of end, a refusal."""
    page.speak("Classic")
    page.connect("ada", "bruno", "ada", "chiara", "dalia")
    page.press("Disconnect", "bruno")
    page.press("Drop", "chiara")
    page.submit("")
    page.expect_offline("bruno")
    expect(page.connections("(empty)")).to_have_attribute("data-state", "closed")
    page.page.locator("#user-id").fill("emil")  # what is suggested differs from run to run
    page.page.mouse.move(0, 0)


def fill_v1(page: PresencePage) -> None:
    """Show every kind of element of presenced.v1."""
    page.speak("presenced.v1", "desktop")
    page.connect("ada", "bruno", "chiara")
    page.speak("presenced.v1", "phone")
    page.connect("ada")
    page.set_status("bruno", "Busy", "In a meeting with everybody who has time", "☎", 600)
    page.set_status("chiara", "Invisible")
    page.set_idle("ada", True)
    page.join("ada", "lobby", '{"role":"host"}')
    page.join("bruno", "lobby", "hello")
    page.join("ada", "too-much", "x" * 3000)
    page.watch("ada", "Only these", "bruno", "never-here", nth=1)
    expect(page.seen_by("ada", 1)).to_have_count(2)
    page.press("Drop", "ada", 1)
    page.set_status("bruno", "Away", "lunch", "☕")
    expect(page.room("ada", "lobby").locator(".person").last).to_contain_text("lunch")
    page.press("Reconnect", "ada", 1)
    expect(page.connections("ada").nth(1).locator(".back-missed li")).to_have_count(1)
    expect(page.connections("ada").first.locator(".refusal")).to_be_visible()
    page.card("bruno").get_by_role("button", name="Set status").click()
    page.page.locator("#user-id").fill("emil")
    page.page.mouse.move(0, 0)


def test_text_of_presenced_v1_has_enough_contrast(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(patient_server, viewport=DESKTOP, reduced_motion="reduce")
    fill_v1(page)
    for scheme in SCHEMES:
        page.page.emulate_media(color_scheme=scheme)
        page.screenshot(f"{scheme}-v1")
        assert page.page.evaluate(TOO_FAINT) == []


def test_no_element_of_presenced_v1_is_wider_than_the_screen(
    patient_server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_page(patient_server, viewport=PHONE, is_mobile=True, has_touch=True, reduced_motion="reduce")
    fill_v1(page)
    page.connect("W" * 128)
    page.set_status("W" * 128, "Busy", "W" * 140, "W" * 32)
    page.join("W" * 128, "W" * 128, "W" * 500)
    expect(page.room("W" * 128, "W" * 128).locator(".person")).to_be_visible()
    for width in (360, 320, 768, 1024, 1280):
        page.page.set_viewport_size({"width": width, "height": 740})
        widest = "Math.max(document.documentElement.scrollWidth, visualViewport.width, innerWidth)"
        assert page.page.evaluate(widest) <= width
        page.screenshot(f"v1-width-{width}")
    page.page.set_viewport_size(PHONE)
    small = page.page.locator("button:visible, input:visible, select:visible, summary:visible").evaluate_all(
        "(all) => all.filter((e) => (e.closest('.check') ?? e).getBoundingClientRect().height < 40)"
        ".map((e) => e.outerHTML)"
    )
    assert small == []


def test_text_has_enough_contrast(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(patient_server, viewport=DESKTOP, reduced_motion="reduce")

    def look(state: str) -> None:
        for scheme in SCHEMES:
            page.page.emulate_media(color_scheme=scheme)
            page.screenshot(f"{scheme}-{state}")
            assert page.page.evaluate(TOO_FAINT) == []

    look("empty")
    fill(page)
    look("in-use")
    page.expect_server_to_go()
    patient_server.kill()
    expect(page.page.get_by_role("alert")).to_be_visible()
    look("server-gone")


def test_dark_mode_is_dark(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(patient_server, viewport=DESKTOP, reduced_motion="reduce")
    page.page.locator("#user-id").fill("ada")
    assert page.page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"
    shots: list[bytes] = []
    grounds: list[list[int]] = []
    for scheme in SCHEMES:
        page.page.emulate_media(color_scheme=scheme)
        shots.append(page.page.screenshot())
        grounds.append(page.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"))
    assert shots[0] != shots[1]
    assert min(grounds[0]) > 200
    assert max(grounds[1]) < 60


def test_no_element_is_wider_than_the_screen(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(patient_server, viewport=PHONE, is_mobile=True, has_touch=True, reduced_motion="reduce")
    fill(page)
    page.connect("W" * 128)
    for width in (360, 320, 768, 1024, 1280):
        page.page.set_viewport_size({"width": width, "height": 740})
        for tab in ("Node", "Python", "curl", "Browser"):
            page.page.get_by_role("tab", name=tab).click()
            # A phone zooms out when something does not fit, and then shows more than the width that was set.
            widest = "Math.max(document.documentElement.scrollWidth, visualViewport.width, innerWidth)"
            assert page.page.evaluate(widest) <= width, f"with the tab {tab}"
        page.screenshot(f"width-{width}")


def test_controls_are_large_enough_on_a_phone(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(patient_server, viewport=PHONE, is_mobile=True, has_touch=True)
    page.connect("ada")
    small = page.page.locator("button:visible, input:visible").evaluate_all(
        "(all) => all.filter((e) => e.getBoundingClientRect().height < 40).map((e) => e.outerHTML)"
    )
    assert small == []


@pytest.mark.parametrize(("motion", "animation"), [("no-preference", "lit"), ("reduce", "none")])
def test_reduced_motion_has_no_animations(
    motion: Literal["no-preference", "reduce"], animation: str, patient_server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_page(patient_server, reduced_motion=motion)
    page.connect("watcher", "ada")
    page.press("Disconnect", "ada")
    page.expect_offline("ada")
    page.press("Connect again", "ada")
    page.expect_online("ada")
    row = page.row("ada")
    assert row.evaluate("(e) => getComputedStyle(e).animationName") == animation
    moving = row.locator(".dot").evaluate("(e) => parseFloat(getComputedStyle(e).transitionDuration) > 0")
    assert moving is (motion == "no-preference")
