"""The test page as a person sees it, and what went wrong in the browser meanwhile."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page, expect

SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"
"""For people to look at; not kept in the repository."""

SERVER_GONE = re.compile(r"net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|SOCKET_NOT_CONNECTED)")
"""What Chromium writes to the console for a request to a server that was killed."""


class Entry(NamedTuple):
    """One received message in the log of the page."""

    whose: str
    """The connection, as `ada #1`."""
    at: float
    """When the page got it: epoch seconds."""
    message: dict[str, Any]

    @property
    def sent_at(self) -> float:
        """When the server made it: epoch seconds."""
        return datetime.fromisoformat(self.message["timestamp"]).timestamp()


class PresencePage:
    """One tab with the test page in a browser context of its own: another person, as far as the browser knows."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.faults: list[str] = []
        """Errors and warnings in the console, exceptions, violations of the content security policy, dialogs."""
        self._server_may_go = False
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
        self.page.goto(self.url)
        return self

    def expect_server_to_go(self) -> None:
        """The server will be killed on purpose: what Chromium says to that is no fault of the page."""
        self._server_may_go = True

    # What a person does.

    def connect(self, *user_ids: str) -> None:
        """Connect users; returns when each has a connection more that is open."""
        for user_id in user_ids:
            connections = self.connections(user_id)
            count = connections.count()
            self.submit(user_id)
            expect(connections).to_have_count(count + 1)
            expect(connections.last).to_have_attribute("data-state", "open")

    def submit(self, user_id: str) -> None:
        """Ask for a connection, whatever comes of it."""
        self.page.get_by_label("User id").fill(user_id)
        self.page.get_by_role("button", name="Connect", exact=True).click()

    def press(self, button: str, user_id: str, nth: int = 0) -> None:
        """Press a button of a user's nth connection."""
        self.connections(user_id).nth(nth).get_by_role("button", name=re.compile(f"^{button} ")).click()

    # What a person sees.

    def card(self, user_id: str) -> Locator:
        return self.page.get_by_role("article", name=user_id, exact=True)

    def connections(self, user_id: str) -> Locator:
        return self.card(user_id).locator(".connection")

    def row(self, user_id: str) -> Locator:
        """The user's row of "Who is online"."""
        return self.page.locator("#users > li").filter(has=self.page.get_by_text(user_id, exact=True))

    def expect_online(self, *user_ids: str) -> None:
        for user_id in user_ids:
            expect(self.row(user_id)).to_contain_text("online")
            expect(self.row(user_id)).to_have_attribute("data-online", "true")

    def expect_offline(self, *user_ids: str) -> None:
        for user_id in user_ids:
            expect(self.row(user_id)).to_contain_text("offline")
            expect(self.row(user_id)).to_have_attribute("data-online", "false")

    def figure(self, name: str) -> Locator:
        """One of the numbers at the top, by what stands below it."""
        return self.page.locator(".figures div").filter(has=self.page.get_by_text(name, exact=True)).locator("dd")

    def heard(self, user_id: str, by: str | None = None) -> list[Entry]:
        """The messages about a user in the log, oldest first; `by` is a connection (`ada #1`)."""
        entries = self.page.locator("#log li.in").evaluate_all(
            "(all) => all.map((li) => [li.querySelector('.whose').textContent,"
            " li.querySelector('time').dateTime, li.querySelector('code').textContent])"
        )
        found = [Entry(w, datetime.fromisoformat(at).timestamp(), json.loads(text)) for w, at, text in entries]
        return [e for e in reversed(found) if str(e.message["userId"]) == user_id and by in (None, e.whose)]

    def changes(self, user_id: str, by: str | None = None) -> list[str]:
        """The types of the changes of a user that were heard, oldest first."""
        types = [str(entry.message["type"]) for entry in self.heard(user_id, by)]
        return [t for t in types if t != "CONNECTION_ESTABLISHED"]

    def screenshot(self, name: str) -> bytes:
        self.page.mouse.move(0, 0)
        return self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")

    # What goes wrong.

    def _on_console(self, message: ConsoleMessage) -> None:
        if self._server_may_go and SERVER_GONE.search(message.text):
            return
        if message.type in ("error", "warning", "assert"):
            self.faults.append(f"console {message.type}: {message.text}")

    def _on_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_request(self, url: str) -> None:
        if not url.startswith((self.url, "data:")):
            self.faults.append(f"a request to elsewhere: {url}")


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that is not on a page."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come about within {seconds} s"
        time.sleep(0.01)
