"""The list of online users on the test page."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from tests.support.pages import OpenPage, PresencePage, StartServer, until
from tests.support.process import ServerProcess
from websockets.sync.client import connect

SOON = 1.0
"""Maximum number of seconds from the server's message to the dot on the page. An idle machine needs a few ms."""

HOSTILE = [
    "__proto__",
    "constructor",
    "toString",
    "hasOwnProperty",
    "<img src=x onerror=alert(1)>",
    "a b&userId=c",
    "€😀",
]

NO_STATISTICS = {"connectedUsers": 0, "onlineUsers": 0, "totalConnections": 0, "userSessions": [], "next": 1}

ROW_TIMES = """() => {
  globalThis.times = new Map();
  const note = () => {
    for (const row of document.querySelectorAll('#users > li')) {
      const key = `${row.dataset.userId} ${row.dataset.online}`;
      if (!times.has(key)) times.set(key, Date.now());
    }
  };
  new MutationObserver(note).observe(document.getElementById('users'),
    { subtree: true, childList: true, attributes: true });
}"""


def shown_at(page: PresencePage, user_id: str, online: bool) -> float:
    """Return when the page first showed the row, in epoch seconds. Evaluate `ROW_TIMES` before."""
    state = str(online).lower()
    return float(page.page.evaluate("(key) => times.get(key)", f"{user_id} {state}")) / 1000


def barrier(watcher: PresencePage, other: PresencePage) -> None:
    """Wait until the watcher has received everything so far. Its messages arrive in order."""
    name = f"barrier-{len(watcher.entries_about(''))}-{other.page.locator('.card').count()}"
    other.connect(name)
    watcher.expect_online(name)


def test_two_pages_show_each_others_users_immediately(server: ServerProcess, open_page: OpenPage) -> None:
    ada, bruno = open_page(server, protocol="Classic"), open_page(server, protocol="Classic")
    for each in (ada, bruno):  # the statistics say nothing: what is shown comes by message
        each.page.route("**/stats*", lambda route: route.fulfill(json=NO_STATISTICS))
    ada.connect("ada")
    ada.page.evaluate(ROW_TIMES)
    bruno.connect("bruno")
    ada.expect_online("ada", "bruno")
    bruno.press("Disconnect", "bruno")
    ada.expect_offline("bruno")
    came, went = ada.entries_about("bruno")
    assert (came.message["type"], went.message["type"]) == ("USER_ONLINE", "USER_OFFLINE")
    assert shown_at(ada, "bruno", True) - came.sent_at < SOON
    assert shown_at(ada, "bruno", False) - went.sent_at < SOON


def test_users_of_one_page_receive_each_others_changes(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server, protocol="Classic")
    page.connect("ada", "bruno", "42")
    page.expect_online("ada", "bruno", "42")
    expect(page.figure("users online")).to_have_text("3")
    expect(page.figure("users connected")).to_have_text("3")
    expect(page.figure("connections")).to_have_text("3")
    # Either connection may receive it later than the other.
    until(lambda: page.changes("42", by="ada #1") == page.changes("42", by="bruno #2") == ["USER_ONLINE"])
    assert page.changes("ada") == []
    card = page.card("bruno")
    expect(card.get_by_role("list", name="Received by bruno #2, newest first")).to_contain_text("USER_ONLINE 42")
    expect(card.locator(".connection-id")).to_have_text(re.compile(r"^bruno-\d+$"))


def test_the_same_user_twice_is_one_user(server: ServerProcess, open_page: OpenPage) -> None:
    watcher, page = open_page(server, protocol="Classic"), open_page(server, protocol="Classic")
    watcher.connect("watcher")
    page.connect("ada")
    page.card("ada").get_by_role("button", name="Add connection").click()
    expect(page.connections("ada").nth(1)).to_have_attribute("data-state", "open")
    expect(page.figure("users connected")).to_have_text("2")
    expect(page.figure("connections")).to_have_text("3")
    expect(watcher.row("ada")).to_have_count(1)

    page.press("Disconnect", "ada")
    expect(page.connections("ada").first).to_contain_text("Another connection keeps the user online")
    barrier(watcher, page)
    assert watcher.changes("ada") == ["USER_ONLINE"]
    watcher.expect_online("ada")

    page.press("Disconnect", "ada", nth=1)
    watcher.expect_offline("ada")
    assert watcher.changes("ada") == ["USER_ONLINE", "USER_OFFLINE"]


