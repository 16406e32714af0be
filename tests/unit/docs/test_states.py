"""`docs/reference/states.md` names every code and every ending."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.errors import Close, Problem
from presenced.presence.model import Ending

PAGE = (Path(__file__).parents[3] / "docs/reference/states.md").read_text("utf-8")


@pytest.mark.parametrize("close", Close)
def test_every_close_code_is_on_the_page(close: Close) -> None:
    assert f"{close.code} {close.name}" in PAGE


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_is_on_the_page(problem: Problem) -> None:
    assert f"{problem.status} {problem.name}" in PAGE


@pytest.mark.parametrize("ending", Ending)
def test_every_ending_is_in_the_table_and_the_diagram(ending: Ending) -> None:
    diagram, _, table = PAGE.partition("| ending |")
    assert f"| `{ending.value}` |" in table
    assert ending.value in diagram
