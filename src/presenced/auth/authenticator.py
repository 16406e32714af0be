"""The ways to show who one is: what `Settings.auth` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from presenced.auth.jwt import Tokens
from presenced.auth.principal import Principal
from presenced.auth.tickets import Tickets
from presenced.errors import BadToken
from presenced.runtime.instant import Instant

Answer = Principal | BadToken
Answered = Callable[[Answer], None]


UNAVAILABLE = BadToken("unavailable", "the user cannot be authenticated now; retry later")
"""The answer when there is none."""


class Authenticator(Protocol):
    """Says whose a token is."""

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer | None:
        """Whose `token` is, or why it is not accepted; None when that takes a while: `answered` is called then."""


@runtime_checkable
class Remote(Authenticator, Protocol):
    """One that asks another server."""

    def start(self) -> None:
        """Begin, on the running loop."""

    async def stop(self) -> None:
        """Ask no more."""


class ByToken:
    """Implements `Authenticator` for `auth = "jwt"`."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer:
        """At once."""
        try:
            return self._tokens.verify(token, now.epoch_ms / 1000)
        except BadToken as error:
            return error


class ByTicket:
    """Implements `Authenticator` for `auth = "ticket"`."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    def ask(self, token: str, now: Instant, answered: Answered) -> Answer:
        """At once; the ticket is used up."""
        try:
            return self._tickets.redeem(token, now.monotonic, now.epoch_ms / 1000)
        except BadToken as error:
            return error
