"""presenced.v1 on the test page: statuses, reloads and reconnects."""

from __future__ import annotations

import re

from playwright.sync_api import expect
from tests.support.pages import OpenPage, PresencePage, StartServer, until
from tests.support.process import ServerProcess

END = 5
"""Seconds until a status expires in these tests: long enough to be visible on a busy machine."""


def open_v1(open_page: OpenPage, server: ServerProcess, device: str = "desktop") -> PresencePage:
    page = open_page(server)
    page.speak("presenced.v1", device)
    return page


def open_watcher(open_page: OpenPage, server: ServerProcess) -> PresencePage:
    """A page with a watcher of each protocol: `classic #1` and `modern #2`."""
    page = open_page(server, protocol="Classic")
    page.connect("classic")
    page.speak("presenced.v1")
    page.connect("modern")
    return page


def barrier(watcher: PresencePage, other: PresencePage) -> None:
    """Wait until both watchers have received everything so far."""
    name = f"barrier-{other.page.locator('.card').count()}"
    other.connect(name)
    until(lambda: watcher.changes(name, by="classic #1") == ["USER_ONLINE"])
    until(lambda: watcher.seen(name, by="modern #2") == ["online"])


def test_the_default_is_presenced_v1_and_the_browser_stores_the_choice(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page = open_page(server, folded=True).unfold()
    expect(page.page.get_by_role("radio", name="presenced.v1")).to_be_checked()
    page.speak("Classic")
    page.page.reload()
    expect(page.page.get_by_role("radio", name="Classic")).to_be_checked()
    page.connect("ada")
    expect(page.card("ada").locator(".own, .session")).to_have_count(0)
    expect(page.page.get_by_label("Device")).to_be_hidden()
    page.speak("presenced.v1", "phone")
    page.connect("bruno")
    expect(page.truth("bruno")).to_have_text("online, as detected")
    expect(page.card("bruno").locator(".session-line")).to_contain_text("phone · session ")
    page.page.reload()
    expect(page.page.get_by_role("radio", name="presenced.v1")).to_be_checked()
    expect(page.page.get_by_label("Device")).to_have_value("phone")
    expect(page.connections("ada")).not_to_have_attribute("data-protocol", "v1")
    expect(page.connections("bruno")).to_have_attribute("data-protocol", "v1")


def test_a_snapshot_arrives_first_and_changes_follow(server: ServerProcess, open_page: OpenPage) -> None:
    ada, bruno = open_v1(open_page, server), open_v1(open_page, server, "phone")
    bruno.connect("bruno")
    ada.connect("ada")
    ada.expect_status("bruno", "online", "phone")
    expect(ada.seen_by("ada")).to_have_count(2)
    bruno.set_status("bruno", "Busy", "In a meeting", "📞")
    ada.expect_status("bruno", "busy", "📞 In a meeting")
    expect(ada.seen_by("ada").filter(has_text="bruno")).to_contain_text("busy📞 In a meeting")
    log = ada.page.locator("#log li.in")
    expect(log.filter(has_text="PRESENCE_CHANGES").first.locator(".says")).to_have_text(
        "bruno online → busy, 📞 In a meeting"
    )
    bruno.press("Disconnect", "bruno")
    ada.expect_status("bruno", "offline")
    expect(ada.seen_by("ada")).to_have_count(1)
    assert ada.seen("bruno", by="ada #1") == ["busy", "offline"]


def test_the_page_shows_causes_if_the_server_sends_them(start_server: StartServer, open_page: OpenPage) -> None:
    server = start_server(show_causes=True)
    page = open_v1(open_page, server)
    page.connect("watcher", "ada")
    page.set_idle("ada", True)
    page.expect_status("ada", "away")
    page.set_idle("ada", False)
    page.expect_status("ada", "online")
    page.set_status("ada", "Busy", seconds=END)
    page.expect_status("ada", "busy")
    page.expect_status("ada", "online")
    page.press("Disconnect", "ada")
    page.expect_status("ada", "offline")
    says = page.page.locator("#log li").filter(has_text="watcher #1").filter(has_text="PRESENCE_CHANGES")
    assert [re.sub(r"\d\d:\d\d:\d\d", "…", text) for text in says.locator(".says").all_inner_texts()[::-1]] == [
        "ada offline → online (connect)",
        "ada online → away (idle)",
        "ada away → online (idle)",
        "ada online → busy, until … (choice)",
        "ada busy → online, no text (expiry)",
        "ada online → offline (close)",
    ]


def test_a_reload_of_a_v1_user_notifies_nobody(patient_server: ServerProcess, open_page: OpenPage) -> None:
    watcher = open_watcher(open_page, patient_server)
    page = open_v1(open_page, patient_server, "phone")
    page.connect("ada")
    page.set_status("ada", "Busy", "writing", "✍")
    page.join("ada", "lobby", "at the desk")
    page.set_idle("ada", True)
    expect(page.room("ada", "lobby").locator(".person")).to_contain_text('"at the desk"')
    watcher.expect_status("ada", "busy", "✍ writing")
    before = watcher.seen("ada", by="modern #2")
    for _ in range(2):
        page.page.reload()
        expect(page.connections("ada")).to_have_attribute("data-state", "open")
        expect(page.truth("ada")).to_have_text("busy, chosen · ✍ writing")
        expect(page.connections("ada").locator(".back-line")).to_have_text("Same session, with a new snapshot.")
        expect(page.room("ada", "lobby").locator(".person")).to_contain_text('"at the desk"')
        expect(page.connections("ada").get_by_role("switch")).to_have_attribute("aria-checked", "true")
        expect(page.seen_by("ada")).to_have_count(3)
    barrier(watcher, page)
    until(lambda: patient_server.closed("going_away") == 2)  # the reloads ended the connections
    assert watcher.changes("ada", by="classic #1") == ["USER_ONLINE"]
    assert watcher.seen("ada", by="modern #2") == before


def test_a_duplicated_tab_does_not_take_over_the_session(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page = open_v1(open_page, patient_server)
    page.connect("ada")
    stored = page.page.evaluate("JSON.stringify({ ...sessionStorage })")
    assert "presenced.desired" in stored
    twin = open_page(patient_server)
    twin.context.add_init_script(f"for (const [k, v] of Object.entries({stored})) sessionStorage.setItem(k, v);")
    twin.page.reload()
    expect(twin.connections("ada")).to_have_attribute("data-state", "open")
    expect(twin.page.locator("#log")).to_contain_text("a new session")
    assert patient_server.closed("replaced") == 0
    expect(page.connections("ada")).to_have_attribute("data-state", "open")


def test_two_tabs_are_one_user(server: ServerProcess, open_page: OpenPage) -> None:
    watcher = open_watcher(open_page, server)
    desk, phone = open_v1(open_page, server, "desktop"), open_v1(open_page, server, "phone")
    desk.connect("ada")
    phone.connect("ada")
    watcher.expect_status("ada", "online", "desktop, phone")
    expect(watcher.row("ada")).to_have_count(1)
    desk.set_idle("ada", True)
    watcher.expect_status("ada", "online")
    phone.set_idle("ada", True)
    watcher.expect_status("ada", "away")
    expect(desk.truth("ada")).to_have_text("away, as detected")
    desk.set_idle("ada", False)
    watcher.expect_status("ada", "online")
    phone.set_status("ada", "Busy", "both hear of it")
    for each in (desk, phone):
        expect(each.truth("ada")).to_have_text("busy, chosen · both hear of it")
    desk.press("Disconnect", "ada")
    watcher.expect_status("ada", "busy", "phone")
    phone.press("Disconnect", "ada")
    watcher.expect_status("ada", "offline")
    # Two connections of one page: the other one may receive it later.
    until(lambda: watcher.changes("ada", by="classic #1") == ["USER_ONLINE", "USER_OFFLINE"])
    seen = ["online", "online", "away", "online", "busy", "busy", "offline"]
    until(lambda: watcher.seen("ada", by="modern #2") == seen)


def test_a_dropped_session_receives_missed_changes_without_a_snapshot(
    patient_server: ServerProcess, open_page: OpenPage
) -> None:
    watcher = open_watcher(open_page, patient_server)
    page = open_v1(open_page, patient_server)
    page.connect("ada")
    page.join("ada", "lobby")
    expect(page.room("ada", "lobby").locator(".person")).to_have_count(1)
    page.press("Drop", "ada")
    expect(page.connections("ada").locator(".session-line")).to_contain_text("can be resumed for 120 s")
    until(lambda: patient_server.closed("going_away") == 1)
    watcher.set_status("modern", "Away", "lunch")
    watcher.join("modern", "lobby")
    watcher.connect("late")
    page.press("Reconnect", "ada")
    back = page.connections("ada").locator(".back")
    expect(back.locator(".back-line")).to_have_text("Resumed. Missed: 3 changes.")
    expect(back.get_by_role("listitem")).to_have_text(
        ["modern online → away, lunch", "late offline → online", "modern joined lobby"]
    )
    expect(page.room("ada", "lobby").locator(".person")).to_have_count(2)
    types = [m["type"] for m in page.log_entries("ada #1")]
    assert types.count("PRESENCE_SNAPSHOT") == types.count("ROOM_SNAPSHOT") == 1, "those of the first connection"
    barrier(watcher, watcher)
    assert watcher.changes("ada", by="classic #1") == ["USER_ONLINE"]
    assert watcher.seen("ada", by="modern #2") == ["online"]

    page.press("Drop", "ada")
    page.press("Reconnect", "ada")
    expect(back.locator(".back-line")).to_have_text("Resumed. Nothing was missed.")


def test_the_page_detects_a_lost_network_and_the_session_resumes(
    start_server: StartServer, open_page: OpenPage
) -> None:
    server = start_server(grace_going_away=60, grace_lost=60, heartbeat_interval=2)
    watcher = open_watcher(open_page, server)
    page = open_v1(open_page, server)
    page.connect("ada")
    page.expect_status("modern", "online")
    page.cut_network()
    watcher.set_status("modern", "Busy", "in a tunnel?")
    expect(page.connections("ada")).to_have_attribute("data-state", "waiting")
    page.restore_network()
    expect(page.connections("ada")).to_have_attribute("data-state", "open")
    expect(page.connections("ada").locator(".back-line")).to_have_text("Resumed. Missed: 1 change.")
    page.expect_status("modern", "busy", "in a tunnel?")
    assert [m["type"] for m in page.log_entries("ada #1")].count("PRESENCE_SNAPSHOT") == 1
    barrier(watcher, watcher)
    assert watcher.changes("ada", by="classic #1") == ["USER_ONLINE"]
    assert watcher.seen("ada", by="modern #2") == ["online"]


def test_a_new_session_restores_subscriptions_rooms_and_status(start_server: StartServer, open_page: OpenPage) -> None:
    server = start_server(resume_window=0, grace_going_away=0)
    page = open_v1(open_page, server)
    page.connect("bruno", "ada")
    page.watch("ada", "Only these", "bruno", "nobody-yet")
    page.join("ada", "lobby", '{"role": "host"}')
    page.set_idle("ada", True)
    expect(page.room("ada", "lobby").locator(".person")).to_have_text('adaawaydesktop{"role":"host"}')
    page.press("Drop", "ada")
    until(lambda: server.closed("going_away") == 1)
    page.press("Disconnect", "bruno")
    page.press("Reconnect", "ada")
    expect(page.connections("ada").locator(".back-line")).to_contain_text("could not be resumed")
    expect(page.seen_by("ada").filter(has_text="bruno")).to_contain_text("offline")
    expect(page.seen_by("ada")).to_have_count(2)
    expect(page.room("ada", "lobby").locator(".person")).to_have_text('adaawaydesktop{"role":"host"}')


def test_a_status_expires(server: ServerProcess, open_page: OpenPage) -> None:
    watcher = open_watcher(open_page, server)
    page = open_v1(open_page, server)
    page.connect("ada")
    page.set_status("ada", "Busy", "deep work", "🎧")
    watcher.expect_status("ada", "busy")
    page.set_status("ada", "Away", "coffee", "☕", seconds=END)
    watcher.expect_status("ada", "away", "☕ coffee until ")
    expect(page.truth("ada")).to_have_text(re.compile(r"^away, chosen · ☕ coffee until \d\d:\d\d:\d\d$"))
    watcher.expect_status("ada", "busy", "🎧 deep work")
    expect(page.truth("ada")).to_have_text("busy, chosen · 🎧 deep work")
    barrier(watcher, watcher)
    assert watcher.seen("ada", by="modern #2") == ["online", "busy", "away", "busy"]
    assert watcher.changes("ada", by="classic #1") == ["USER_ONLINE"]
    expect(page.page.locator("#steps .done").filter(has_text="set a status")).to_be_visible()


def test_an_invisible_user_is_offline_only_to_others(patient_server: ServerProcess, open_page: OpenPage) -> None:
    watcher = open_watcher(open_page, patient_server)
    page = open_v1(open_page, patient_server)
    page.connect("ada")
    watcher.expect_status("ada", "online")
    page.set_status("ada", "Invisible", "not here")
    watcher.expect_status("ada", "offline")
    watcher.expect_offline("ada")
    expect(watcher.row("ada")).not_to_contain_text("not here")
    expect(page.truth("ada")).to_have_text("invisible, chosen · not here")
    expect(page.card("ada")).to_contain_text("Others see: offline.")
    page.expect_offline("ada")
    page.press("Drop", "ada")
    until(lambda: patient_server.closed("going_away") == 1)
    page.press("Reconnect", "ada")
    expect(page.truth("ada")).to_have_text("invisible, chosen · not here")
    page.page.reload()
    expect(page.truth("ada")).to_have_text("invisible, chosen · not here")
    barrier(watcher, watcher)
    assert watcher.changes("ada", by="classic #1") == ["USER_ONLINE", "USER_OFFLINE"]
    assert watcher.seen("ada", by="modern #2") == ["online", "offline"]

    newcomer = open_page(patient_server)  # who has the statistics alone, which list connections
    expect(newcomer.figure("connections")).to_have_text("4")
    expect(newcomer.page.locator("#online-note")).to_contain_text("3 more are online.")
    expect(newcomer.row("ada")).to_have_count(0)


def test_users_who_reconnect_after_a_crash_were_never_offline_to_the_page(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page, other = open_v1(open_page, server), open_v1(open_page, server)
    page.connect("ada")
    other.connect("bruno")
    page.expect_status("bruno", "online")
    other.press("Drop", "bruno")
    for each in (page, other):
        each.expect_server_to_go()
    server.kill()
    expect(page.page.get_by_role("alert")).to_contain_text("The server has been unreachable")
    server.start()
    expect(page.connections("ada")).to_have_attribute("data-state", "open")
    expect(page.seen_by("ada").filter(has_text="bruno")).to_contain_text("online?")
    other.press("Reconnect", "bruno")
    expect(page.seen_by("ada").filter(has_text="bruno")).to_contain_text(re.compile("online(?!\\?)"))
    assert page.seen("bruno", by="ada #1") == ["online", "online"], "of the one server, and of the other"


def test_a_status_keeps_its_expiry_on_another_server(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_v1(open_page, server)
    page.connect("ada")
    page.set_status("ada", "Away", "coffee", seconds=60)
    expect(page.truth("ada")).to_have_text(re.compile("^away, chosen · coffee until"))
    page.expect_server_to_go()
    server.kill()
    expect(page.page.get_by_role("alert")).to_contain_text("The server has been unreachable")
    server.start()
    expect(page.connections("ada")).to_have_attribute("data-state", "open", timeout=10_000)
    expect(page.truth("ada")).to_have_text(re.compile(r"^away, chosen · coffee until \d\d:\d\d:\d\d$"))


def test_the_page_shows_why_a_request_was_refused(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_v1(open_page, server)
    page.connect("ada")
    page.join("ada", "a" * 10, "x" * 3000)
    refusal = page.connections("ada").locator(".refusal")
    expect(refusal).to_have_text("Refused: data has 3002 bytes; at most 2048 are allowed")
    expect(page.part("ada", "rooms").get_by_role("region")).to_have_count(0)
    expect(page.page.get_by_role("status")).to_contain_text("ada #1: refused, data has 3002 bytes")
    page.join("ada", "lobby")
    expect(page.room("ada", "lobby")).to_be_visible()
    expect(refusal).to_be_hidden()
