"""The documentation as a web site: `python -m tools.site`, or `make site`, writes it to `site/`.

The pages of `docs/` are at the root of the site. Other files of the repository that pages link to, such as
configurations and examples, are below `files/`. Links are adjusted, so that the same Markdown is correct on a code
host. The site needs no network: search and fonts are part of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
STAGE = ROOT / "build/site"
"""Copy of the pages with adjusted links, from which the generator makes the site."""

FILES = PurePosixPath("files")

SECTIONS = {
    "tutorial": "Tutorials",
    "how-to": "How-to guides",
    "reference": "Reference",
    "explanation": "Explanation",
    "contributing": "Contributing",
}
"""Titles of the folders of `docs/`, in the order of the navigation."""

SHIM = ROOT / "tests/js/node_modules/iframe-worker/shim/index.js"
"""Script with which the search works in pages that are opened from a disk. The generator would load it from a CDN."""
SHIM_URL = "https://unpkg.com/iframe-worker/shim"

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
REFERENCE = re.compile(r"^(\[[^\]]+\]: )([^\s#]+)()", re.MULTILINE)


def place(path: PurePosixPath) -> PurePosixPath:
    """Return where a file of the repository is on the site."""
    return path.relative_to("docs") if path.is_relative_to("docs") else FILES / path


def adjusted(text: str, page: PurePosixPath, linked: set[PurePosixPath]) -> str:
    """Return the text of a page with the links of the site. Add the files that it links to to `linked`."""

    def adjust(found: re.Match[str]) -> str:
        start, target, end = found.groups()
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            return found[0]
        path = PurePosixPath(os.path.normpath(page.parent / target))
        if (ROOT / path).is_dir():
            path /= "README.md"
        linked.add(path)
        return f"{start}{os.path.relpath(place(path), place(page).parent)}{end}"

    return REFERENCE.sub(adjust, LINK.sub(adjust, text))


def stage() -> None:
    """Write the pages, and the files that they link to, into an empty folder."""
    shutil.rmtree(STAGE, ignore_errors=True)
    waiting = {
        PurePosixPath(path.relative_to(ROOT).as_posix()) for path in (ROOT / "docs").rglob("*") if path.is_file()
    }
    done: set[PurePosixPath] = set()
    while waiting:
        path = waiting.pop()
        done.add(path)
        staged = STAGE / "docs" / place(path)
        staged.parent.mkdir(parents=True, exist_ok=True)
        linked: set[PurePosixPath] = set()
        if path.suffix == ".md" and (ROOT / path).exists():
            staged.write_text(adjusted((ROOT / path).read_text("utf-8"), path, linked), "utf-8")
        elif path.name == "README.md":
            staged.write_text(contents(path.parent, linked), "utf-8")
        else:
            shutil.copy(ROOT / path, staged)
        waiting |= linked - done
    settings = (ROOT / "zensical.toml").read_text("utf-8")
    (STAGE / "zensical.toml").write_text(
        settings.replace("[project]\n", f"[project]\nnav = {navigation()}\n", 1), "utf-8"
    )


def navigation() -> str:
    """Return the navigation (TOML): the pages in the order in which `docs/index.md` lists them, by folder."""
    text = (ROOT / "docs/index.md").read_text("utf-8").partition("\n## Tutorials\n")[2]
    listed = [PurePosixPath(path) for path in re.findall(r"\]\(([\w/-]+\.md)\)", text)]
    sections: dict[str, dict[str, list[str]]] = {title: {} for title in SECTIONS.values()}
    for path in dict.fromkeys(listed):
        folder, *below = path.parent.parts
        group = below[0].capitalize() if below else ""
        sections[SECTIONS[folder]].setdefault(group, []).append(f'"{path}"')
    parts = ['"index.md"', '"faq.md"', '"glossary.md"']
    for title, groups in sections.items():
        items = [
            item
            for group, pages in groups.items()
            for item in ([f'{{ "{group}" = [{", ".join(pages)}] }}'] if group else pages)
        ]
        parts.append(f'{{ "{title}" = [{", ".join(items)}] }}')
    return f"[{', '.join(parts)}]"


def contents(folder: PurePosixPath, linked: set[PurePosixPath]) -> str:
    """Return a page that lists the files of a folder without a README."""
    listed = subprocess.run(
        ["git", "ls-files", folder], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    paths = [path for path in map(PurePosixPath, filter(None, listed)) if not path.name.startswith(".")]
    linked.update(paths)
    lines = [f"- [{path.relative_to(folder)}]({path.relative_to(folder)})" for path in paths]
    return "\n".join([f"# {folder}", "", *lines, ""])


def localize(site: Path) -> None:
    """Make every page use its own copy of the one script that the generator takes from another site."""
    shutil.copy(SHIM, site / "assets/javascripts/iframe-worker.js")
    for page in site.rglob("*.html"):
        script = os.path.relpath(site / "assets/javascripts/iframe-worker.js", page.parent)
        page.write_text(page.read_text("utf-8").replace(SHIM_URL, script), "utf-8")


def build() -> int:
    """Build the site and return the exit code of the generator."""
    stage()
    code = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"], cwd=STAGE, check=False
    ).returncode
    if code == 0:
        localize(STAGE / "site")
        shutil.rmtree(ROOT / "site", ignore_errors=True)
        shutil.move(STAGE / "site", ROOT / "site")
    return code


if __name__ == "__main__":
    sys.exit(build())
