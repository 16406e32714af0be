"""Problem documents (RFC 9457)."""

from msgspec import json

from presenced.errors import Problem
from presenced.net.problems import problem_body


def test_a_problem_states_the_fault_and_whether_to_retry() -> None:
    assert json.decode(problem_body(Problem.UNAVAILABLE, "come back")) == {
        "title": "The server is stopping or full, or a service that it needs does not respond.",
        "status": 503,
        "detail": "come back",
        "code": "UNAVAILABLE",
        "retry": True,
    }
