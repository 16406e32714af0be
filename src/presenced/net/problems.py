"""Problem documents (RFC 9457): what an HTTP client is told when it is refused."""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Encoder

from presenced.errors import Problem

MEDIA_TYPE = "application/problem+json"

_encoder = Encoder()


class ProblemDocument(Struct, frozen=True):
    """The members of RFC 9457 section 3.1 (`type` is left at its default, `about:blank`), and two of ours."""

    title: str
    status: int
    detail: str
    """What was wrong with this request and what to do about it."""
    code: str
    """The stable name: a member of `errors.Problem`."""
    retry: bool
    """Whether the same request, unchanged, may succeed later."""


def problem_document(problem: Problem, detail: str) -> ProblemDocument:
    """What a refusal says. `detail` holds nothing internal, and nothing the client did not send itself."""
    return ProblemDocument(problem.meaning, problem.status, detail, problem.name, problem.retry)


def problem_body(problem: Problem, detail: str) -> bytes:
    """The JSON body of a refusal."""
    return _encoder.encode(problem_document(problem, detail))
