"""The programs to copy, run as they are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect
from tests.browser.conftest import OpenPage
from tests.process import ServerProcess

NODE_MODULES = Path(__file__).parents[1] / "js" / "node_modules"


def snippet(page: Page, name: str) -> str:
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name).locator("code").inner_text()


def first_line(command: list[str], directory: Path) -> str:
    """The first line the program prints; it would go on for ever."""
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None, "a pipe was asked for"
        line = process.stdout.readline()
        process.kill()
    return line


def test_the_browser_snippet_runs(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    code = snippet(page, "Browser")

    def established(message: ConsoleMessage) -> bool:
        return message.text == "CONNECTION_ESTABLISHED 123"

    with page.expect_console_message(established):
        page.evaluate(f"() => {{ {code} }}")


def test_the_node_snippet_runs(server: ServerProcess, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "watch.mjs").write_text(snippet(open_page(server).page, "Node"))
    assert first_line(["node", "watch.mjs"], tmp_path) == "CONNECTION_ESTABLISHED 123\n"


def test_the_python_snippet_runs(server: ServerProcess, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "watch.py").write_text(snippet(open_page(server).page, "Python"))
    assert first_line([sys.executable, "-u", "watch.py"], tmp_path) == "CONNECTION_ESTABLISHED 123\n"


def test_the_curl_snippet_runs(server: ServerProcess, open_page: OpenPage) -> None:
    assert shutil.which("curl"), "the test needs curl"
    code = snippet(open_page(server).page, "curl")
    answer = subprocess.run(["sh", "-euc", code], capture_output=True, text=True, check=True).stdout
    for part in ('"connectedUsers":', '"alive"', '"ready"', "presenced_connections 0.0"):
        assert part in answer


@pytest.mark.parametrize("way", ["clipboard", "old way"])
def test_copy_copies(way: str, server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server)
    shown.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = shown.page
    page.evaluate("navigator.clipboard.writeText('before')")
    if way == "old way":  # as on plain http from another machine
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not here')); }")
    code = snippet(page, "Python")
    copy = page.locator("#copy")
    copy.click()
    expect(copy).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == code
    assert f"{server.websocket_url}?userId=123" in code
    expect(page.get_by_role("status")).to_contain_text("Copied")
    expect(copy).to_be_focused()