def test_a_new_page_lists_users_who_are_online_already(server: ServerProcess, open_page: OpenPage) -> None:
    with connect(f"{server.websocket_url}?userId=early"), connect(f"{server.websocket_url}?userId=7"):
        page = open_page(server, protocol="Classic")
        page.expect_online("early", "7")
        page.page.get_by_role("button", name="Remove offline").wait_for(state="hidden")
    page.expect_offline("early", "7")  # nobody listens: the statistics tell
    page.page.get_by_role("button", name="Remove offline").click()
    expect(page.row("early")).to_have_count(0)


def test_a_reload_notifies_nobody(patient_server: ServerProcess, open_page: OpenPage) -> None:
    watcher, page = open_page(patient_server, protocol="Classic"), open_page(patient_server, protocol="Classic")
    watcher.connect("watcher")
    page.connect("ada", "bruno", "ada")
    page.page.reload()
    for user_id, count in (("ada", 2), ("bruno", 1)):
        expect(page.connections(user_id)).to_have_count(count)
        for i in range(count):
            expect(page.connections(user_id).nth(i)).to_have_attribute("data-state", "open")
    page.expect_online("ada", "bruno")
    barrier(watcher, page)
    until(lambda: patient_server.closed("going_away") == 3)  # the reload ended the connections
    assert watcher.changes("ada") == watcher.changes("bruno") == ["USER_ONLINE"]
    watcher.expect_online("ada", "bruno")
    expect(page.page.locator("#steps .done").filter(has_text="Reload this tab")).to_be_visible()


