"""The demonstration: three people, what they see of each other, and what the page says about it."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import expect
from tests.support.looks import DESKTOP, PHONE, SCHEMES, TOO_FAINT
from tests.support.pages import OpenPage, PresencePage, until
from tests.support.process import ServerProcess

NAMES = ("Ada", "Bob", "Cleo")


def open_people(open_page: OpenPage, server: ServerProcess, **options: object) -> PresencePage:
    """Open the page, and connect everyone."""
    page = open_page(server, folded=True, **options)
    page.page.get_by_role("button", name="Connect everyone").click()
    expect(page.story()).to_contain_text("Ada, Bob and Cleo are online.")
    return page


def expect_sees(page: PresencePage, viewer: str, name: str, status: str) -> None:
    expect(page.sees(viewer, name).locator(".status")).to_have_text(status)
    expect(page.sees(viewer, name)).to_have_attribute("data-status", status.lower())


def count_changes(page: PresencePage) -> None:
    """Count from now on how often the status of Bob changes on the devices of the others."""
    page.page.evaluate(
        """() => {
          globalThis.changes = [];
          for (const card of document.querySelectorAll('#people article')) {
            for (const row of card.querySelectorAll('.seen li')) {
              if (card.dataset.person === 'Bob' || row.querySelector('.who').textContent !== 'Bob') continue;
              new MutationObserver(() => changes.push(row.dataset.status))
                .observe(row, { attributes: true, attributeFilter: ['data-status'] });
            }
          }
        }"""
    )


def changes(page: PresencePage) -> list[str]:
    """Return the statuses of Bob that the others saw since `count_changes`."""
    found: list[str] = page.page.evaluate(
        "changes.filter((status, i) => i === 0 ? status !== 'online' : status !== changes[i - 1])"
    )
    return found


def test_opening_the_page_connects_nobody(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server, folded=True)
    expect(page.story()).to_have_text(re.compile("^Three people, each with a device of their own"))
    for name in NAMES:
        expect(page.person(name)).to_contain_text("not connected")
        expect(page.person(name).get_by_role("switch")).to_be_hidden()
    expect(page.page.get_by_text("presenced 0.")).to_be_visible()
    assert httpx.get(f"{server.url}stats").json()["totalConnections"] == 0
    expect(page.page.get_by_label("User id")).to_be_hidden()


def test_everyone_sees_everyone(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, server)
    for viewer in NAMES:
        for name in NAMES:
            if name != viewer:
                expect_sees(page, viewer, name, "Online")
    expect(page.page.get_by_role("button", name="Connect everyone")).to_be_hidden()
    page.person("Bob").get_by_role("button", name="Sign Bob out").click()
    expect_sees(page, "Ada", "Bob", "Offline")
    expect(page.story()).to_have_text(
        re.compile(r"^Bob signed out\. Ada and Cleo saw it [\d.]+ (milli)?seconds later\.$")
    )
    page.person("Bob").get_by_role("button", name="Connect Bob").click()
    expect_sees(page, "Cleo", "Bob", "Online")


def test_a_status_and_its_text_are_seen_at_once(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, server)
    bob = page.person("Bob")
    bob.get_by_label("Bob's status", exact=True).select_option("Busy")
    expect_sees(page, "Ada", "Bob", "Busy")
    expect(page.story()).to_have_text(re.compile(r"^Bob is busy\. Ada and Cleo saw it .* later\.$"))
    bob.get_by_label("Bob's status text").fill("<b>In a meeting</b>")
    bob.get_by_label("Bob's status text").press("Enter")
    expect(page.sees("Cleo", "Bob")).to_contain_text("<b>In a meeting</b>")
    expect(page.story()).to_have_text(
        re.compile(r"^Bob is busy: “<b>In a meeting</b>”\. Ada and Cleo saw it .* later\.$")
    )
    bob.get_by_label("Bob's status", exact=True).select_option("Invisible")
    expect_sees(page, "Ada", "Bob", "Offline")
    expect_sees(page, "Bob", "Ada", "Online")
    expect(bob).to_contain_text("invisible")
    expect(page.story()).to_contain_text("Bob is invisible: he sees the others, and they see him offline.")


def test_nobody_notices_a_short_loss(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, patient_server)
    count_changes(page)
    network = page.person("Bob").get_by_role("switch", name="Cut Bob's network")
    network.click()
    expect(network).to_be_checked()
    expect(page.person("Bob")).to_contain_text("No connection. This may be out of date.")
    expect(page.story()).to_contain_text("Bob's network is cut. Ada and Cleo still see him online")
    until(lambda: patient_server.closed("going_away") == 1)
    page.person("Ada").get_by_label("Ada's status", exact=True).select_option("Away")
    expect_sees(page, "Cleo", "Ada", "Away")
    expect_sees(page, "Bob", "Ada", "Online")
    network.click()
    expect(page.story()).to_have_text(
        re.compile(
            r"^Bob's connection broke\. Nobody noticed: he was back after [\d.]+ seconds\. "
            r"He missed something, and has caught up: Ada is away\.$"
        )
    )
    expect_sees(page, "Bob", "Ada", "Away")
    assert changes(page) == []


def test_a_long_loss_is_noticed_and_so_is_the_return(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, server)
    count_changes(page)
    network = page.person("Bob").get_by_role("switch")
    network.click()
    expect(page.story()).to_have_text(
        re.compile(
            r"^Bob stayed away, so Ada and Cleo now see him offline, [\d.]+ seconds after his connection broke\.$"
        )
    )
    expect_sees(page, "Ada", "Bob", "Offline")
    network.click()
    expect(page.story()).to_have_text(re.compile(r"^Bob is back after [\d.]+ seconds\. Ada and Cleo see him again\.$"))
    expect_sees(page, "Ada", "Bob", "Online")
    assert set(changes(page)) == {"offline", "online"}


def test_nobody_notices_that_a_page_is_reloaded(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, patient_server)
    bob = page.person("Bob")
    bob.get_by_label("Bob's status", exact=True).select_option("Busy")
    expect_sees(page, "Ada", "Bob", "Busy")
    count_changes(page)
    for _ in range(2):
        bob.get_by_role("button", name="Reload Bob's page").click()
        expect(page.story()).to_have_text("Bob reloads his page. Ada and Cleo see no change.")
        expect(bob).to_contain_text("The page is loading")
        expect(page.story()).to_have_text(
            re.compile(r"^Bob reloaded his page\. Nobody noticed: he was back after [\d.]+ seconds\.$")
        )
        expect(bob).to_contain_text("phone, busy")
        expect(bob.get_by_label("Bob's status", exact=True)).to_have_value("busy")
    until(lambda: patient_server.closed("going_away") == 2)
    assert changes(page) in ([], ["busy"])
    assert patient_server.closed("replaced") == patient_server.closed("closed") == 0


def test_a_reload_of_the_tab_restores_everyone_and_nobody_notices(
    patient_server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_people(open_page, patient_server)
    page.person("Bob").get_by_label("Bob's status", exact=True).select_option("Busy")
    expect_sees(page, "Ada", "Bob", "Busy")
    before = httpx.get(f"{patient_server.url}api/v1/online").json()["position"]
    page.page.reload()
    for viewer in ("Ada", "Cleo"):
        expect_sees(page, viewer, "Bob", "Busy")
    until(lambda: patient_server.closed("going_away") == 3)
    assert httpx.get(f"{patient_server.url}api/v1/online").json()["position"] == before, "nothing has changed"


def test_each_tab_has_people_of_its_own(server: ServerProcess, open_page: OpenPage) -> None:
    one, other = open_people(open_page, server), open_people(open_page, server)
    one.person("Bob").get_by_role("button", name="Sign Bob out").click()
    expect_sees(one, "Ada", "Bob", "Offline")
    expect_sees(other, "Ada", "Bob", "Online")


def test_everyone_is_back_after_a_crash_of_the_server(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, server)
    page.expect_server_to_go()
    server.kill()
    expect(page.page.get_by_role("alert")).to_contain_text("The server has been unreachable")
    expect(page.person("Ada")).to_contain_text("Connecting")
    server.start()
    for name in NAMES:
        expect(page.person(name).locator(".at")).to_contain_text("online")
    expect_sees(page, "Ada", "Bob", "Online")


def test_the_demonstration_by_keyboard(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server, folded=True)
    keyboard = page.page.keyboard
    keyboard.press("Tab")
    expect(page.page.get_by_role("button", name="Connect everyone")).to_be_focused()
    keyboard.press("Enter")
    expect(page.story()).to_contain_text("are online")
    expect(page.story()).to_be_focused()  # the button is gone, and the focus is not lost
    order = ["Sign Ada out", "Ada's status", "Ada's status text", "Cut Ada's network", "Reload Ada's page"]
    for label in order:
        keyboard.press("Tab")
        assert page.page.evaluate("document.activeElement.getAttribute('aria-label')") == label
    keyboard.press("Shift+Tab")
    keyboard.press("Space")
    network = page.person("Ada").get_by_role("switch")
    expect(network).to_be_checked()
    expect(page.person("Ada").get_by_role("button", name="Reload")).to_have_attribute("aria-disabled", "true")
    keyboard.press("Space")
    expect(network).not_to_be_checked()
    expect(network).to_be_focused()


def test_the_story_is_announced(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, server)
    expect(page.story()).to_have_attribute("aria-live", "polite")
    for name in NAMES:
        expect(page.person(name).get_by_role("list")).to_have_accessible_name(f"{name} sees")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_demonstration_has_enough_contrast(scheme: str, patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(patient_server, folded=True, viewport=DESKTOP, reduced_motion="reduce", color_scheme=scheme)
    assert page.page.evaluate(TOO_FAINT) == []
    page.screenshot(f"{scheme}-people-at-first")
    page.page.get_by_role("button", name="Connect everyone").click()
    expect_sees(page, "Ada", "Cleo", "Online")
    page.person("Cleo").get_by_label("Cleo's status", exact=True).select_option("Away")
    page.person("Ada").get_by_label("Ada's status", exact=True).select_option("Busy")
    page.person("Bob").get_by_role("switch").click()
    expect(page.story()).to_contain_text("Bob's network is cut")
    page.screenshot(f"{scheme}-people")
    assert page.page.evaluate(TOO_FAINT) == []


def test_the_demonstration_fits_a_phone(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_people(open_page, patient_server, viewport=PHONE, is_mobile=True, has_touch=True)
    field = page.person("Bob").get_by_label("Bob's status text")
    field.fill("W" * 140)
    field.press("Enter")
    expect(page.sees("Ada", "Bob")).to_contain_text("W" * 140)
    for width in (360, 320, 390, 768, 1024):
        page.page.set_viewport_size({"width": width, "height": 740})
        widest = "Math.max(document.documentElement.scrollWidth, visualViewport.width, innerWidth)"
        assert page.page.evaluate(widest) <= width
        page.screenshot(f"people-width-{width}")
    page.page.set_viewport_size(PHONE)
    small = page.page.locator("button:visible, input:visible, select:visible, summary:visible").evaluate_all(
        "(all) => all.filter((e) => e.getBoundingClientRect().height < 40).map((e) => e.outerHTML)"
    )
    assert small == []
