"""Generated documents are up to date. After a change, run `make docs`."""

from __future__ import annotations

import json

import pytest
from tools.docs.__main__ import ROOT, documents

from presenced.config.settings import Settings
from presenced.errors import Close

DOCUMENTS = documents()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_generated_document_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == DOCUMENTS[path], "run `make docs`"


def test_every_setting_and_code_is_in_its_document() -> None:
    assert all(f"| `{name}` |" in DOCUMENTS["docs/reference/settings.md"] for name in Settings.model_fields)
    assert {close["code"] for close in json.loads(DOCUMENTS["spec/codes.json"])["close"]} == {c.code for c in Close}
