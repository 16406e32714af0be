"""Bodies of HTTP responses: JSON, and problem documents (RFC 9457) for refusals."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from presenced.errors import Problem
from presenced.net.problems import PROBLEM_MEDIA_TYPE, problem_body

RETRY_AFTER_S = "5"
"""`Retry-After` of a response 503, in seconds."""


class ProblemError(HTTPException):
    """Refusal of a request with a problem document."""

    def __init__(self, problem: Problem, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.status, detail, headers)
        self.problem = problem


def unavailable(detail: str) -> ProblemError:
    """Return the 503 for a request that may succeed in a few seconds."""
    return ProblemError(Problem.UNAVAILABLE, detail, {"retry-after": RETRY_AFTER_S})


def json_response(content: object, status: int = 200) -> Response:
    """Return a JSON response that no cache stores."""
    return Response(msgspec.json.encode(content), status, {"cache-control": "no-store"}, "application/json")


def problem_response(problem: Problem, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal with a problem document."""
    return Response(problem_body(problem, detail), problem.status, headers, PROBLEM_MEDIA_TYPE)
