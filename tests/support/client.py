"""The npm package in `clients/js`, built."""

from __future__ import annotations

import fcntl
import subprocess

from tests.support.documents import ROOT

CLIENT = ROOT / "clients/js"


def build_client() -> None:
    """Build the package if its source is newer. Processes that run tests at the same time build it once."""
    with (CLIENT / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            ["node", "scripts/prepack.mjs"], cwd=CLIENT, capture_output=True, text=True, check=False, timeout=300
        )
    assert done.returncode == 0, done.stdout + done.stderr
