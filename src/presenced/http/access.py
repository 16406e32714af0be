"""Who may use the HTTP API: keys and their scopes, and whose pages."""

from __future__ import annotations

from starlette.requests import Request

from presenced.auth.api_keys import DEFAULT_SCOPE, SCOPES, ApiKeys, Scope
from presenced.auth.gate import Gate
from presenced.auth.hosts import AllowedHosts
from presenced.auth.origin import Origins
from presenced.clock import Clock
from presenced.errors import Problem
from presenced.http.answers import ProblemError, TurnedAway
from presenced.refusals import foreign_host, foreign_page
from presenced.settings import is_loopback

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Access:
    """Says what a request may do.

    Without any key, a request of this machine may do everything as long as authentication is off: that is development.
    One that a proxy passed on is not of this machine.

    Args:
        hosts: Names that the settings give this server, whatever the setting `auth`.
    """

    def __init__(
        self,
        keys: ApiKeys,
        origins: Origins,
        hosts: AllowedHosts,
        is_development: bool,
        gate: Gate,
        clock: Clock,
        turned_away: TurnedAway,
    ) -> None:
        self._hosts = hosts
        self._turned_away = turned_away
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
        """Refuse a request of a foreign page, or of an address from which too many could not authenticate.

        Raises:
            ProblemError: It is one.
        """
        origins = [origin.encode("latin-1") for origin in request.headers.getlist("origin")]
        host = request.headers.get("host", "").encode("latin-1")
        is_foreign = _is_blind(request)
        if origins:
            is_foreign = not (len(origins) == 1 and self._origins.allows(origins[0], host))
        if is_foreign:
            refusal = foreign_page(origins)
            self._turned_away(refusal, origins[0] if origins else b"")
            raise ProblemError(refusal.problem, refusal.detail)
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
        """Refuse to say how many users are here: numbers, too, tell of users whom somebody may not see.

        This machine may ask, as may holders of a key of scope `read`, and everybody while anybody may claim any user
        id. A request by a foreign name is no proof of this machine: it may be of a page that rebinds its name.

        Raises:
            ProblemError: It may not ask.
        """
        if self._is_development:
            return
        if not _is_of_this_machine(request):
            self.check(request, "read")
            return
        hosts = [host.encode("latin-1") for host in request.headers.getlist("host")]
        if not (self._hosts.allow_all(hosts) or self.allows(request, "read")):
            refusal = foreign_host(hosts)
            self._turned_away(refusal, request.headers.get("origin", "").encode("latin-1"))
            raise ProblemError(refusal.problem, f"{refusal.detail}, or send a key of scope read")

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


def _is_blind(request: Request) -> bool:
    """Return whether a page of another origin sent it without being able to read the answer, as by `<img>`.

    Browsers send no `Origin` with such a GET, but say so (Fetch Metadata, W3C). It would take a place among the
    requests that wait for changes, and the time of its answer would tell something.
    """
    headers = request.headers
    return headers.get("sec-fetch-mode") == "no-cors" and headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _is_of_this_machine(request: Request) -> bool:
    """What a proxy passed on is not."""
    peer = request.client.host if request.client else ""
    return is_loopback(peer) and not any(name in request.headers for name in _FORWARDED)
