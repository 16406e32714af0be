"""Pages of the documentation: links and anchors resolve, tables are whole, lines wrap, and the words are plain."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAX_COLUMNS = 100

FENCE = re.compile(r"^ *(`{3,}|~{3,}).*?^ *\1`*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
REFERENCE = re.compile(r"^\[[^\]]+\]: <?(\S+?)>?$", re.MULTILINE)
HEADING = re.compile(r"^#{1,6} (.+?)(?: #+)?$", re.MULTILINE)
CELL = re.compile(r"(?<!\\)\|")

STIFF = re.compile(
    r"(?:^|[.!?:] )(?:Who|Whom|Whose|What|Whatever|Those|Such|Of which)\b[^?]*?(?<!\?)[.:]"
    r"|\b(?:Is|Are|Was|Were|Has|Have|Does|Do|Should|Had) the [^?.]*, "
    r"|\b(?:anew|mended|hitherto|thereof|therein|whilst|amidst|heretofore|aforementioned)\b",
    re.MULTILINE,
)
"""Sentences and words that the style forbids: nominal relative clauses, conditions by inversion, archaic words."""


def pages() -> list[Path]:
    """Return every Markdown page of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return sorted(ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).exists())


PAGES = pages()
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


@cache
def prose(page: Path) -> str:
    """Return the text of a page, without fenced code."""
    return FENCE.sub("", page.read_text("utf-8"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of the headings of a page, as GitHub generates them."""
    found: dict[str, int] = {}
    names = re.findall(r'<a id="([^"]+)"', prose(page))
    for heading in HEADING.findall(prose(page)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        times = found[name] = found.get(name, -1) + 1
        names.append(f"{name}-{times}" if times else name)
    return frozenset(names)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_and_anchors_resolve(page: Path) -> None:
    text = CODE.sub("", prose(page))
    for target in LINK.findall(text) + REFERENCE.findall(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{target}: there is no such file"
        assert path.is_relative_to(ROOT), f"{target} leaves the repository"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{target}: the page has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(page: Path) -> None:
    width = 0
    for line in prose(page).split("\n"):
        if not line.lstrip().startswith("|"):
            width = 0
            continue
        row = CELL.split(CODE.sub(lambda code: code[0].replace(r"\|", ""), line).strip())[1:-1]
        width = width or len(row)
        assert len(row) == width, f"{len(row)} cells instead of {width}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_lines_wrap(page: Path) -> None:
    """Headings, rows of tables, links and pictures cannot wrap."""
    long = [
        line
        for line in prose(page).split("\n")
        if len(line) > MAX_COLUMNS
        and not (line.lstrip().startswith("|") or " " not in line.strip() or re.match(r"\s*(?:#|!?\[|- !?\[)", line))
    ]
    assert not long, f"wrap these at {MAX_COLUMNS} columns"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_words_are_plain(page: Path) -> None:
    text = re.sub(r"\s*\n(?=\S)", " ", CODE.sub("`code`", prose(page)))
    found = [match[0] for match in STIFF.finditer(text)]
    assert not found, f"see the word list of this test: {found}"


def test_the_index_lists_every_page() -> None:
    """The navigation of the site is made from it."""
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(prose(index))}
    assert not [page for page in (ROOT / "docs").rglob("*.md") if page != index and page not in linked]
