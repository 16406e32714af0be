"""The page about attacks can be verified: the tests that it names exist, and nothing is unpickled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
THREATS = ROOT / "docs/contributing/attacks.md"


def test_every_test_that_the_page_names_exists() -> None:
    page = THREATS.read_text("utf-8")
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)(\*?)`", page))
    assert len(named) > 20
    for name in named:
        assert f"def {name[0]}" + ("" if name[1] else "(") in tests, f"there is no {''.join(name)}"
    for path in set(re.findall(r"`(tests/[\w/.]+)`", page)):
        assert (ROOT / path).exists(), f"there is no {path}"


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_unpickled(path: Path) -> None:
    """Unpickling input from others would execute their code."""
    assert not re.search(r"\b(pickle|marshal|shelve|yaml|eval\(|exec\()", path.read_text("utf-8"))
