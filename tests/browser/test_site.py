"""The documentation as a web site: complete, and usable from a disk without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.support.raw import PATIENCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"


@pytest.fixture(scope="module")
def site() -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "tools.site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return SITE


def test_every_page_is_on_the_site_and_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        html = (site / page.relative_to(ROOT / "docs").with_suffix(".html")).read_text("utf-8")
        assert not re.findall(r'<(?:script|img|iframe)[^>]* src="https?:', html)
        assert not re.findall(r'<link[^>]* href="https?:', html)


def test_links_and_anchors_of_the_site_resolve(site: Path) -> None:
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for target in re.findall(r'<a [^>]*href="([^"]+)"', page.read_text("utf-8")):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            path = path / "index.html" if path.is_dir() else path
            assert path.exists(), f"{page.relative_to(site)} links to {target}"
            if anchor and path.suffix == ".html":
                assert f'id="{anchor}"' in path.read_text("utf-8"), f"{page.relative_to(site)} links to {target}"


def test_the_search_works_from_a_disk(site: Path, browser: Browser) -> None:
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{site.as_uri()}/index.html")
    page.keyboard.press("/")
    page.keyboard.type("grace period")
    expect(page.get_by_role("option").filter(has_text="grace period").first).to_be_visible(timeout=PATIENCE * 1000)
    assert all(url.startswith(("file:", "data:", "blob:")) for url in requests), requests
