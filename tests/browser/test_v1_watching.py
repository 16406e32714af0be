"""Subscriptions and rooms of presenced.v1 on the test page."""

from __future__ import annotations

from playwright.sync_api import expect
from tests.support.pages import OpenPage, PresencePage, StartServer, until
from tests.support.process import ServerProcess

HOSTILE = [
    "__proto__",
    "constructor",
    "hasOwnProperty",
    "<img src=x onerror=alert(1)>",
    "مرحبا",
    "€😀",
    "a b&session=c",
]
TEXT = "<img src=x onerror=alert(1)> שלום"


def open_v1(open_page: OpenPage, server: ServerProcess) -> PresencePage:
    page = open_page(server)
    page.speak("presenced.v1")
    return page


def test_a_list_receives_only_its_users(server: ServerProcess, open_page: OpenPage) -> None:
    page, others = open_v1(open_page, server), open_v1(open_page, server)
    others.connect("bruno", "chiara")
    page.connect("ada")
    page.watch("ada", "Only these", "bruno", "never-here")
    seen = page.seen_by("ada")
    expect(seen).to_have_count(2)
    expect(seen.first).to_contain_text("bruno")
    expect(seen.last).to_have_text("never-hereoffline")
    summary = page.part("ada", "watching").locator("summary")
    expect(summary).to_have_text("Watches 2 users: 1 online")
    others.set_status("chiara", "Busy")
    others.set_status("bruno", "Away", "lunch")
    expect(seen.first).to_contain_text("awaylunch")
    others.press("Disconnect", "bruno")
    expect(seen.first).to_contain_text("offline")
    expect(seen.first).to_contain_text("last seen ")
    assert page.seen("chiara", by="ada #1") == []

    page.watch("ada", "Only these", "bruno", "chiara")
    expect(seen.last).to_contain_text("chiara")
    expect(seen.last).to_contain_text("busy")
    page.watch("ada", "Everyone")
    expect(seen).to_have_count(2)  # ada and chiara
    page.expect_status("chiara", "busy")
    page.watch("ada", "Nobody")
    expect(summary).to_have_text("Watches nobody")
    expect(seen).to_have_count(0)
    before = len(page.seen("chiara", by="ada #1"))
    others.set_status("chiara", "Online")
    others.expect_status("chiara", "online")
    page.set_status("ada", "Busy")  # a round trip
    expect(page.truth("ada")).to_have_text("busy, chosen")
    assert len(page.seen("chiara", by="ada #1")) == before
    assert page.page.locator(".refusal:visible").count() == 0


def test_a_list_survives_a_reload(patient_server: ServerProcess, open_page: OpenPage) -> None:
    page, others = open_v1(open_page, patient_server), open_v1(open_page, patient_server)
    others.connect("bruno")
    page.connect("ada")
    page.watch("ada", "Only these", "bruno")
    expect(page.seen_by("ada")).to_have_count(1)
    page.page.reload()
    expect(page.seen_by("ada")).to_have_text(["brunoonlinedesktop"])
    expect(page.part("ada", "watching").get_by_label("Ids to watch")).to_have_value("bruno")


def test_counts_have_no_names(server: ServerProcess, open_page: OpenPage) -> None:
    page, others = open_v1(open_page, server), open_v1(open_page, server)
    page.connect("ada")
    page.watch("ada", "Everyone", counted=True)
    number = page.part("ada", "watching").locator(".watch-count")
    expect(number).to_have_text("1 online, without names")
    others.connect("bruno", "chiara")
    expect(number).to_have_text("3 online, without names")
    expect(page.seen_by("ada")).to_have_count(0)
    assert page.seen("bruno", by="ada #1") == []
    others.press("Disconnect", "bruno")
    expect(number).to_have_text("2 online, without names")
    page.watch("ada", "Everyone")
    expect(number).to_be_hidden()
    expect(page.seen_by("ada")).to_have_count(2)
    page.part("ada", "watching").get_by_role("radio", name="Only these").check()
    expect(page.part("ada", "watching").get_by_label("Only how many")).to_be_hidden()