def test_a_disconnect_notifies_others_immediately(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(patient_server, protocol="Classic")
    page.connect("watcher", "ada")
    page.press("Disconnect", "ada")
    expect(page.connections("ada")).to_contain_text("Offline immediately, without a grace period.")
    expect(page.connections("ada")).to_contain_text("By this page, code 1000")
    page.expect_offline("ada")  # a grace would outlast the test
    until(lambda: patient_server.closed("closed") == 1)


def test_a_drop_notifies_others_after_the_grace_period(start_server: StartServer, open_page: OpenPage) -> None:
    grace = 6.0  # long enough to see the state on a busy machine while it lasts
    server = start_server(grace_going_away=grace)
    page = open_page(server, protocol="Classic")
    page.connect("watcher", "ada")
    page.press("Drop", "ada")
    expect(page.connections("ada")).to_contain_text("Online until the grace period ends.")
    page.expect_online("ada")
    until(lambda: server.closed("going_away") == 1)  # what a drop looks like to the server
    expect(page.figure("users online")).to_have_text("2")
    expect(page.figure("users connected")).to_have_text("1")

    page.expect_offline("ada")
    expect(page.connections("ada")).to_contain_text("The grace period is over, so the user is offline.")
    dropped = page.page.locator("#log li.out").filter(has_text="dropped").locator("time").get_attribute("datetime")
    [_, went] = page.entries_about("ada", by="watcher #1")
    assert dropped is not None
    waited = went.sent_at - page.page.evaluate("(text) => Date.parse(text)", dropped) / 1000
    assert grace <= waited + 0.05 < grace + SOON


def test_the_statistics_show_a_drop_if_no_connection_is_open(start_server: StartServer, open_page: OpenPage) -> None:
    page = open_page(start_server(grace_going_away=6), protocol="Classic")
    page.connect("ada")
    page.press("Drop", "ada")
    expect(page.connections("ada")).to_contain_text("Online until the grace period ends")
    page.expect_offline("ada")


def test_a_reconnect_within_the_grace_period_notifies_nobody(
    patient_server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_page(patient_server, protocol="Classic")
    page.connect("watcher", "ada")
    page.press("Drop", "ada")
    until(lambda: patient_server.closed("going_away") == 1)
    page.press("Reconnect", "ada")
    expect(page.connections("ada")).to_have_attribute("data-state", "open")
    barrier(page, page)
    assert page.changes("ada", by="watcher #1") == ["USER_ONLINE"]
    page.expect_online("ada")


def test_all_pages_are_correct_again_after_a_crash_of_the_server(server: ServerProcess, open_page: OpenPage) -> None:
    page, other = open_page(server, protocol="Classic"), open_page(server, protocol="Classic")
    page.connect("ada", "bruno")
    other.connect("chiara")
    with connect(f"{server.websocket_url}?userId=never-back"):
        page.expect_online("never-back")
        page.expect_server_to_go()
        other.expect_server_to_go()
        server.kill()
        for each in (page, other):
            expect(each.page.get_by_role("alert")).to_contain_text("The server has been unreachable")
        expect(page.connections("ada")).to_have_attribute("data-state", "waiting")
        expect(page.figure("connections")).to_have_text("–")  # noqa: RUF001  # as on the page
    server.start()
    for each in (page, other):
        expect(each.page.get_by_role("alert")).to_be_hidden()
        each.expect_online("ada", "bruno", "chiara")
        each.expect_offline("never-back")
        expect(each.page.locator('.connection[data-state="open"]')).to_have_count(2 if each is page else 1)
    expect(page.figure("users connected")).to_have_text("3")
    other.press("Disconnect", "chiara")
    page.expect_offline("chiara")


def test_a_bad_user_id_shows_the_code_and_the_reason(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server, protocol="Classic")
    page.submit("")
    refused = page.connections("(empty)")
    expect(refused).to_have_attribute("data-state", "closed")
    expect(refused).to_contain_text("By the server, code 4400. “userId is empty")
    expect(refused).to_contain_text("The userId in the URL is missing or invalid")
    expect(refused.locator(".connection-id")).to_have_text("#1")
    expect(page.page.get_by_role("status")).to_contain_text("closed by the server, userId is empty")
    page.submit("x" * 129)
    expect(page.connections("x" * 129)).to_contain_text("userId has 129 characters; at most 128 are allowed")
    expect(page.page.locator("#users > li")).to_have_count(0)
    page.connect("x" * 128)
    page.expect_online("x" * 128)


def test_hostile_ids_are_displayed_as_text(server: ServerProcess, open_page: OpenPage) -> None:
    page, watcher = open_page(server, protocol="Classic"), open_page(server, protocol="Classic")
    watcher.connect("watcher")
    page.connect(*HOSTILE)
    for each in (page, watcher):
        each.expect_online(*HOSTILE)
        expect(each.page.locator("img")).to_have_count(0)
    for user_id in HOSTILE:
        assert watcher.changes(user_id) == ["USER_ONLINE"]
        expect(page.card(user_id).locator("h4")).to_have_text(user_id)
        page.press("Disconnect", user_id)
    watcher.expect_offline(*HOSTILE)
    page.page.reload()
    expect(page.page.locator(".card")).to_have_count(0)


def test_a_reload_restores_the_maximum_number_of_connections(
    patient_server: ServerProcess, open_page: OpenPage
) -> None:
    watcher, page = open_page(patient_server, protocol="Classic"), open_page(patient_server, protocol="Classic")
    watcher.connect("watcher")
    too_many = [f"user-{i}" for i in range(30)]
    page.page.evaluate("(users) => sessionStorage.setItem('presenced.users', JSON.stringify(users))", too_many)
    for _ in range(2):
        page.page.reload()
        expect(page.page.locator('.connection[data-state="open"]')).to_have_count(20)
    watcher.expect_online(*too_many[:20])
    assert all(watcher.changes(user_id) == ["USER_ONLINE"] for user_id in too_many[:20])
    page.submit("one-more")
    expect(page.page.get_by_role("status")).to_contain_text("A page holds at most 20 connections")
    expect(page.card("one-more")).to_have_count(0)
