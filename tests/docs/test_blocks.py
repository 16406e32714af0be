"""README, tutorials and how-to pages are true: their commands and programs run, in the order of the page."""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, sync_playwright
from tests.support.chromium import launch
from tests.support.client import CLIENT, build_client
from tests.support.documents import NODE_MODULES, ROOT, SERVE, Block, Terminal, blocks, check_output, commands
from tests.support.raw import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs/tutorial").glob("*.md")),
    *sorted((ROOT / "docs/how-to").rglob("*.md")),
]

NOT_RUN = {"", "text", "ini", "nginx", "caddyfile", "sql", "http", "dockerfile", "prisma", "diff", "promql", "xml"}
"""Languages of blocks that are read, not run. Tests of the files in `deploy/` run the complete configurations."""

CLIENT_IMPORT = re.compile(r'^import (\{.*\}) from "presenced";$', re.MULTILINE)
"""Import of the npm package. In a page of the server, `/client.js` is the same code."""

CHECK_TYPESCRIPT = """
import { readFileSync } from "node:fs";
import { transformWithOxc } from "vite";
await transformWithOxc(readFileSync(process.argv[1], "utf-8"), process.argv[1]);
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    with Terminal(tmp_path) as terminal:
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
        (terminal.folder / "node_modules").mkdir()
        (terminal.folder / "node_modules/presenced").symlink_to(CLIENT)
        for block in blocks(page.read_text("utf-8")):
            try:
                run(block, terminal)
            except Exception as error:
                error.add_note(f"{page.relative_to(ROOT)}, {block.name}:\n{block.text}")
                raise


def run(block: Block, terminal: Terminal) -> None:
    """Do with a block what its action or else its language says."""
    if block.action:
        ACTIONS[block.action](block, terminal)
    elif block.language not in NOT_RUN:
        LANGUAGES[block.language](block, terminal)


def run_commands(block: Block, terminal: Terminal) -> None:
    """Run the commands of a block and compare the outputs it shows."""
    for command in commands(block):
        if SERVE.search(command.text):
            lines = len(command.output.split("\n")) if command.output else 0
            said = terminal.serve(command.text, lines)
        else:
            said = terminal.run(command.text)
        if command.output:
            check_output(command.output, said)


def write_file(block: Block, terminal: Terminal) -> None:
    """Write a block to a file."""
    path = terminal.folder / block.argument
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(terminal.local(block.text), "utf-8")


def program(block: Block, terminal: Terminal, suffix: str) -> str:
    """Write a program and return its name."""
    name = f"block-{block.line}{suffix}"
    (terminal.folder / name).write_text(terminal.local(block.text), "utf-8")
    return name


def run_python(block: Block, terminal: Terminal) -> None:
    """Run a Python program."""
    terminal.until([sys.executable, program(block, terminal, ".py")], block.argument)


def run_node(block: Block, terminal: Terminal) -> None:
    """Run a program with Node.js."""
    build_client()
    terminal.until(["node", program(block, terminal, ".mjs")], block.argument)


def check_javascript(block: Block, terminal: Terminal) -> None:
    """Check the syntax of a JavaScript module."""
    terminal.run(f"node --check {terminal.folder / program(block, terminal, '.mjs')}")


def check_typescript(block: Block, terminal: Terminal) -> None:
    """Check the syntax of TypeScript or JSX."""
    name = program(block, terminal, ".tsx" if "x" in block.language else ".ts")
    done = subprocess.run(
        ["node", "--input-type=module", "-e", CHECK_TYPESCRIPT, str(terminal.folder / name)],
        cwd=NODE_MODULES.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr


def check_settings(block: Block, terminal: Terminal) -> None:
    """Check that the server accepts a file of settings."""
    terminal.run(f"presenced config show --config {terminal.folder / program(block, terminal, '.toml')} >/dev/null")


@contextmanager
def open_browser() -> Iterator[Page]:
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser.new_page()


def run_in_browser(block: Block, terminal: Terminal) -> None:
    """Run JavaScript in a page of the server."""
    with open_browser() as page:
        page.goto(f"http://localhost:{terminal.port('3001')}/")
        code = CLIENT_IMPORT.sub(r'const \1 = await import("/client.js");', terminal.local(block.text))
        with page.expect_console_message(lambda message: block.argument in message.text, timeout=PATIENCE * 1000):
            page.evaluate(f"async () => {{ {code} }}")


def open_page(block: Block, terminal: Terminal) -> None:
    """Open a page of another origin, as the developer's own web server has."""
    name = program(block, terminal, ".html")
    handler = functools.partial(_QuietHandler, directory=str(terminal.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, open_browser() as page:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"http://localhost:{server.server_port}/{name}")
        page.get_by_text(block.argument or "", exact=False).first.wait_for(timeout=PATIENCE * 1000)
        server.shutdown()
        assert not errors


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, the name of the base class
        pass


def start_in_background(block: Block, terminal: Terminal) -> None:
    """Run a server of the page until the end of the page."""
    terminal.start(block.text, terminal.port(block.argument))


ACTIONS: dict[str, Callable[[Block, Terminal], object]] = {
    "skip": lambda block, _: check_reason(block),
    "setup": lambda block, terminal: run_commands(block, terminal),
    "clone": lambda _, terminal: terminal.clone(),
    "file": write_file,
    "run": run_python,
    "node": run_node,
    "browser": run_in_browser,
    "page": open_page,
    "background": start_in_background,
}

LANGUAGES: dict[str, Callable[[Block, Terminal], object]] = {
    "sh": run_commands,
    "console": run_commands,
    "python": run_python,
    "js": check_javascript,
    "ts": check_typescript,
    "tsx": check_typescript,
    "jsx": check_typescript,
    "toml": check_settings,
    "json": lambda block, _: check_json(block.text),
    "yaml": lambda block, _: list(yaml.safe_load_all(block.text)),
    "html": open_page,
}


def check_json(text: str) -> None:
    """Parse one JSON value after the other."""
    while text := text.strip():
        text = text[json.JSONDecoder().raw_decode(text)[1] :]


def check_reason(block: Block) -> None:
    """Refuse a skip without a reason."""
    assert block.argument, "say why the block cannot run here: <!-- test: skip REASON -->"
