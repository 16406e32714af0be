"""The message log and the figures of the test page."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Request, expect
from tests.support.pages import OpenPage
from tests.support.process import ServerProcess

HIDE = "(state) => { Object.defineProperty(document, 'visibilityState', { get: () => state, configurable: true });"
HIDE += " document.dispatchEvent(new Event('visibilitychange')); }"


def test_the_log_contains_every_message_unchanged(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server, protocol="Classic")
    shown.connect("7", "b")
    shown.press("Disconnect", "b")
    shown.expect_offline("b")
    entries = shown.page.locator("#log li")
    texts = entries.locator("code").all_text_contents()[::-1]
    assert texts[0] == f"connect {server.websocket_url}?userId=7"
    established = json.loads(texts[1])
    assert list(established) == ["type", "userId", "timestamp", "connectionId"]
    assert established["userId"] == 7, "a number, as on the wire"
    assert "close 1000" in texts
    assert "closed 1000" in texts
    expect(entries.first.locator("time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))
    assert {"7 #1", "b #2"} == set(entries.locator(".whose").all_text_contents())
    assert {"received", "sent", "ended"} == {
        sign.get_attribute("aria-label") for sign in entries.locator(".sign").all()
    }


def test_the_log_can_be_filtered_and_cleared(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server, protocol="Classic")
    shown.connect("ada", "bruno")
    shown.expect_online("ada", "bruno")
    page = shown.page
    page.get_by_label("Filter").fill("user_online")
    expect(page.locator("#log li:visible")).to_have_count(1)
    expect(page.locator("#log li:visible")).to_contain_text('"userId":"bruno"')
    expect(page.locator("#log-note")).to_contain_text("1 of 5 entries match.")
    shown.connect("chiara")  # later entries are filtered, too: two others are notified
    expect(page.locator("#log li:visible")).to_have_count(3)
    page.get_by_label("Filter").fill("")
    expect(page.locator("#log li:visible")).to_have_count(9)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#log li")).to_have_count(0)
    expect(page.locator("#log-note")).to_have_text("Messages of this page's connections appear here.")
    shown.press("Disconnect", "chiara")
    expect(page.locator("#log li").first).to_be_visible()


IN_ORDER = """(element) => {
  // Whether the parts of a line stand from left to right in the order in which they are written.
  const edges = [...element.childNodes].map((node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return range.getBoundingClientRect().left;
  });
  return edges.length > 1 && edges.every((left, i) => !i || left > edges[i - 1]);
}"""


@pytest.mark.parametrize("user_id", ["שלום", "مرحبا", "a שלום", "7"])
def test_a_label_reads_from_left_to_right_for_ids_in_any_direction(
    user_id: str, server: ServerProcess, open_page: OpenPage
) -> None:
    shown = open_page(server, protocol="Classic")
    shown.speak("presenced.v1")
    shown.connect(user_id)
    whose = shown.page.locator("#log li .whose").first
    expect(whose).to_have_text(f"{user_id} #1")
    assert whose.evaluate(IN_ORDER), "the id stands before its number"
    identifier = shown.connections(user_id).locator(".connection-id")
    expect(identifier).to_have_text(re.compile(rf"^{user_id}-\d+$"))
    assert identifier.evaluate(IN_ORDER)
    shown.join(user_id, "חדר")
    shown.join(user_id, "lobby")
    summary = shown.part(user_id, "rooms").locator("summary")
    expect(summary).to_have_text("Rooms: חדר 1, lobby 1")
    assert summary.evaluate(IN_ORDER)


def test_the_log_stores_the_newest_500_entries(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server, protocol="Classic").page
    page.evaluate(
        """async () => {
          const { MessageLog } = await import('/message-log.js');
          const log = new MessageLog();
          for (let i = 0; i < 700; i++) { log.add(['x'], 'in', `early ${i}`); if (i % 70 === 0) log.show(); }
          for (let i = 0; i < 1200; i++) log.add(['x'], 'in', `late ${i}`);
          log.show();
        }"""
    )
    entries = page.locator("#log li code")
    expect(entries).to_have_count(500)
    expect(entries.first).to_have_text("late 1199")
    expect(entries.last).to_have_text("late 700")
    expect(page.locator("#log-note")).to_have_text("Only the newest 500 are stored.")


def test_the_page_polls_the_figures_only_while_it_is_visible(server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server, protocol="Classic")
    page = shown.page
    page.clock.install()
    page.reload()
    expect(shown.figure("connections")).to_have_text("0")
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if "/stats" in request.url else None)
    for _ in range(3):
        with page.expect_response("**/stats*"):
            page.clock.fast_forward(3_100)
    page.evaluate(HIDE, "hidden")
    page.clock.fast_forward(3_100)  # the one that was due already
    page.wait_for_load_state("networkidle")
    count = len(asked)
    for _ in range(5):
        page.clock.fast_forward(60_000)
    assert len(asked) == count
    with page.expect_response("**/stats*"):
        page.evaluate(HIDE, "visible")
