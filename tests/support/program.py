"""A program that runs beside the test: its output, line by line."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.support.raw import PATIENCE


class Program:
    """Process with its output, in a process group of its own.

    Args:
        command: The program and its arguments.
        folder: Working directory.
        environ: Variables in addition to those of the test, without settings of presenced.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self._command = [str(part) for part in command]
        self._folder = folder
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("PRESENCED_")} | dict(environ or {})
        self._news = threading.Condition()
        self._output = ""
        self._seen = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env={**self._environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._reader.join()

    @property
    def output(self) -> str:
        """Output so far."""
        return self._output

    def expect(self, text: str, seconds: float = PATIENCE) -> None:
        """Wait for a text in the output after the text that was expected last."""
        deadline = time.monotonic() + seconds
        with self._news:
            while (found := self._output.find(text, self._seen)) < 0:
                left = deadline - time.monotonic()
                assert left > 0, f"{text!r} does not come:\n{self._output}"
                assert self._reader.is_alive(), f"it ended without {text!r}:\n{self._output}"
                self._news.wait(min(left, 0.5))
            self._seen = found + len(text)

    def signal(self, number: int) -> None:
        """Send a signal to the program."""
        self._process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the end, and return the exit code."""
        return self._process.wait(PATIENCE)

    def _read(self) -> None:
        assert self._process.stdout is not None, "stdout is a pipe"
        with self._process.stdout as lines:
            for line in lines:
                with self._news:
                    self._output += line
                    self._news.notify_all()


def until(condition: Callable[[], bool]) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition does not hold in time"
        time.sleep(0.05)
