"""The security pages can be verified: the tests they name exist, links resolve, and nothing is unpickled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
THREATS = ROOT / "docs/contributing/attacks.md"
PAGES = [ROOT / "SECURITY.md", ROOT / "docs/explanation/security-model.md", THREATS]


def test_every_test_that_the_page_names_exists() -> None:
    page = THREATS.read_text("utf-8")
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)(\*?)`", page))
    assert len(named) > 20
    for name in named:
        assert f"def {name[0]}" + ("" if name[1] else "(") in tests, f"there is no {''.join(name)}"
    for path in set(re.findall(r"`(tests/[\w/.]+)`", page)):
        assert (ROOT / path).exists(), f"there is no {path}"


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub generates them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_security_pages_resolve(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text("utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} links to {target}#{anchor}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_links_to_the_security_page_lead_to_a_heading(page: Path) -> None:
    for anchor in re.findall(r"\]\(security\.md#([^)]+)\)", page.read_text("utf-8")):
        assert anchor in anchors(ROOT / "docs/explanation/security-model.md"), (
            f"{page.name} links to security.md#{anchor}"
        )


@pytest.mark.parametrize("path", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_unpickled(path: Path) -> None:
    """Unpickling input from others would execute their code."""
    assert not re.search(r"\b(pickle|marshal|shelve|yaml|eval\(|exec\()", path.read_text("utf-8"))
