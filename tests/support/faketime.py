"""The clock of a process, which a test steps while the process runs (libfaketime)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.services import Valkey


class Clock:
    """Wall clock of processes that start with `environ`. Their monotonic clock stays as it is.

    Args:
        file: File that the processes read. They must be allowed to.
    """

    def __init__(self, file: Path) -> None:
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            pytest.skip("faketime is not installed")
        self._file = file
        self.environ = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set the clock so many seconds ahead of the machine's."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.chmod(0o644)
        new.replace(self._file)


class SteppedValkey(Valkey):
    """Valkey with a clock that a test steps. Debian's Redis does not start: jemalloc asks libfaketime too early."""

    def install(self) -> None:
        self.clock = Clock(self.folder / "clock")

    def command(self) -> list[str]:
        return ["/usr/bin/env", *(f"{name}={value}" for name, value in self.clock.environ.items()), *super().command()]
