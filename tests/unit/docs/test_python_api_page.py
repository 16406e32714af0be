"""The page about the Python interface names everything that is public, and nothing else."""

from __future__ import annotations

import inspect
import re
from itertools import chain

import pytest
from tools.docs.__main__ import ROOT
from tools.docs.python_api import BEGIN, ENUMS, GROUPS, RESULTS, exceptions, public_members

import presenced
from presenced import PresenceServer

PAGE = (ROOT / "docs/reference/python-api.md").read_text("utf-8")
REFERENCE = PAGE.partition(BEGIN)[2]
HEADINGS = re.findall(r"^### (\w+)$", REFERENCE, re.MULTILINE)

ELSEWHERE = {
    "Close": "docs/reference/codes.md",
    "Problem": "docs/reference/codes.md",
    "Settings": "docs/reference/settings.md",
    "PresenceServer": "",
    "__version__": "",
}
"""Exported names that have another page, or no heading of their own."""


def test_every_public_method_is_on_the_page_and_vice_versa() -> None:
    documented = list(chain(*GROUPS.values()))
    assert len(documented) == len(set(documented))
    assert set(documented) == public_members()
    assert set(documented) == set(HEADINGS) - {*RESULTS, *ENUMS}


def test_every_exported_name_is_on_the_page_and_vice_versa() -> None:
    errors = exceptions()
    assert {*RESULTS, *ENUMS, *errors, *ELSEWHERE} == set(presenced.__all__), (
        "add it to RESULTS in tools/docs/python_api.py"
    )
    assert {*RESULTS, *ENUMS} <= set(HEADINGS)
    for name in (*errors, *ELSEWHERE):
        assert re.search(rf"`?\b{name}\b", PAGE) or name == "__version__", name


@pytest.mark.parametrize("name", list(chain(*GROUPS.values())))
def test_every_argument_is_described(name: str) -> None:
    """Ids, and the arguments whose names say everything, are described at the beginning of the page."""
    value = inspect.getattr_static(PresenceServer, name)
    if isinstance(value, property):
        return
    section = REFERENCE.partition(f"### {name}\n")[2].partition("\n#")[0]
    for argument in inspect.signature(value).parameters:
        if argument not in ("self", "user_id", "user_ids"):
            assert f"`{argument}`" in section or f" {argument} " in section, argument


def test_every_field_is_described() -> None:
    assert "|  |\n" not in REFERENCE
