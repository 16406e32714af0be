"""Problem documents (RFC 9457): the JSON body of HTTP refusals."""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Encoder

from presenced.errors import Problem

PROBLEM_MEDIA_TYPE = "application/problem+json"
"""Media type of a problem document (RFC 9457)."""

_encoder = Encoder()


class ProblemDocument(Struct, frozen=True):
    """Members of RFC 9457 section 3.1, and `code` and `retry`. `type` is omitted: its default is `about:blank`."""

    title: str
    status: int
    detail: str
    """Fault of this request, and how to fix it."""
    code: str
    """Stable name of the fault: a member of `errors.Problem`."""
    retry: bool
    """Whether the same request may succeed later."""


def problem_document(problem: Problem, detail: str) -> ProblemDocument:
    """Return the document for a refusal.

    Args:
        detail: Text with nothing internal, and nothing that the client did not send itself.
    """
    return ProblemDocument(problem.meaning, problem.status, detail, problem.name, problem.retry)


def problem_body(problem: Problem, detail: str) -> bytes:
    """Return the JSON body for a refusal."""
    return _encoder.encode(problem_document(problem, detail))
