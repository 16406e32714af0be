"""The page with a keyboard, and announcements for screen readers."""

from __future__ import annotations

import re
from contextlib import ExitStack
from itertools import pairwise

from playwright.sync_api import Page, expect
from tests.support.pages import OpenPage, until
from tests.support.process import ServerProcess
from websockets.sync.client import connect

FOCUSED = """() => {
  const e = document.activeElement;
  return e.getAttribute('aria-label') ?? e.labels?.[0]?.textContent.trim() ?? (e.id === 'log' ? 'log' : e.textContent);
}"""

NAMELESS = """() => [...document.querySelectorAll('button, input, a, [tabindex], ul, ol, section, nav, article')]
  .filter((e) => e.checkVisibility() && !['steps'].includes(e.id) && !e.matches('.connections'))
  .filter((e) => {
    const by = (e.getAttribute('aria-labelledby') ?? '').split(' ').map((id) => document.getElementById(id));
    const name = e.getAttribute('aria-label') ?? (by[0] ? by.map((b) => b.textContent).join(' ') : null)
      ?? e.labels?.[0]?.textContent ?? (e.matches('button, a, h2, h3, p') ? e.textContent : '');
    return !name.trim();
  })
  .map((e) => e.outerHTML.slice(0, 80))"""


def focused(page: Page) -> str:
    return str(page.evaluate(FOCUSED))


def tab_to(page: Page, name: str, most: int = 40) -> list[str]:
    """Press Tab until the element of this name has the focus. Return the names on the way."""
    passed: list[str] = []
    while focused(page) != name:
        assert len(passed) < most, f"{name!r} was not reached: {passed}"
        page.keyboard.press("Tab")
        passed.append(focused(page))
        assert page.evaluate(
            "document.activeElement.matches(':focus-visible') &&"
            " getComputedStyle(document.activeElement).outlineStyle === 'solid'"
        ), f"the focus on {passed[-1]!r} can't be seen"
    return passed


def test_connect_and_disconnect_by_keyboard(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server, protocol="Classic")
    page = shown.page
    page.locator("#workbench > summary").focus()
    assert tab_to(page, "User id", most=1) == ["User id"], "the field comes first"
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("ada")
    page.keyboard.press("Enter")
    expect(shown.connections("ada")).to_have_attribute("data-state", "open")
    assert page.evaluate("document.activeElement.selectionEnd - document.activeElement.selectionStart") > 0
    page.keyboard.type("bruno")  # over the suggestion, which is selected
    page.keyboard.press("Enter")
    expect(shown.connections("bruno")).to_have_attribute("data-state", "open")
    shown.expect_online("ada", "bruno")

    assert tab_to(page, "Disconnect ada #1") == [
        "Connect",
        "Classic",
        "What to try",
        "Add connection of ada",
        "Disconnect ada #1",
    ]
    page.keyboard.press("Enter")
    expect(shown.connections("ada")).to_have_attribute("data-state", "closed")
    assert focused(page) == "Connect again ada #1", "the focus stays where the button was"
    page.keyboard.press("Space")
    expect(shown.connections("ada")).to_have_attribute("data-state", "open")
    tab_to(page, "Drop ada #1")
    page.keyboard.press("Enter")
    expect(shown.connections("ada")).to_have_attribute("data-state", "dropped")
    tab_to(page, "Remove ada #1")
    page.keyboard.press("Enter")
    expect(shown.card("ada")).to_have_count(0)
    assert focused(page) == "User id", "the card is gone, and the focus is not lost"


def test_drop_disconnect_and_idle_are_explained(server: ServerProcess, open_page: OpenPage) -> None:
    """The state is visible and, at the button, available to screen readers."""
    shown = open_page(server)
    page = shown.page
    expect(page.locator("#cards-help")).to_be_hidden()
    shown.speak("presenced.v1")
    shown.connect("ada")
    for name, words in (("Disconnect", "deliberately"), ("Drop", "grace period"), ("Idle", "nobody is at this device")):
        expect(page.locator("#cards-help")).to_contain_text(name)
        control = shown.connections("ada").get_by_role("switch" if name == "Idle" else "button", name=name)
        expect(control).to_have_accessible_description(re.compile(words))
        expect(page.locator("#cards-help dd").filter(has_text=words)).to_be_visible()


def test_the_status_menu_by_keyboard(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server)
    page = shown.page
    page.locator("#workbench > summary").focus()
    tab_to(page, "presenced.v1")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "Classic"
    page.keyboard.press("ArrowLeft")
    assert focused(page) == "presenced.v1"
    shown.connect("ada")
    expect(shown.truth("ada")).to_have_text("online, as detected")
    assert "presenced.v1" in tab_to(page, "Set status of ada"), "the group is entered at what is chosen"
    page.keyboard.press("Enter")
    assert focused(page) == "Auto", "where the choice is"
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert focused(page) == "Busy"
    tab_to(page, "Text")
    page.keyboard.type("writing")
    page.keyboard.press("Enter")
    expect(shown.truth("ada")).to_have_text("busy, chosen · writing")
    assert focused(page) == "Set status of ada"

    page.keyboard.press("Space")
    assert focused(page) == "Busy"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(shown.card("ada").locator(".own-form")).to_be_hidden()
    assert focused(page) == "Set status of ada"
    expect(shown.truth("ada")).to_have_text("busy, chosen · writing")

    tab_to(page, "Idle ada #1")
    page.keyboard.press("Space")
    expect(page.get_by_role("switch", name="Idle ada #1")).to_be_checked()
    assert focused(page) == "Idle ada #1"