def test_rooms_with_two_pages(patient_server: ServerProcess, open_page: OpenPage) -> None:
    ada, bruno = open_v1(open_page, patient_server), open_v1(open_page, patient_server)
    ada.connect("ada")
    bruno.connect("bruno")
    ada.watch("ada", "Nobody")
    ada.join("ada", "lobby", '{"role": "host"}')
    lobby = ada.room("ada", "lobby")
    expect(lobby.locator(".room-line")).to_have_text("1 member · full: the server sends every change at once")
    bruno.join("bruno", "lobby", "hello")
    expect(lobby.locator(".person")).to_have_text(['adaonlinedesktop{"role":"host"}', 'brunoonlinedesktop"hello"'])
    bruno.set_status("bruno", "Busy", "talking")
    expect(lobby.locator(".person").last).to_contain_text("busytalking")
    data = bruno.room("bruno", "lobby")
    data.get_by_label("Own data").fill("hands up")
    data.get_by_role("button", name="Save").click()
    expect(lobby.locator(".person").last).to_contain_text('"hands up"')
    expect(ada.part("ada", "rooms").locator("summary")).to_have_text("Rooms: lobby 2")

    bruno.press("Drop", "bruno")
    until(lambda: patient_server.closed("going_away") == 1)
    bruno.press("Reconnect", "bruno")
    expect(bruno.connections("bruno").locator(".back-line")).to_have_text("Resumed. Nothing was missed.")
    bruno.room("bruno", "lobby").get_by_role("button", name="Leave").click()
    expect(bruno.part("bruno", "rooms").locator("summary")).to_have_text("Rooms: none")
    expect(lobby.locator(".person")).to_have_count(1)
    news = [m for m in ada.log_entries("ada #1") if m["type"] == "ROOM_CHANGES"]
    assert [([m["userId"] for m in n.get("members", [])], n.get("left", [])) for n in news] == [
        (["bruno"], []),
        (["bruno"], []),
        ([], ["bruno"]),
    ], "joined, other data, left: the drop was no change"


def test_a_user_with_two_sessions_in_a_room_is_one_member(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_v1(open_page, server)
    page.connect("ada", "ada", "bruno")
    for nth in range(2):
        page.join("ada", "lobby", nth=nth)
    page.join("bruno", "lobby", button="Only watch")
    room = page.room("bruno", "lobby")
    expect(room.locator(".person")).to_have_count(1)
    expect(room.get_by_label("Own data")).to_be_hidden()
    page.press("Disconnect", "ada")
    page.join("bruno", "barrier")
    expect(page.room("bruno", "barrier").locator(".person")).to_have_count(1)
    expect(room.locator(".person")).to_have_count(1)
    page.press("Disconnect", "ada", nth=1)
    expect(room.locator(".person")).to_have_count(0)
    room.get_by_role("button", name="Stop watching").click()
    expect(page.part("bruno", "rooms").get_by_role("region")).to_have_count(1)


def test_the_page_shows_the_mode_of_a_room(start_server: StartServer, open_page: OpenPage) -> None:
    server = start_server(room_coalesced=2, room_counts=3)
    page = open_v1(open_page, server)
    page.connect("ada", "bruno", "chiara")
    page.join("ada", "hall")
    line = page.room("ada", "hall").locator(".room-line")
    expect(line).to_have_text("1 member · full: the server sends every change at once")
    page.join("bruno", "hall")
    expect(line).to_have_text("2 members · coalesced: the server sends changes once a second")
    page.join("chiara", "hall")
    expect(line).to_have_text("3 members · counts: the server sends only the number of members")
    expect(page.room("ada", "hall").locator(".person")).to_have_count(0)


def test_hostile_ids_and_texts_are_displayed_as_text(server: ServerProcess, open_page: OpenPage) -> None:
    page, watcher = open_v1(open_page, server), open_v1(open_page, server)
    watcher.connect("watcher")
    page.connect(*HOSTILE)
    for user_id in HOSTILE:
        page.set_status(user_id, "Busy", TEXT, "🏴")
        watcher.expect_status(user_id, "busy", f"🏴 {TEXT}")
        expect(page.truth(user_id)).to_have_text(f"busy, chosen · 🏴 {TEXT}")
        page.join(user_id, "<b>__proto__", user_id)
    watcher.join("watcher", "<b>__proto__")
    expect(watcher.room("watcher", "<b>__proto__").locator(".person")).to_have_count(len(HOSTILE) + 1)
    watcher.watch("watcher", "Only these", *HOSTILE)
    expect(watcher.seen_by("watcher")).to_have_count(len(HOSTILE))
    expect(watcher.part("watcher", "watching").locator("summary")).to_contain_text(f"{len(HOSTILE)} online")
    for each in (page, watcher):
        expect(each.page.locator("img, main b:has(b)")).to_have_count(0)
    for user_id in HOSTILE:
        page.press("Disconnect", user_id)
    for user_id in HOSTILE:
        expect(watcher.seen_by("watcher").filter(has=watcher.page.get_by_text(user_id, exact=True))).to_contain_text(
            "offline"
        )
