"""Authorization of HTTP requests: API keys and their scopes, and pages of other origins."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request

from presenced.auth.api_keys import DEFAULT_SCOPE, SCOPES, ApiKeys, Scope
from presenced.config.settings import is_loopback
from presenced.errors import Problem
from presenced.http.errors import ProblemError
from presenced.net.hosts import AllowedHosts
from presenced.net.origins import Origins
from presenced.net.refusals import Refusal, foreign_host, foreign_page
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.runtime.instant import Instant

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
"""Headers that a proxy adds when it forwards a request."""


class Access:
    """Decides what a request may do.

    Without any key and with authentication off, a local request may do everything, for development. A request that a
    proxy forwarded is not local.

    Raises:
        ConfigError: An entry of `api_keys`, `allowed_hosts` or `origins` is invalid.
    """

    def __init__(self, node: Node, service: PresenceService) -> None:
        settings = node.settings
        self._keys = ApiKeys(settings.api_keys)
        self.hosts = AllowedHosts.of(settings)
        """Host names that requests may use for this server."""
        self._own_hosts = AllowedHosts.own(settings)
        self._origins = Origins(settings.origins, self.hosts.allow)
        self._is_development = node.gatekeeper is None
        self._throttle = node.throttle
        self._service = service

    def allows(self, request: Request, scope: Scope) -> bool:
        """Return whether the request has the permissions of `scope`."""
        found = self._scope_of(request)
        return found is not None and SCOPES.index(found) >= SCOPES.index(scope)

    def may_name_users(self, request: Request) -> bool:
        """Return whether the response to a request that passed `check_statistics` may contain user ids."""
        return self._is_development or self.allows(request, "read")

    def check(self, request: Request, scope: Scope, now: Instant) -> None:
        """Refuse the request unless it has the permissions of `scope`.

        Raises:
            ProblemError: The request is refused.
        """
        self.check_source(request, now)
        found = self._scope_of(request)
        if found is None:
            command = "presenced api-key" if scope == DEFAULT_SCOPE else f"presenced api-key --scope {scope}"
            detail = f"send Authorization: Bearer and a key; `{command}` creates one for the setting api_keys"
            raise self.unauthorized(request, detail, now, is_guess=bool(bearer_of(request)))
        if SCOPES.index(found) < SCOPES.index(scope):
            raise ProblemError(Problem.FORBIDDEN, f"this needs a key of scope {scope}; this one is for {found}")

    def check_source(self, request: Request, now: Instant) -> None:
        """Refuse a request of a foreign page, or of an address with too many failed authentications.

        Raises:
            ProblemError: The request is refused.
        """
        headers = request.headers
        is_foreign = not self.allows_page(headers) if "origin" in headers else _is_cross_origin_no_cors(request)
        if is_foreign:
            refusal = foreign_page(header_values(headers, b"origin"))
            self.report(refusal, headers)
            raise ProblemError(refusal.problem, refusal.detail)
        if (throttled := self._throttle.refusal_for_failures(self._throttle_key(request), now.monotonic)) is not None:
            raise ProblemError(Problem.TOO_MANY_REQUESTS, throttled.detail, {"retry-after": str(throttled.retry_after)})

    def unauthorized(self, request: Request, detail: str, now: Instant, is_guess: bool) -> ProblemError:
        """Return the 401 for a request without an accepted key, token or ticket.

        Args:
            is_guess: Count it as a failure of its address. A request without credentials, or with a merely expired
                token, is not a guess and must not lock out others behind the same address.
        """
        if is_guess:
            self._throttle.count_failure(self._throttle_key(request), now.monotonic)
        return ProblemError(Problem.UNAUTHORIZED, detail, {"www-authenticate": "Bearer"})

    def check_statistics(self, request: Request, now: Instant) -> None:
        """Refuse to reveal user counts to a client that may not see all users, because counts reveal hidden users, too.

        Local requests and holders of a key of scope `read` may ask. Anyone may if clients can claim any user id. A
        request with a foreign `Host` does not count as local, because it may come from a page that rebinds its name.

        Raises:
            ProblemError: The request is refused.
        """
        if self._is_development:
            return
        if not _is_local(request):
            self.check(request, "read", now)
            return
        hosts = header_values(request.headers, b"host")
        if not (self._own_hosts.allow_all(hosts) or self.allows(request, "read")):
            refusal = foreign_host(hosts)
            self.report(refusal, request.headers)
            raise ProblemError(refusal.problem, f"{refusal.detail}, or send a key of scope read")

    def allows_page(self, headers: Headers) -> bool:
        """Return whether the page that sent a request with an `Origin` may read the response."""
        origins, host = header_values(headers, b"origin"), headers.get("host", "").encode("latin-1")
        return len(origins) == 1 and self._origins.allows(origins[0], host)

    def report(self, refusal: Refusal, headers: Headers) -> None:
        """Log and count the refusal of a request."""
        self._service.report_refusal(refusal, headers.get("origin", "").encode("latin-1"))

    def _throttle_key(self, request: Request) -> str:
        """Return the key under which the throttle counts the request's address."""
        values = header_values(request.headers, self._throttle.proxy_header)
        return self._throttle.key(request.client.host if request.client else "", values)

    def _scope_of(self, request: Request) -> Scope | None:
        if not self._keys:
            return "admin" if self._is_development and _is_local(request) else None
        key = bearer_of(request)
        return self._keys.scope(key) if key else None


def header_values(headers: Headers, name: bytes) -> list[bytes]:
    """Return all values of a header, as they were sent."""
    return [value for key, value in headers.raw if key == name]


def bearer_of(request: Request) -> str:
    """Return the key, token or ticket in the `Authorization: Bearer` header; empty if there is none."""
    kind, _, credential = request.headers.get("authorization", "").partition(" ")
    return credential.strip() if kind.lower() == "bearer" else ""


def _is_cross_origin_no_cors(request: Request) -> bool:
    """Return whether a page of another origin sent the request and cannot read the response, as with `<img>`.

    Browsers send no `Origin` with such a GET, but mark it (Fetch Metadata, W3C). Such a request would occupy a place
    among the requests waiting for changes, and its response time would leak information.
    """
    headers = request.headers
    return headers.get("sec-fetch-mode") == "no-cors" and headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _is_local(request: Request) -> bool:
    """Return whether the request comes from this machine and no proxy forwarded it."""
    peer = request.client.host if request.client else ""
    return is_loopback(peer) and not any(name in request.headers for name in _FORWARDED)
