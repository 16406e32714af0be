"""The test page as a person uses it, and the errors that the browser reports."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, expect
from tests.support.process import ServerProcess

SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"
"""Folder of screenshots for people, outside version control."""

SERVER_GONE = re.compile(r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)")
"""Console message of Chromium for a request to a killed server."""

NETWORK_GONE = re.compile(r"net::ERR_INTERNET_DISCONNECTED")
"""Console message of Chromium for a request without a network."""


PATIENCE = 30.0
"""Seconds after which a wait in a test fails, however busy the machine is."""

expect.set_options(timeout=1000 * PATIENCE)


class Entry(NamedTuple):
    """One received message in the log of the page."""

    whose: str
    """The connection, as `ada #1`."""
    at: float
    """Time at which the page received it, in epoch seconds."""
    message: dict[str, Any]

    @property
    def sent_at(self) -> float:
        """Time of the message by the server, in epoch seconds."""
        return datetime.fromisoformat(self.message["timestamp"]).timestamp()


class PresencePage:
    """One tab with the test page in its own browser context, like another person's browser."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.faults: list[str] = []
        """Errors and warnings in the console, exceptions, violations of the content security policy, dialogs."""
        self._expected: list[re.Pattern[str]] = []
        self.context: BrowserContext = browser.new_context(**options)
        self.context.on("console", self._on_console)
        self.context.on("weberror", lambda error: self.faults.append(f"exception: {error.error}"))
        self.context.on("dialog", self._on_dialog)
        self.context.on("request", lambda request: self._on_request(request.url))
        self.context.expose_function("reportViolation", lambda text: self.faults.append(f"policy: {text}"))
        self.context.add_init_script(
            "document.addEventListener('securitypolicyviolation',"
            " (e) => reportViolation(`${e.violatedDirective} ${e.blockedURI}`))"
        )
        self.page: Page = self.context.new_page()

    def open(self) -> PresencePage:
        """Load the page."""
        self.page.goto(self.url)
        return self

    def unfold(self) -> PresencePage:
        """Unfold the parts below the demonstration. They stay so after a reload."""
        for part in ("workbench", "programs"):
            folded = self.page.locator(f"#{part}:not([open]) > summary")
            if folded.count():
                folded.click()
        return self

    def ignore(self, message: re.Pattern[str]) -> None:
        """Ignore messages in the console that the test expects."""
        self._expected.append(message)

    def expect_server_to_go(self) -> None:
        """Ignore Chromium's messages about a server that the test kills."""
        self._expected.append(SERVER_GONE)

    def cut_network(self) -> None:
        """Drop all traffic silently. To the browser, open connections stay open."""
        self._expected.append(NETWORK_GONE)
        self.context.set_offline(True)

    def restore_network(self) -> None:
        """End `cut_network`."""
        self.context.set_offline(False)

    # Actions of a person.

    def connect(self, *user_ids: str) -> None:
        """Connect users, and wait until each has another open connection."""
        for user_id in user_ids:
            connections = self.connections(user_id)
            count = connections.count()
            self.submit(user_id)
            expect(connections).to_have_count(count + 1)
            expect(connections.last).to_have_attribute("data-state", "open")

    def submit(self, user_id: str) -> None:
        """Submit the form, without waiting for the result."""
        self.page.get_by_label("User id").fill(user_id)
        self.page.get_by_role("button", name="Connect", exact=True).click()

    def speak(self, protocol: str, device: str = "") -> None:
        """Choose the protocol of later connections: `Classic` or `presenced.v1`, and a kind of device with that."""
        self.page.get_by_role("radio", name=protocol, exact=True).check()
        if device:
            self.page.get_by_label("Device").select_option(device)

    def set_status(self, user_id: str, status: str, text: str = "", emoji: str = "", seconds: int = 0) -> None:
        """Choose a status with the form of the user's card."""
        self.card(user_id).get_by_role("button", name="Set status").click()
        form = self.card(user_id).get_by_role("form", name=f"Status of {user_id}", exact=True)
        form.get_by_role("radio", name=status).check()
        form.get_by_label("Text").fill(text)
        form.get_by_label("Emoji").fill(emoji)
        if seconds:
            form.get_by_label("Ends after").fill(str(seconds))
            form.get_by_label("Unit").select_option("seconds")
        form.get_by_role("button", name="Set", exact=True).click()
        expect(form).to_be_hidden()

    def set_idle(self, user_id: str, idle: bool, nth: int = 0) -> None:
        """Set a device to idle or active."""
        switch = self.connections(user_id).nth(nth).get_by_role("switch", name="Idle")
        if switch.get_attribute("aria-checked") != str(idle).lower():
            switch.click()
        expect(switch).to_have_attribute("aria-checked", str(idle).lower())

    def watch(self, user_id: str, whom: str, *users: str, counted: bool = False, nth: int = 0) -> None:
        """Choose the users that a connection watches: `Everyone`, `Only these`, `Nobody`."""
        part = self.part(user_id, "watching", nth)
        part.get_by_role("radio", name=whom, exact=True).check()
        if users:
            part.get_by_label("Ids to watch").fill("\n".join(users))
        if whom == "Everyone":
            part.get_by_label("Only how many").set_checked(counted)
        part.get_by_role("button", name="Watch", exact=True).click()

    def join(self, user_id: str, room: str, data: str = "", button: str = "Join", nth: int = 0) -> None:
        """Join a room with a connection, or watch it."""
        part = self.part(user_id, "rooms", nth)
        part.get_by_label("Room", exact=True).fill(room)
        part.get_by_label("Data", exact=True).fill(data)
        part.get_by_role("button", name=button, exact=True).click()

    def press(self, button: str, user_id: str, nth: int = 0) -> None:
        """Press a button of a user's nth connection."""
        self.connections(user_id).nth(nth).get_by_role("button", name=re.compile(f"^{button} ")).click()

    # The page as displayed: the demonstration.

    def person(self, name: str) -> Locator:
        """Return the card of a person of the demonstration."""
        return self.page.locator("#people").get_by_role("article", name=name, exact=True)

    def sees(self, viewer: str, name: str) -> Locator:
        """Return the row of a person on another person's device."""
        return self.person(viewer).get_by_role("listitem").filter(has=self.page.get_by_text(name, exact=True))

    def story(self) -> Locator:
        """Return the line that says what just happened."""
        return self.page.locator("#story")

    # The page as displayed: the folded parts.

    def card(self, user_id: str) -> Locator:
        """Return the card of a user."""
        return self.page.get_by_role("article", name=user_id, exact=True)

    def connections(self, user_id: str) -> Locator:
        """Return the connections of a user, oldest first."""
        return self.card(user_id).locator(".connection")

    def part(self, user_id: str, which: str, nth: int = 0) -> Locator:
        """Return the part `watching` or `rooms` of a connection, unfolded."""
        part = self.connections(user_id).nth(nth).locator(f"details.{which}")
        if part.get_attribute("open") is None:
            part.locator("summary").click()
        return part

    def seen_by(self, user_id: str, nth: int = 0) -> Locator:
        """Return the users that a connection sees."""
        return self.part(user_id, "watching", nth).locator(".person")

    def room(self, user_id: str, room: str, nth: int = 0) -> Locator:
        """Return a room that a connection is in or watches."""
        return self.part(user_id, "rooms", nth).get_by_role("region", name=f"Room {room} of")

    def truth(self, user_id: str) -> Locator:
        """Return the user's own status."""
        return self.card(user_id).locator(".own-truth")

    def log_entries(self, whose: str) -> list[dict[str, Any]]:
        """Return the messages that a connection (`ada #1`) received, oldest first."""
        texts: list[str] = self.page.locator("#log li.in").evaluate_all(
            "(all, whose) => all.filter((li) => li.querySelector('.whose').textContent === whose)"
            ".map((li) => li.querySelector('code').textContent)",
            whose,
        )
        return [json.loads(text) for text in reversed(texts)]

    def seen(self, user_id: str, by: str) -> list[str]:
        """Return the statuses of a user in the changes of a connection (`ada #1`), oldest first."""
        changes = [m for m in self.log_entries(by) if m["type"] == "PRESENCE_CHANGES"]
        return [user["status"] for m in changes for user in m["users"] if str(user["userId"]) == user_id]

    def expect_status(self, user_id: str, status: str, *details: str) -> None:
        """Wait until "Who is online" shows this status of a user."""
        row = self.row(user_id)
        expect(row).to_have_attribute("data-status", status)
        expect(row.locator(".status")).to_have_text(status)
        for detail in details:
            expect(row).to_contain_text(detail)

    def row(self, user_id: str) -> Locator:
        """Return the user's row of "Who is online"."""
        return self.page.locator("#users > li").filter(has=self.page.get_by_text(user_id, exact=True))

    def expect_online(self, *user_ids: str) -> None:
        """Wait until "Who is online" shows these users online."""
        for user_id in user_ids:
            expect(self.row(user_id)).to_contain_text("online")
            expect(self.row(user_id)).to_have_attribute("data-online", "true")

    def expect_offline(self, *user_ids: str) -> None:
        """Wait until "Who is online" shows these users offline."""
        for user_id in user_ids:
            expect(self.row(user_id)).to_contain_text("offline")
            expect(self.row(user_id)).to_have_attribute("data-online", "false")

    def figure(self, name: str) -> Locator:
        """Return a figure at the top, by its label."""
        return self.page.locator(".figures div").filter(has=self.page.get_by_text(name, exact=True)).locator("dd")

    def entries_about(self, user_id: str, by: str | None = None) -> list[Entry]:
        """Return the messages about a user in the log, oldest first. `by` is a connection (`ada #1`)."""
        entries = self.page.locator("#log li.in").evaluate_all(
            "(all) => all.map((li) => [li.querySelector('.whose').textContent,"
            " li.querySelector('time').dateTime, li.querySelector('code').textContent])"
        )
        found = [Entry(w, datetime.fromisoformat(at).timestamp(), json.loads(text)) for w, at, text in entries]
        return [e for e in reversed(found) if str(e.message.get("userId", "")) == user_id and by in (None, e.whose)]

    def changes(self, user_id: str, by: str | None = None) -> list[str]:
        """Return the types of a user's changes, oldest first."""
        types = [str(entry.message["type"]) for entry in self.entries_about(user_id, by)]
        return [t for t in types if t != "CONNECTION_ESTABLISHED"]

    def screenshot(self, name: str) -> bytes:
        """Save and return a screenshot of the whole page."""
        self.page.mouse.move(0, 0)
        return self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")

    # Errors.

    def _on_console(self, message: ConsoleMessage) -> None:
        if any(expected.search(message.text) for expected in self._expected):
            return
        if message.type in ("error", "warning", "assert"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.faults.append(f"a request to elsewhere: {url}")


OpenPage = Callable[..., PresencePage]
"""Type of the fixture `open_page`."""

StartServer = Callable[..., ServerProcess]
"""Type of the fixture `start_server`."""


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for a condition outside a page."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition does not hold after {seconds} s"
        time.sleep(0.01)
