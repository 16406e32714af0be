"""Who may use the HTTP API: keys and their scopes, and whose pages."""

from __future__ import annotations

from starlette.requests import Request

from presenced.auth.api_keys import DEFAULT_SCOPE, SCOPES, ApiKeys, Scope
from presenced.auth.gate import Gate
from presenced.auth.origin import Origins
from presenced.clock import Clock
from presenced.errors import Problem
from presenced.http.answers import ProblemError
from presenced.settings import is_loopback

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Access:
    """Says what a request may do.

    Without any key, a request of this machine may do everything as long as authentication is off: that is development.
    One that a proxy passed on is not of this machine.
    """

    def __init__(self, keys: ApiKeys, origins: Origins, is_development: bool, gate: Gate, clock: Clock) -> None:
        self._gate = gate
        self._clock = clock
        self._keys = keys
        self._origins = origins
        self._is_development = is_development

    def allows(self, request: Request, scope: Scope) -> bool:
        """Whether it may do what needs `scope`."""
        found = self._scope_of(request)
        return found is not None and SCOPES.index(found) >= SCOPES.index(scope)

    def check(self, request: Request, scope: Scope) -> None:
        """Refuse it unless it may do what needs `scope`.

        Raises:
            ProblemError: It may not.
        """
        self.check_source(request)
        found = self._scope_of(request)
        if found is None:
            made = "presenced api-key" if scope == DEFAULT_SCOPE else f"presenced api-key --scope {scope}"
            detail = f"send Authorization: Bearer and a key; `{made}` makes one for the setting api_keys"
            raise self.refused(request, detail, is_guess=bool(bearer_of(request)))
        if SCOPES.index(found) < SCOPES.index(scope):
            raise ProblemError(Problem.FORBIDDEN, f"this needs a key of scope {scope}; this one is for {found}")

    def check_source(self, request: Request) -> None:
        """Refuse it if it comes from another's page, or from where too many could not show who they are.

        Raises:
            ProblemError: It does.
        """
        origin = request.headers.getlist("origin")
        host = request.headers.get("host", "").encode("latin-1")
        if origin and not (len(origin) == 1 and self._origins.allows(origin[0].encode("latin-1"), host)):
            raise ProblemError(Problem.FORBIDDEN_ORIGIN, "this page's origin is not among those of the setting origins")
        if (barred := self._gate.barred(self._address(request), self._clock.monotonic())) is not None:
            raise ProblemError(Problem.TOO_MANY_REQUESTS, barred.detail, {"retry-after": str(barred.retry_after)})

    def refused(self, request: Request, detail: str, is_guess: bool) -> ProblemError:
        """Return the 401 for a request without an accepted key, token or ticket.

        Args:
            is_guess: Count it as a failure of its address. A request that shows nothing, or a token that is merely
                expired, guesses nothing, and must not shut out others behind the same address.
        """
        if is_guess:
            self._gate.failed(self._address(request), self._clock.monotonic())
        return ProblemError(Problem.UNAUTHORIZED, detail, {"www-authenticate": "Bearer"})

    def check_figures(self, request: Request) -> None:
        """Refuse to tell how many are here: numbers, too, tell of users whom somebody may not see.

        Told are this machine, who has a key of scope `read`, and everybody as long as anybody may claim any user id.

        Raises:
            ProblemError: It may not be told.
        """
        if not (self._is_development or _is_of_this_machine(request)):
            self.check(request, "read")

    def _address(self, request: Request) -> str:
        """As whom it counts."""
        values = [value.encode("latin-1") for value in request.headers.getlist(self._gate.header.decode())]
        return self._gate.key(request.client.host if request.client else "", values)

    def _scope_of(self, request: Request) -> Scope | None:
        if not self._keys:
            return "admin" if self._is_development and _is_of_this_machine(request) else None
        key = bearer_of(request)
        return self._keys.scope(key) if key else None


def bearer_of(request: Request) -> str:
    """Return the key, token or ticket in the header `Authorization: Bearer`, or an empty text."""
    kind, _, shown = request.headers.get("authorization", "").partition(" ")
    return shown.strip() if kind.lower() == "bearer" else ""


def _is_of_this_machine(request: Request) -> bool:
    """What a proxy passed on is not."""
    peer = request.client.host if request.client else ""
    return is_loopback(peer) and not any(name in request.headers for name in _FORWARDED)
