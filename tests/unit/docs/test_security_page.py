"""What docs/security.md says can be looked up: the tests that it names are there, and some things are not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in set(re.findall(r"`(test_\w+)(\*?)`", PAGE)):
        assert f"def {name[0]}" + ("" if name[1] else "(") in tests, f"there is no {''.join(name)}"
    for path in set(re.findall(r"`(tests/[\w/.]+)`", PAGE)):
        assert (ROOT / path).exists(), f"there is no {path}"


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_unpickled(path: Path) -> None:
    """What others send is never turned into code."""
    assert not re.search(r"\b(pickle|marshal|shelve|yaml|eval\(|exec\()", path.read_text("utf-8"))
