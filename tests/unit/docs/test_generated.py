"""Generated documents are up to date. After a change, run `make docs`."""

from __future__ import annotations

import json
from typing import Literal, get_args, get_origin

import pytest
from tools.docs.__main__ import ROOT, documents
from tools.docs.settings import NOTES, VALUES

from presenced.config.settings import Settings
from presenced.errors import Close

DOCUMENTS = documents()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_generated_document_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == DOCUMENTS[path], "run `make docs`"


def test_every_setting_and_code_is_in_its_document() -> None:
    assert all(f"### `{name}`" in DOCUMENTS["docs/reference/settings.md"] for name in Settings.model_fields)
    assert {close["code"] for close in json.loads(DOCUMENTS["spec/codes.json"])["close"]} == {c.code for c in Close}


@pytest.mark.parametrize("name", VALUES)
def test_every_value_of_a_setting_with_few_values_is_explained(name: str) -> None:
    assert tuple(VALUES[name]) == get_args(Settings.model_fields[name].annotation)


def test_every_setting_with_few_values_explains_them() -> None:
    few = {name for name, field in Settings.model_fields.items() if get_origin(field.annotation) is Literal}
    assert few == VALUES.keys()
    assert NOTES.keys() <= Settings.model_fields.keys()
