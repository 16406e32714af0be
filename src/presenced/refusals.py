"""HTTP refusals: the response to the client, the log line for the operator, and the metric.

A browser hides why a handshake failed: a page sees only close code 1006. The log line is the only place that states the
reason, so it names the setting that would allow the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from presenced.auth.hosts import host_name
from presenced.auth.origin import entry_for
from presenced.errors import Problem
from presenced.log import EventLog, quoted
from presenced.metrics import Metrics

Header = tuple[bytes, bytes]

_SETTINGS = {
    "full": "max_connections",
    "address": "address_connections, address_rate and trusted_proxies",
    "head_too_large": "max_head_size",
}
"""Settings behind refusals that name none of their own, by metric reason."""


class Refusal(NamedTuple):
    """An HTTP refusal: the fault, in words, and the headers that the status needs."""

    problem: Problem
    detail: str
    headers: tuple[Header, ...] = ()
    counts_as: str = ""
    """Reason in the metrics; empty for the name of the problem."""
    logged: str = ""
    """Log text that replaces `detail`. It quotes text from the client and omits tokens."""
    setting: str = ""
    """Setting that decides."""


class Refusals:
    """Logs and counts refusals.

    Bounds: `EventLog` for log lines; the names of `Problem` and the reasons in the server's own code for metrics.
    """

    def __init__(self, log: EventLog, metrics: Metrics) -> None:
        self._log = log
        self._metrics = metrics

    def add(self, refusal: Refusal, origin: bytes) -> None:
        """Log and count the refusal of a request.

        Args:
            origin: Its `Origin` header; empty if absent.
        """
        reason = refusal.counts_as or refusal.problem.name.lower()
        self._metrics.turned_away.labels(reason).inc()
        if refusal.problem is Problem.REQUEST_TIMEOUT:
            return  # browsers open spare connections and let them time out, so nothing was refused
        setting = refusal.setting or _SETTINGS.get(reason, "")
        said = refusal.logged or quoted(refusal.detail)
        page = quoted(origin.decode("latin-1"))
        if not refusal.setting:
            said += f"; page {page}" if page else ""
            said += f"; see {setting}" if setting else ""
        self._log.turned_away(refusal.problem.status, refusal.problem.name, said, page, setting)


def foreign_page(origins: Sequence[bytes]) -> Refusal:
    """Return the refusal of a page whose origin is not allowed.

    Args:
        origins: All values of the `Origin` header; none if the browser sends none.
    """
    entry = quoted(entry_for(origins[0])) if len(origins) == 1 else ""
    page = quoted(b", ".join(origins).decode("latin-1")) or "of another origin"
    advice = (
        f"to allow it, add {entry} to the setting origins" if entry else "no entry of the setting origins allows it"
    )
    return Refusal(
        Problem.FORBIDDEN_ORIGIN,
        "this page's origin is not allowed to connect; see the setting origins",
        logged=f"page {page} may not connect; {advice}",
        setting="origins",
    )


def foreign_host(hosts: Sequence[bytes]) -> Refusal:
    """Return the refusal of a request for a foreign host name.

    421 (RFC 9110 section 15.5.20) means exactly this, and differs from 403, which is about the page.

    Args:
        hosts: All values of the `Host` header.
    """
    name = host_name(hosts[0]) if len(hosts) == 1 else ""
    given = quoted(b", ".join(hosts).decode("latin-1"))
    advice = f"to allow it, add {name} to the setting allowed_hosts" if name else "allowed_hosts cannot contain it"
    return Refusal(
        Problem.MISDIRECTED,
        "the Host header is not a name of this server; see the setting allowed_hosts",
        logged=f"{given} is not a name of this server; {advice}",
        setting="allowed_hosts",
    )
