"""The tables of codes."""

from http import HTTPStatus

import pytest
from websockets.frames import Close as CloseFrame

from presenced.errors import Close, Problem


@pytest.mark.parametrize("close", Close)
def test_every_close_code_may_be_sent(close: Close) -> None:
    assert CloseFrame(close.code, close.meaning).serialize(), "RFC 6455 section 7.4 allows it"
    assert close.meaning.endswith(".")


def test_close_codes_are_told_apart() -> None:
    assert len({close.code for close in Close}) == len(Close)


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_has_a_real_status(problem: Problem) -> None:
    assert 400 <= HTTPStatus(problem.status) < 600
    assert problem.meaning.endswith(".")
