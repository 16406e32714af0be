"""The example programs of the test page run unchanged."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect
from tests.support.pages import OpenPage, StartServer
from tests.support.process import ServerProcess
from tests.support.tokens import SECRET, token

NODE_MODULES = Path(__file__).parents[1] / "js" / "node_modules"


def snippet(page: Page, name: str) -> str:
    page.get_by_role("tab", name=name).click()
    return page.get_by_role("tabpanel", name=name).locator("code").inner_text()


FIRST_WORDS_OF_V1 = ["CONNECTION_ESTABLISHED", "SELF", "PRESENCE_SNAPSHOT"]


def lines(command: list[str], directory: Path, count: int) -> list[str]:
    """Return the first lines that the program prints, because it would run forever."""
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None, "a pipe was asked for"
        found = [process.stdout.readline().rstrip("\n") for _ in range(count)]
        process.kill()
    return found


def test_the_browser_snippet_runs(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server, protocol="Classic").page
    code = snippet(page, "Browser")

    def established(message: ConsoleMessage) -> bool:
        return message.text == "CONNECTION_ESTABLISHED 123"

    with page.expect_console_message(established):
        page.evaluate(f"() => {{ {code} }}")


def test_the_node_snippet_runs(server: ServerProcess, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "watch.mjs").write_text(snippet(open_page(server, protocol="Classic").page, "Node"))
    assert lines(["node", "watch.mjs"], tmp_path, 1) == ["CONNECTION_ESTABLISHED 123"]


def test_the_python_snippet_runs(server: ServerProcess, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "watch.py").write_text(snippet(open_page(server, protocol="Classic").page, "Python"))
    assert lines([sys.executable, "-u", "watch.py"], tmp_path, 1) == ["CONNECTION_ESTABLISHED 123"]


def test_the_curl_snippet_runs(server: ServerProcess, open_page: OpenPage) -> None:
    assert shutil.which("curl"), "the test needs curl"
    code = snippet(open_page(server).page, "curl")
    answer = subprocess.run(["sh", "-euc", code], capture_output=True, text=True, check=True).stdout
    for part in ('"connectedUsers":', '"users":', '"alive"', '"ready"', "presenced_connections 0.0"):
        assert part in answer


def open_v1(open_page: OpenPage, server: ServerProcess) -> Page:
    shown = open_page(server)
    shown.speak("presenced.v1")
    return shown.page


def test_the_browser_snippet_uses_the_chosen_protocol(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_v1(open_page, server)
    code = snippet(page, "Browser")
    first = f'import {{ createPresence }} from "{server.url}client.js";'
    assert first in code
    program = code.replace(first, f'const {{ createPresence }} = await import("{server.url}client.js");')
    with page.expect_console_message(lambda message: message.text == "123 online"):
        page.evaluate(f"async () => {{ {program} }}")
    page.get_by_role("radio", name="Classic").check()
    assert "presenced.v1" not in page.locator("#snippet").inner_text()


def test_the_node_snippet_uses_the_chosen_protocol(server: ServerProcess, open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "watch.mjs").write_text(snippet(open_v1(open_page, server), "Node"))
    assert lines(["node", "watch.mjs"], tmp_path, 4) == [*FIRST_WORDS_OF_V1, "123 online"]


def test_the_python_snippet_uses_the_chosen_protocol(
    server: ServerProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "watch.py").write_text(snippet(open_v1(open_page, server), "Python"))
    assert lines([sys.executable, "-u", "watch.py"], tmp_path, 4) == [*FIRST_WORDS_OF_V1, "123 online"]


@pytest.mark.parametrize("protocol", ["Classic", "presenced.v1"])
def test_the_snippets_have_a_token_if_the_server_authenticates(
    protocol: str, start_server: StartServer, open_page: OpenPage, tmp_path: Path
) -> None:
    server = start_server({"PRESENCED_JWT_KEY": SECRET}, auth="jwt")
    shown = open_page(server)
    expect(shown.page.get_by_label("Token", exact=True)).to_be_visible()
    shown.speak(protocol)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    first = "CONNECTION_ESTABLISHED" if protocol == "presenced.v1" else "CONNECTION_ESTABLISHED ada"
    for name, file, command in (
        ("Node", "watch.mjs", ["node", "watch.mjs"]),
        ("Python", "watch.py", [sys.executable, "-u", "watch.py"]),
    ):
        code = snippet(shown.page, name)
        assert "presenced.token.TOKEN" in code
        (tmp_path / file).write_text(code.replace("TOKEN", token("ada")))
        assert lines(command, tmp_path, 1) == [first]
    assert ("presenced.token.TOKEN" if protocol == "Classic" else '"TOKEN"') in snippet(shown.page, "Browser")
    assert "Bearer API_KEY" in snippet(shown.page, "curl")


@pytest.mark.parametrize("way", ["clipboard", "old way"])
def test_the_copy_button_copies_the_snippet(way: str, server: ServerProcess, open_page: OpenPage) -> None:
    shown = open_page(server, protocol="Classic")
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
