"""What all answers are made of: JSON, and problem documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.json import Encoder
from starlette.exceptions import HTTPException
from starlette.responses import Response

from presenced.errors import BadUserId, Problem
from presenced.net.problems import MEDIA_TYPE, problem_body
from presenced.net.refusals import Refusal

TurnedAway = Callable[[Refusal, bytes], None]
"""Function that logs and counts a refusal of a request with this `Origin`: `Node.turned_away`."""

_encoder = Encoder()


class ProblemError(HTTPException):
    """A request is refused with this problem."""

    def __init__(self, problem: Problem, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.status, detail, headers)
        self.problem = problem


def json_answer(content: object, status: int = 200) -> Response:
    """JSON of this moment."""
    return Response(_encoder.encode(content), status, {"cache-control": "no-store"}, "application/json")


def problem_answer(problem: Problem, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal."""
    return Response(problem_body(problem, detail), problem.status, headers, MEDIA_TYPE)


def without_example(error: BadUserId) -> str:
    """What is wrong with a user id, without how to connect with a better one."""
    return str(error).partition(": connect")[0]
