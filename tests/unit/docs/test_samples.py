"""Examples of responses in the documents."""

from __future__ import annotations

import pytest
from tools.docs.samples import sample


def test_a_field_without_an_example_is_an_error_that_says_where_to_add_one() -> None:
    with pytest.raises(LookupError, match="add an example of `mood` to TEXTS"):
        sample({"type": "string"}, {}, "mood")
