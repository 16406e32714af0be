"""The exception of this package."""

from __future__ import annotations

from presenced_client import codes


class PresenceError(Exception):
    """The server or the client refuses something.

    Args:
        code: Name of the error, such as `ROOM_FULL`. Distinguish errors by it.
        message: Description of the error.
        numeric_code: Close code or number of the error; 0 if the client itself refused.
        hint: Advice on how to fix it.
        retryable: Whether the same may succeed later, unchanged.
    """

    def __init__(
        self, code: str, message: str, *, numeric_code: int = 0, hint: str = "", retryable: bool = False
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" ({hint})" if hint else ""))
        self.code = code
        self.message = message
        self.numeric_code = numeric_code
        self.hint = hint
        self.retryable = retryable

    @classmethod
    def from_close(cls, code: int, reason: str) -> PresenceError:
        """Return the error for a close code of the server. Unknown codes and 1006 are retryable."""
        known = codes.CLOSE.get(code)
        if known is None:
            return cls("CONNECTION_LOST", reason or "the connection was lost", numeric_code=code, retryable=True)
        return cls(known.name, reason or known.meaning, numeric_code=code, hint=known.hint, retryable=known.reconnect)

    @classmethod
    def from_request(cls, code: int, name: str, message: str) -> PresenceError:
        """Return the error for an ERROR of the server."""
        known = codes.ERROR.get(code)
        return cls(name, message, numeric_code=code, retryable=known.retry if known else False)

    @classmethod
    def from_problem(cls, status: int, body: object) -> PresenceError:
        """Return the error for a problem document (RFC 9457), or for another body of an HTTP error."""
        problem = body if isinstance(body, dict) else {}
        name = str(problem.get("code", f"HTTP_{status}"))
        return cls(
            name,
            str(problem.get("detail") or problem.get("title") or f"HTTP status {status}"),
            numeric_code=status,
            retryable=bool(problem.get("retry", status == 429 or status >= 500)),  # a proxy's 502 has no document
        )
