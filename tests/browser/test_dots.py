"""`presenced/react/dots.css`: every status is readable, and fades when it may be old."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from tests.support.documents import ROOT

STYLES = (ROOT / "clients/js/src/react/dots.css").read_text("utf-8")

PILE = f"""
<style>{STYLES}</style>
<p>
  <span class="presenced-facepile">
    <span class="presenced-face" data-status="online">AL</span>
    <span class="presenced-face" data-status="away"><b>GH</b></span>
    <span class="presenced-face" data-status="busy">LP</span>
    <span class="presenced-more">+3</span>
  </span>
  <span class="presenced-dot" data-status="online"></span>
</p>
"""

COVERED = """() => [...document.querySelectorAll(".presenced-face")].flatMap((face) => {
  const { left, right, bottom } = face.getBoundingClientRect();
  const { width, height, insetInlineEnd, insetBlockEnd } = getComputedStyle(face, "::after");
  const isLeftToRight = getComputedStyle(face).direction === "ltr";
  const border = 2;
  const end = border + parseFloat(insetInlineEnd);
  const x = isLeftToRight ? right - end - parseFloat(width) : left + end;
  const y = bottom - border - parseFloat(insetBlockEnd) - parseFloat(height);
  const at = (share, rise) => document.elementFromPoint(x + share * parseFloat(width), y + rise * parseFloat(height));
  return [[0.5, 0.5], [0.1, 0.5], [0.9, 0.5], [0.5, 0.1], [0.5, 0.9]]
    .filter(([share, rise]) => at(share, rise) !== face)
    .map((point) => `${face.textContent} at ${point}`);
})"""
"""Returns the points of dots that another face covers."""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_content(PILE)
    yield page
    page.close()


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_no_face_covers_the_dot_of_another_one(page: Page, direction: str) -> None:
    page.locator("p").evaluate("(element, direction) => element.dir = direction", direction)
    assert page.evaluate(COVERED) == []


def test_dots_of_a_facepile_stay_below_a_menu(page: Page) -> None:
    """Dots lie above other faces, but not above elements outside the facepile."""
    page.locator("p").evaluate("""(element) => element.insertAdjacentHTML(
        "beforeend", "<div id=menu style='position: absolute; inset: 0; background: white'></div>"
    )""")
    assert page.evaluate(COVERED), "the menu covers the dots"


def test_dots_and_those_of_faces_fade_when_they_may_be_old(page: Page) -> None:
    opacities = """() => [
        getComputedStyle(document.querySelector(".presenced-dot")),
        ...[...document.querySelectorAll(".presenced-face")].map((face) => getComputedStyle(face, "::after")),
    ].map(({ opacity }) => opacity)"""
    assert page.evaluate(opacities) == ["1"] * 4
    page.locator("p").evaluate("(element) => element.dataset.stale = 'true'")
    assert page.evaluate(opacities) == ["0.5"] * 4