def test_a_room_by_keyboard(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server)
    page = shown.page
    shown.speak("presenced.v1")
    shown.connect("ada")
    tab_to(page, "Rooms: none")
    page.keyboard.press("Enter")
    tab_to(page, "Room")
    page.keyboard.type("lobby")
    page.keyboard.press("Enter")
    expect(shown.room("ada", "lobby")).to_be_visible()
    assert focused(page) == "Room", "ready for the next one"
    tab_to(page, "Leave lobby with ada #1")
    page.keyboard.press("Enter")
    expect(shown.room("ada", "lobby")).to_have_count(0)
    assert focused(page) == "Room", "the focus is not lost"


def test_arrow_keys_move_between_the_snippets(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    passed = tab_to(page, "Browser")
    assert not {"Node", "Python", "curl"} & set(passed)
    for key, name in [
        ("ArrowRight", "Node"),
        ("ArrowRight", "Python"),
        ("End", "curl"),
        ("ArrowRight", "Browser"),
        ("ArrowLeft", "curl"),
        ("Home", "Browser"),
        ("ArrowRight", "Node"),
    ]:
        page.keyboard.press(key)
        assert focused(page) == name
        expect(page.get_by_role("tab", selected=True)).to_have_text(name)
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    expect(page.get_by_role("tabpanel")).to_contain_text('import WebSocket from "ws"')
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert focused(page) == "Copy"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "Node", "back into the list means to the chosen tab"


def test_every_control_has_a_name(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server, protocol="Classic")
    shown.connect("ada", "bruno")
    shown.press("Disconnect", "bruno")
    shown.expect_offline("bruno")
    assert shown.page.evaluate(NAMELESS) == []
    ids = shown.page.locator("[id]").evaluate_all("(all) => all.map((e) => e.id)")
    assert len(ids) == len(set(ids))
    levels = shown.page.locator("h1:visible, h2:visible, h3:visible, h4:visible, h5:visible").evaluate_all(
        "(all) => all.map((e) => Number(e.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels)), "no level is left out"


def test_every_control_of_presenced_v1_has_a_name(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server)
    shown.speak("presenced.v1")
    shown.connect("ada", "ada", "bruno")
    for nth in range(2):
        shown.join("ada", "lobby", nth=nth)
        expect(shown.room("ada", "lobby", nth)).to_be_visible()
        shown.part("ada", "watching", nth).get_by_role("radio", name="Only these").check()
    shown.card("ada").get_by_role("button", name="Set status").click()
    shown.press("Drop", "bruno")
    shown.press("Reconnect", "bruno")
    expect(shown.connections("bruno").locator(".back")).to_be_visible()
    assert shown.page.evaluate(NAMELESS) == []
    assert (
        shown.page.locator("select:visible, textarea:visible").evaluate_all(
            "(all) => all.filter((e) => !e.labels.length).map((e) => e.outerHTML)"
        )
        == []
    )
    ids = shown.page.locator("[id]").evaluate_all("(all) => all.map((e) => e.id)")
    assert len(ids) == len(set(ids))
    levels = shown.page.locator("h1:visible, h2:visible, h3:visible, h4:visible, h5:visible").evaluate_all(
        "(all) => all.map((e) => Number(e.tagName[1]))"
    )
    assert all(b - a <= 1 for a, b in pairwise(levels)), "no level is left out"


def hear(page: Page) -> None:
    """Record announcements from now on, because each is on the page for a moment only."""
    page.evaluate(
        """() => {
          globalThis.said = [];
          const region = document.querySelector('[role=status]');
          new MutationObserver(() => region.textContent && said.push(region.textContent))
            .observe(region, { childList: true, characterData: true, subtree: true });
        }"""
    )


def test_a_screen_reader_announces_statuses(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server)
    shown.speak("presenced.v1")
    shown.connect("watcher", "ada")
    hear(shown.page)
    shown.set_status("ada", "Busy", "writing")
    texts = ["ada is busy.", "ada #2: own status: busy, chosen · writing (choice)."]
    until(lambda: bool(shown.page.evaluate("(texts) => texts.every((text) => said.join(' ').includes(text))", texts)))


def test_many_changes_do_not_flood_a_screen_reader(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server, protocol="Classic")
    shown.connect("watcher")
    page = shown.page
    hear(page)
    names = [f"user-{i}" for i in range(40)]
    with ExitStack() as sockets:
        for name in names:
            # No bound on what waits unread, for nobody reads it, and a full queue holds up the close.
            sockets.enter_context(connect(f"{server.websocket_url}?userId={name}", max_queue=None))
        shown.expect_online(*names)
    until(lambda: bool(page.evaluate("said.some((text) => /And \\d+ more/.test(text))")))
    said: list[str] = page.evaluate("said")
    assert said[0].startswith("user-0 is online.")
    assert len(said) <= 6, "40 came and 40 may have gone"
    assert all(text.count("is online") <= 3 for text in said)
