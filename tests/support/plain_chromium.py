"""Chromium with its back/forward cache, which Playwright disables; driven over its own protocol.

The protocol is described at https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

START_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 20

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
]


class PlainChromium:
    """A browser with one tab, and more after `open_tab`. Methods apply to the tab in use.

    Args:
        path: The program.
        profile: Empty directory for the browser's data.
    """

    def __init__(self, path: str, profile: Path) -> None:
        self._profile = profile
        self._path = path
        self._number = 0
        self._session = ""
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            command = [self._path, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(_end, process)
            port, path = self._await_port()[:2]
            self._socket = stack.enter_context(connect(f"ws://127.0.0.1:{port}{path}", max_size=None))
            [page] = [t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
            self._session = self._call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
            self._call("Page.enable")
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def tab(self) -> str:
        """Tab in use, for `use`."""
        return self._session

    def use(self, tab: str) -> None:
        """Use a tab from now on. This does not show it."""
        self._session = tab

    def open_tab(self) -> str:
        """Open a tab, show it, and use it from now on."""
        self._session = ""  # commands to the browser itself
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")
        return self._session

    def go(self, url: str) -> None:
        """Load another page, as from the address bar."""
        self._call("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def go_back(self, url: str) -> None:
        """Return to the previous page, whose address is `url`."""
        history = self._call("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]
        self._call("Page.navigateToHistoryEntry", entryId=entry["id"])
        self.wait_for(f"location.href === {json.dumps(url)}")

    def freeze(self) -> None:
        """Freeze the page, as Chromium does with background tabs."""
        self._call("Page.setWebLifecycleState", state="frozen")

    def unfreeze(self) -> None:
        """End `freeze`."""
        self._call("Page.setWebLifecycleState", state="active")

    def run(self, expression: str) -> Any:
        """Return the value of an expression in the page; promises are awaited."""
        result = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = ANSWER_TIMEOUT_S) -> None:
        """Wait until an expression is true in the page, even if the page changes meanwhile."""

        def is_true() -> bool:
            try:
                return bool(self.run(expression))
            except (AssertionError, LookupError):  # the page is being replaced
                return False

        wait_until(is_true, seconds, expression)

    def screenshot(self, path: Path) -> None:
        """Save a screenshot."""
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            answer = json.loads(self._socket.recv(deadline - time.monotonic()))
            if answer.get("id") == self._number:
                break
        if "error" in answer:
            raise LookupError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _await_port(self) -> list[str]:
        file = self._profile / "DevToolsActivePort"
        wait_until(lambda: file.exists() and file.read_text().count("\n") == 1, START_TIMEOUT_S, "the browser starts")
        return file.read_text().split("\n")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition does not hold after {seconds} s: {what}"
        time.sleep(0.02)
