"""HTTP refusals: the response to the client, the log line for the operator, and the metric.

A browser hides why a handshake failed: a page sees only close code 1006. The log line is the only place that states the
reason, so it names the setting that would allow the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from presenced.errors import Problem
from presenced.net.hosts import host_name
from presenced.net.origins import entry_for
from presenced.runtime.text import quoted

Header = tuple[bytes, bytes]


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
    """Setting that decides, for the log; empty if the reason implies it (`node.event_log`)."""
    retry_after: int = 0
    """Seconds until the next attempt may succeed; 0 if the response does not say."""

    @property
    def reason(self) -> str:
        """Reason in the metrics. It is the name of a `Problem`, or comes from the server's own code."""
        return self.counts_as or self.problem.name.lower()


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
