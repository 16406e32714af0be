"""What is made from tables is up to date: after a change, `make docs`."""

from __future__ import annotations

import json

import pytest
from tools.docs.__main__ import ROOT, documents

from presenced.config.settings import Settings
from presenced.errors import Close


@pytest.mark.parametrize(("path", "text"), list(documents()), ids=[path for path, _ in documents()])
def test_generated_documents_are_up_to_date(path: str, text: str) -> None:
    assert (ROOT / path).read_text("utf-8") == text, "run `make docs`"


def test_every_setting_and_code_is_in_its_document() -> None:
    made = dict(documents())
    assert all(f"| `{name}` |" in made["docs/settings.md"] for name in Settings.model_fields)
    assert {close["code"] for close in json.loads(made["spec/codes.json"])["close"]} == {c.code for c in Close}
