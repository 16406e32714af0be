"""How many examples property tests try."""

from __future__ import annotations

import os

FACTOR = float(os.environ.get("PRESENCED_EXAMPLES", "1"))
"""`make check` tries a tenth of the examples, `make test` all, `make soak` several times as many."""


def examples(count: int) -> int:
    """Return the number of examples to try in this run, for a test that tries `count` in `make test`."""
    return max(1, round(count * FACTOR))
