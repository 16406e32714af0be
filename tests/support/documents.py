"""Code blocks of the documentation, and a terminal in which they run as a reader would run them.

A comment on the line before a block steers what happens to it:

    <!-- test: skip REASON -->         do not run it
    <!-- test: file NAME -->           write it to a file, for later blocks
    <!-- test: run TEXT -->            run it until it prints TEXT (Python)
    <!-- test: node TEXT -->           run it with Node.js until it prints TEXT
    <!-- test: browser TEXT -->        run it in a page of the server until the console has TEXT
    <!-- test: page TEXT -->           open it in a browser until the page shows TEXT (HTML)
    <!-- test: background PORT -->     run it until the end of the page; go on when PORT accepts connections
    <!-- test: setup                   run these commands, which the reader does not see
    COMMANDS
    -->
    <!-- test: clone -->               the commands of the page run in a copy of the repository
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.ports import free_port
from tests.support.raw import PATIENCE

ROOT = Path(__file__).parents[2]
NODE_MODULES = ROOT / "tests/js/node_modules"

SCRIPT_SECONDS = 3
"""Time that a program without an expected text may run."""

STREAM_SECONDS = 3
"""Time after which a command that follows a stream (`curl -N`) is ended."""

PORT = re.compile(
    r"(localhost:|127\.0\.0\.1:|\[::1\]:|--port[ =]|PORT=|\bport ?= ?|<[\w-]+>:|http\.server )(\d{4,5})\b"
)
SERVE = re.compile(r"(?:^|&& |\s)(?:\S*/)?presenced serve\b")
VARIES = {
    "since",
    "version",
    "lastSeen",
    "lastActive",
    "until",
    "setAt",
    "position",
    "next",
    "digest",
    "timestamp",
    "connectionId",
    "ticket",
}
"""Fields whose values differ each time."""


class Block(NamedTuple):
    """A code block of a page, or hidden commands."""

    language: str
    text: str
    line: int
    action: str = ""
    argument: str = ""

    @property
    def name(self) -> str:
        """Name for messages of failed tests."""
        return f"block in line {self.line}"


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    pattern = re.compile(
        r"^<!-- test: (?P<action>\w+)(?: (?P<argument>[^\n]*?))??(?: -->|\n(?P<hidden>.*?)^-->)$"
        r"|^(?P<indent> *)(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *(?P=fence)$",
        re.MULTILINE | re.DOTALL,
    )
    steer: re.Match[str] | None = None
    for match in pattern.finditer(page):
        line = page.count("\n", 0, match.start()) + 1
        if match["fence"] is None:
            steer = match
            if match["action"] in ("setup", "clone"):
                yield Block("sh", match["hidden"] or "", line, match["action"])
                steer = None
            continue
        indent = len(match["indent"])
        text = "".join(row[indent:] or "\n" for row in match["text"].splitlines(keepends=True))
        action, argument = (steer["action"], steer["argument"] or "") if steer else ("", "")
        yield Block(match["language"], text, line, action, argument)
        steer = None


class Command(NamedTuple):
    """Command of a terminal, and the output that the page shows for it."""

    text: str
    output: str | None = None


def commands(block: Block) -> list[Command]:
    """Return the commands of a `console` block, or of a `sh` block with JSON output in comments."""
    if block.language == "console":
        parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
        found = []
        for part in parts:
            command, _, output = re.sub(r"\\\n(?:> )?", "", part).partition("\n")
            found.append(Command(command, output.rstrip()))
        return found
    if "\n# {" not in block.text:
        return [Command(block.text)]
    joined = block.text.replace("\\\n", "").replace("\n#  ", " ")
    return [
        Command(command, answer or None)
        for command, answer in re.findall(r"^([^#\n].*)\n?(?:# (\{.*)\n?)?", joined, re.MULTILINE)
    ]


class Terminal:
    """Shell whose variables and directory last from one command to the next, and programs in the background.

    Ports in the text of a page are replaced by free ones, so that pages can be tested beside other servers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self._state = folder / "state.sh"
        self._state.write_text(f"cd {shlex.quote(str(self.folder))}\n")
        (folder / ".curlrc").write_text("silent\n")  # no progress meter in the output
        self._ports: dict[str, int] = {}
        self._background: list[subprocess.Popen[str]] = []
        self._environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PRESENCED_", "PORT"))},
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PRESENCED_PORT": str(self.port("3001")),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
            "no_proxy": "*",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def port(self, documented: str) -> int:
        """Return the free port that stands for a documented one."""
        if documented not in self._ports:
            self._ports[documented] = free_port()
        return self._ports[documented]

    def local(self, text: str) -> str:
        """Return the text with free ports."""
        return PORT.sub(lambda found: f"{found[1]}{self.port(found[2])}", text)

    def documented(self, text: str) -> str:
        """Return the text with the ports of the page."""
        for documented, port in self._ports.items():
            text = text.replace(str(port), documented)
        return text

    def clone(self) -> None:
        """Copy the files of the repository into the directory, as a clone has them."""
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.folder / name)

    def run(self, text: str, seconds: float = 5 * PATIENCE) -> str:
        """Run commands and return their output.

        Raises:
            AssertionError: A command failed.
        """
        text = self.local(text)
        if re.search(r"^\s*curl .*-N\b|^\s*curl -\w*N", text, re.MULTILINE):
            text = re.sub(r"\bcurl\b", f"timeout {STREAM_SECONDS} curl", text, count=1)
        script = (
            f"set -eu; set -a; . {self._state}; trap '{{ export -p; echo cd \"$(pwd)\"; }} >{self._state}' EXIT\n{text}"
        )
        ran = subprocess.run(
            ["bash", "-c", script],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        allowed = {0, 124} if f"timeout {STREAM_SECONDS} " in text else {0}
        assert ran.returncode in allowed, f"exit code {ran.returncode} of:\n{text}\n{ran.stdout}"
        return self.documented(ran.stdout)

    def serve(self, text: str, lines: int = 0) -> str:
        """Run `presenced serve` in the background, in place of an earlier one, and return its first lines of output."""
        self.end()
        return self.start(text, self.port("3001"), lines)

    def start(self, text: str, port: int, lines: int = 0) -> str:
        """Run a command in the background until its port accepts connections, and return its first lines of output."""
        output = tempfile.NamedTemporaryFile("w+", dir=self.folder.parent, delete=False)  # noqa: SIM115, closed below
        with output:
            process = subprocess.Popen(
                ["bash", "-c", f"set -eu; set -a; . {self._state}\n{self.local(text)}"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._background.append(process)
        said = Path(output.name)
        deadline = time.monotonic() + 2 * PATIENCE
        while not _accepts(port) or said.read_text().count("\n") < lines:
            assert process.poll() is None, f"it ended: {text}\n{said.read_text()}"
            assert time.monotonic() < deadline, f"it does not listen on {port}: {text}\n{said.read_text()}"
            time.sleep(0.05)
        return self.documented("\n".join(said.read_text().split("\n")[:lines]))

    def until(self, command: list[str], text: str) -> None:
        """Run a program until it prints `text`; without one, for three seconds, which it may not fail in."""
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout
            os.set_blocking(process.stdout.fileno(), False)
            said, deadline = "", time.monotonic() + (PATIENCE if text else SCRIPT_SECONDS)
            while (ended := process.poll()) is None and time.monotonic() < deadline and not (text and text in said):
                said += _available(process.stdout.fileno())
                time.sleep(0.05)
            said += _available(process.stdout.fileno())
            if ended is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert text in said, f"it did not print {text!r}:\n{said}"
        assert "Traceback" not in said, said
        assert text or ended in (None, 0), f"exit code {ended}:\n{said}"

    def end(self) -> None:
        """End everything in the background."""
        for process in self._background:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._background:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._background.clear()


def _available(descriptor: int) -> str:
    """Return what can be read without waiting."""
    try:
        return os.read(descriptor, 2**20).decode("utf-8", "replace")
    except BlockingIOError:
        return ""


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def check_output(shown: str, said: str) -> None:
    """Compare the output that a page shows with the real one. `…` stands for anything."""
    if shown.startswith("{"):
        assert comparable(json.loads(said)) == comparable(json.loads(shown)), f"shown: {shown}\nreal: {said}"
        return
    lines = [re.escape(line.rstrip()).replace("…", ".*") for line in shown.strip().split("\n")]
    pattern = "\n".join(lines).replace("\n.*\n", "\n(?:.*\n)*?")
    real = "\n".join(line.rstrip() for line in said.strip().split("\n"))
    assert re.fullmatch(pattern, real), f"shown:\n{shown}\nreal:\n{said}"


def comparable(value: Any) -> Any:
    """Replace values that differ each time by their types."""
    if isinstance(value, dict):
        return {key: type(item).__name__ if key in VARIES else comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return value
