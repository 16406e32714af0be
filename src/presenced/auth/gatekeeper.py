"""The gatekeeper: which connections are let in, and for how long.

The states of one connection, from the accepted handshake to its end:

                      token with the handshake, verified at once
        handshake  ------------------------------------------------------------>  admitted
            |                                                                     ^   |
            | no token, or its verification takes a while                         |   |  AUTH with a newer token:
            v                                                                     |   |  the end moves
         waiting   -- AUTH, or the verification ends, within `auth_timeout` ------+   |
            |                                                                         |
            | nothing, a bad token, or another message                                | expired, or revoked
            v                                                                         v
        refused: 4401, 4403, 1013                                              closed: 4401

A client of a protocol that can warn is warned `auth_warning` seconds before its token expires.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from presenced.auth.authenticator import UNAVAILABLE, Authenticator, AuthResult
from presenced.auth.principal import Principal
from presenced.auth.revocations import Revocations
from presenced.config.settings import Settings
from presenced.delivery.connection import Connection
from presenced.errors import BadToken, BadUserId, Close
from presenced.net.query import parameter
from presenced.presence.identity import PLACEHOLDERS
from presenced.presence.session import Session
from presenced.protocols.base import ConnectRequest
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.deadlines import Deadlines
from presenced.runtime.instant import Instant
from presenced.runtime.limits import Bucket
from presenced.runtime.metrics import Metrics
from presenced.storage.records import StoredRevocation

Renewed = Callable[[BadToken | None], None]


class GatekeeperListener(Protocol):
    """What the gatekeeper reports to: the node."""

    def admitted(self, connection: Connection, request: ConnectRequest, principal: Principal, now: Instant) -> None:
        """A connection is let in. Its client is the user of `principal`."""

    def refused(self, connection: Connection, close: Close, reason: str, now: Instant, *, is_guess: bool) -> None:
        """A connection is to be closed.

        Args:
            is_guess: Count the attempt as a failed authentication of the client's address.
        """

    def renewed(self, connection: Connection, principal: Principal, now: Instant) -> None:
        """A newer token of a connection was accepted. It may allow more or less than before."""


class _Admitted:
    """An admitted connection."""

    __slots__ = ("bucket", "ends", "is_verifying", "principal", "warned")

    def __init__(self, principal: Principal, now: Instant) -> None:
        self.is_verifying = False
        """Whether another server is verifying a newer token."""
        self.bucket: Bucket | None = None
        """Rate limit of newer tokens; created with the first one."""
        self.renew(principal, now)

    def renew(self, principal: Principal, now: Instant) -> None:
        """Set the principal of the newest token."""
        self.principal = principal
        self.warned = False
        self.ends: float | None = None
        """Monotonic seconds, so that a step of the wall clock afterwards changes nothing."""
        if principal.expires_at is not None:
            self.ends = now.monotonic + principal.expires_at - now.epoch_ms / 1000


class Gatekeeper:
    """Admits connections that authenticate, and closes those whose tokens are no longer valid.

    Bounds: `max_unauthenticated` and `auth_timeout` for connections waiting to authenticate; `request_rate` and
    `request_burst` for newer tokens of an admitted connection, one at a time if another server verifies them.

    Args:
        sessions: Sessions by id, including those without a connection.
        on_revoked: Function called with each revocation: `user` or `token`, its id, and the epoch seconds from which
            and until which it counts.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        authenticator: Authenticator,
        sessions: Mapping[str, Session[Any]],
        on_revoked: Callable[[str, str, float, float], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._authenticator = authenticator
        self._sessions = sessions
        self._listener: GatekeeperListener | None = None
        self._waiting: dict[Connection, ConnectRequest] = {}
        self._admitted: dict[Connection, _Admitted] = {}
        self._deadlines: Deadlines[Connection] = Deadlines()
        self._revocations = Revocations(settings.token_lifetime + settings.jwt_leeway, on_revoked)
        metrics.gauge(
            "presenced_unauthenticated", "Connections that have still to show who they are.", lambda: len(self._waiting)
        )

    def listen(self, listener: GatekeeperListener) -> None:
        """Report to `listener`. The node calls this once, before the first connection."""
        assert self._listener is None, "one gatekeeper serves one node"
        self._listener = listener

    # Connections.

    def opened(self, connection: Connection, request: ConnectRequest, now: Instant) -> None:
        """A handshake was accepted. Its response has not been sent yet."""
        if not request.token:
            self._wait(connection, request, now)
        elif (answer := self._ask(request.token, partial(self._verified, connection), now)) is not None:
            self._decide(connection, request, answer, now)
        else:
            self._wait(connection, request, now)

    def received(self, connection: Connection, message: str | bytes, now: Instant) -> bool:
        """Process a message of a connection that waits. Return whether it waits; otherwise the message is untouched."""
        request = self._waiting.get(connection)
        if request is None:
            return False
        if request.token:  # its verification is under way
            connection.close(Close.UNAUTHORIZED, "wait for CONNECTION_ESTABLISHED before you send")
            return True
        token = connection.protocol.token_in(message)
        if not token:
            reason = 'the first message has to be {"type":"AUTH","token":"..."}'
            self._refuse(connection, Close.UNAUTHORIZED, reason, now, is_guess=True)
            return True
        self._waiting[connection] = request._replace(token=token)
        answer = self._ask(token, partial(self._verified, connection), now)
        if answer is not None:
            self._verified(connection, answer, now)
        return True

    def renew(self, connection: Connection, token: str, renewed: Renewed) -> None:
        """Take a newer token of an admitted connection. Call `renewed` with the reason against it, or with None."""
        admitted, settings, now = self._admitted[connection], self._settings, self._clock.now()
        admitted.bucket = admitted.bucket or Bucket(settings.request_burst, now.monotonic)
        if not admitted.bucket.take(settings.request_rate, settings.request_burst, now.monotonic):
            renewed(BadToken("pace", "too many tokens came, too fast"))
            return
        if admitted.is_verifying:
            renewed(BadToken("pace", "whose the token before is has still to be found out"))
            return
        admitted.is_verifying = True
        verified = partial(self._verified_newer, connection, renewed)
        if (answer := self._ask(token, verified, now)) is not None:
            verified(answer, now)

    def closed(self, connection: Connection) -> None:
        """Forget a connection that ended. No-op for one that is unknown."""
        self._waiting.pop(connection, None)
        self._admitted.pop(connection, None)
        self._deadlines.cancel(connection)

    # Revocations.

    def revoke_user(self, user_id: str) -> int:
        """Reject all tokens of a user issued until now. Return the number of connections closed by that.

        Raises:
            CapacityError: Too many revocations are remembered already.
        """
        now = self._clock.now().epoch_ms / 1000
        self._revocations.revoke_user(user_id, now)
        return self._close_revoked(now)

    def revoke_token(self, token_id: str) -> int:
        """Reject the token with this id. Return the number of connections closed by that.

        Raises:
            CapacityError: Too many revocations are remembered already.
        """
        now = self._clock.now().epoch_ms / 1000
        self._revocations.revoke_token(token_id, now)
        return self._close_revoked(now)

    def revoke_session(self, user_id: str, session_id: str) -> int:
        """Reject the token that a session of the user authenticated with. Return the number of connections closed.

        A session that has lost its connection counts as long as it can be resumed.

        Raises:
            CapacityError: Too many revocations are remembered already.
        """
        session = self._sessions.get(session_id)
        if session is None or session.user_id != user_id or not session.token_id:
            return 0
        return self.revoke_token(session.token_id)

    def restore(self, revocations: Iterable[StoredRevocation]) -> None:
        """Restore revocations from before the start, and close connections that they concern."""
        for one in revocations:
            self._revocations.restore(one.kind, one.subject, one.at, one.until)
        self._close_revoked(self._clock.now().epoch_ms / 1000)

    # Questions, also of the HTTP API.

    def ask(self, token: str, answered: Callable[[AuthResult], None]) -> AuthResult | None:
        """Return the principal of a token, or the reason against it.

        None if that takes a while. Then `answered` is called with the answer.
        """
        return self._ask(token, lambda answer, _: answered(answer), self._clock.now())

    def refused(self, error: BadToken) -> AuthResult:
        """Count a verdict reached without the authenticator, and return it."""
        return self._checked(error, self._clock.now())

    def still_holds(self, principal: Principal) -> bool:
        """Return whether a token has neither expired nor been revoked."""
        now = self._clock.now().epoch_ms / 1000
        ends = principal.expires_at
        return (ends is None or now < ends) and not self._revocations.is_revoked(principal, now)

    def roles(self, connections: Iterable[Connection]) -> tuple[str, ...]:
        """Return the roles in the tokens of admitted connections, each once, sorted."""
        return tuple(sorted({role for one in connections for role in self._admitted[one].principal.roles}))

    # Verdicts.

    def _ask(self, token: str, answered: Callable[[AuthResult, Instant], None], now: Instant) -> AuthResult | None:
        def later(answer: AuthResult) -> None:
            now = self._clock.now()
            answered(self._checked(answer, now), now)

        answer = self._authenticator.authenticate(token, now, later)
        return None if answer is None else self._checked(answer, now)

    def _checked(self, answer: AuthResult, now: Instant) -> AuthResult:
        """Apply the rules that hold for every kind of authentication, and count the result."""
        if isinstance(answer, Principal):
            epoch = now.epoch_ms / 1000
            if answer.expires_at is not None and answer.expires_at <= epoch:  # as a callback or a function may say
                answer = BadToken("expired", "the token has expired", is_genuine=True)
            elif self._revocations.is_revoked(answer, epoch):
                answer = BadToken("revoked", "the token was revoked", is_genuine=True)
            elif answer.user_id in PLACEHOLDERS and not self._settings.placeholder_ids:
                said = f"the token is for the user {answer.user_id}: is a variable not set where it is made?"
                answer = BadToken("claims", f"{said} (placeholder_ids)", is_genuine=True)
        self._metrics.authentications.labels(answer.kind if isinstance(answer, BadToken) else "accepted").inc()
        return answer

    def _verified(self, connection: Connection, answer: AuthResult, now: Instant) -> None:
        if (request := self._waiting.pop(connection, None)) is not None:  # it may have closed meanwhile
            self._deadlines.cancel(connection)
            self._decide(connection, request, answer, now)

    def _decide(self, connection: Connection, request: ConnectRequest, answer: AuthResult, now: Instant) -> None:
        """Admit a connection, or refuse it."""
        assert self._listener is not None
        if isinstance(answer, BadToken):
            if answer.kind == "unavailable":
                self._refuse(connection, Close.TRY_AGAIN_LATER, str(answer), now, is_guess=False)
            else:
                self._refuse(connection, Close.UNAUTHORIZED, str(answer), now, is_guess=not answer.is_genuine)
            return
        try:
            names_user = parameter(request.query, b"userId")
            claimed = connection.protocol.user_id(request, True) if names_user else answer.user_id
        except BadUserId as error:
            self._refuse(connection, Close.BAD_USER_ID, str(error), now, is_guess=False)
            return
        if claimed != answer.user_id:
            # The token is genuine: its owner has proved their identity, so this is not a guess.
            reason = "userId is not the user of the token"
            self._refuse(connection, Close.FORBIDDEN, reason, now, is_guess=False)
            return
        self._admitted[connection] = _Admitted(answer, now)
        self._listener.admitted(connection, request, answer, now)
        if connection in self._admitted:  # the node may have refused it
            connection.session.token_id = answer.token_id
            self._await_end(connection)

    def _verified_newer(self, connection: Connection, renewed: Renewed, answer: AuthResult, now: Instant) -> None:
        assert self._listener is not None
        admitted = self._admitted.get(connection)
        if admitted is None:  # it has closed meanwhile
            return
        admitted.is_verifying = False
        if isinstance(answer, BadToken):
            renewed(answer)
        elif answer.user_id != admitted.principal.user_id:
            renewed(BadToken("claims", "the token is for another user; open another connection for them"))
        else:
            admitted.renew(answer, now)
            connection.session.token_id = answer.token_id
            renewed(None)
            self._listener.renewed(connection, answer, now)
            self._await_end(connection)

    def _refuse(self, connection: Connection, close: Close, reason: str, now: Instant, *, is_guess: bool) -> None:
        assert self._listener is not None
        self._listener.refused(connection, close, reason, now, is_guess=is_guess)

    def _close_revoked(self, now: float) -> int:
        revoked = [c for c, one in self._admitted.items() if self._revocations.is_revoked(one.principal, now)]
        for connection in revoked:
            connection.close(Close.UNAUTHORIZED, "the token was revoked")
        return len(revoked)

    # Deadlines.

    def _wait(self, connection: Connection, request: ConnectRequest, now: Instant) -> None:
        """Wait for AUTH, or for the verification of the token that came with the handshake."""
        if len(self._waiting) >= self._settings.max_unauthenticated:
            reason = "too many connections are waiting to authenticate; retry later"
            self._refuse(connection, Close.TRY_AGAIN_LATER, reason, now, is_guess=False)
            return
        connection.accept()
        self._waiting[connection] = request
        self._set_deadline(connection, now.monotonic + self._settings.auth_timeout)

    def _await_end(self, connection: Connection) -> None:
        """Set the deadline of an admitted connection: the warning first, then the end of its token."""
        admitted = self._admitted.get(connection)
        if admitted is None or admitted.ends is None:
            self._deadlines.cancel(connection)
        elif connection.protocol.warns and not admitted.warned:
            self._set_deadline(connection, admitted.ends - self._settings.auth_warning)
        else:
            self._set_deadline(connection, admitted.ends)

    def _set_deadline(self, connection: Connection, at: float) -> None:
        self._deadlines.set(connection, at)
        self._arm()

    def _arm(self) -> None:
        if (deadline := self._deadlines.next()) is not None:
            self._timer.set(self._deadline_passed, deadline)

    def _deadline_passed(self) -> None:
        now = self._clock.now()
        while (connection := self._deadlines.pop_due(now.monotonic)) is not None:
            admitted = self._admitted.get(connection)
            if admitted is None:
                self._time_out(connection, now)
            elif connection.protocol.warns and not admitted.warned:
                admitted.warned = True
                if not connection.paused:  # a client that does not read would not hear it in time
                    connection.protocol.token_expires(connection, admitted.principal.expires_at or 0.0)
                self._await_end(connection)
            else:
                connection.close(Close.UNAUTHORIZED, "the token has expired")
        self._arm()

    def _time_out(self, connection: Connection, now: Instant) -> None:
        """Refuse a connection that has waited for too long."""
        if self._waiting[connection].token:  # the verification is late, which is not the client's fault
            self._refuse(connection, Close.TRY_AGAIN_LATER, str(UNAVAILABLE), now, is_guess=False)
            return
        reason = f"nothing showed within {self._settings.auth_timeout:g} s who this is; send AUTH"
        self._refuse(connection, Close.UNAUTHORIZED, reason, now, is_guess=True)
