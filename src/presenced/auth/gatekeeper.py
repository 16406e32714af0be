"""Who comes in, and for how long: from a handshake to a user who has shown who they are, and on to the token's end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from presenced.auth.authenticator import UNAVAILABLE, Answer, Authenticator
from presenced.auth.principal import Principal
from presenced.auth.revocations import Revocations
from presenced.config.settings import Settings
from presenced.errors import BadToken, BadUserId, Close
from presenced.net.query import parameter
from presenced.presence.identity import PLACEHOLDERS
from presenced.presence.user import Session
from presenced.protocols.base import Watcher
from presenced.protocols.ids import user_id_from_query
from presenced.protocols.v1 import codec as v1
from presenced.protocols.v1.messages import AuthExpiring
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.deadlines import Deadlines
from presenced.runtime.instant import Instant
from presenced.runtime.limits import Bucket
from presenced.runtime.metrics import Metrics
from presenced.storage.records import StoredRevocation

Renewed = Callable[[BadToken | None], None]


class Arrival(NamedTuple):
    """What a client came with."""

    query: bytes
    """Of its URL."""
    response: bytes
    """The head of the 101 response, which goes out with the first frame; empty when it is out."""
    subprotocol: str
    """What was agreed on; empty for the classic protocol."""
    token: str
    """Empty when it is to come with a message."""


C = TypeVar("C", bound=Watcher)


class _Admitted:
    """A connection that is in."""

    __slots__ = ("asking", "bucket", "ends", "is_v1", "principal", "warned")

    def __init__(self, principal: Principal, is_v1: bool, now: Instant) -> None:
        self.is_v1 = is_v1
        self.asking = False
        """It is being found out whose the newer token is that it showed."""
        self.bucket: Bucket | None = None
        """Of the newer tokens shown; made with the first one."""
        self.show(principal, now)

    def show(self, principal: Principal, now: Instant) -> None:
        """Who it is by the token shown last."""
        self.principal = principal
        self.warned = False
        self.ends: float | None = None
        """Monotonic: a clock that steps afterwards changes nothing."""
        if principal.expires_at is not None:
            self.ends = now.monotonic + principal.expires_at - now.epoch_ms / 1000


class Gatekeeper(Generic[C]):
    """Admits connections that authenticate, and ends those whose credentials are no longer valid.

    Bounds: `max_unauthenticated` and `auth_timeout` for connections waiting to authenticate; `request_rate` and
    `request_burst` for newer tokens of an admitted connection, one at a time if another server verifies them.

    Args:
        enter: Function called with an admitted connection and its principal.
        refuse: Function called with a refused connection, the close code and the reason. The last argument is True if
            the attempt counts as a failure of the client's address.
        look_anew: Function called when an admitted connection has sent a newer token.
        sessions: Sessions by id, including those without a connection.
        revoked: Function called with each revocation: `user` or `token`, its id, and the epoch seconds from and until
            which it holds.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        timer: Timer,
        metrics: Metrics,
        authenticator: Authenticator,
        enter: Callable[[C, Arrival, Principal], None],
        refuse: Callable[[C, Arrival, Close, str, bool], None],
        look_anew: Callable[[C, Principal], None],
        sessions: Mapping[str, Session[Any]],
        revoked: Callable[[str, str, float, float], None] = lambda _kind, _subject, _at, _until: None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._timer = timer
        self._metrics = metrics
        self._authenticator = authenticator
        self._enter = enter
        self._refuse = refuse
        self._look_anew = look_anew
        self._sessions = sessions
        self._waiting: dict[C, Arrival] = {}
        self._admitted: dict[C, _Admitted] = {}
        self._deadlines: Deadlines[C] = Deadlines()
        self._revocations = Revocations(settings.token_lifetime + settings.jwt_leeway, revoked)
        metrics.gauge("presenced_unauthenticated", "Connections that have still to show who they are.", self._count)

    def opened(self, connection: C, arrival: Arrival) -> None:
        """A handshake is done but for sending its response."""
        if not arrival.token:
            self._wait(connection, arrival)
        elif (answer := self.ask(arrival.token, partial(self._answered, connection))) is not None:
            self._settle(connection, arrival, answer)
        else:
            self._wait(connection, arrival)

    def received(self, connection: C, message: str | bytes) -> bool:
        """A message came. Whether it was for here: from a connection that has not shown who it is."""
        arrival = self._waiting.get(connection)
        if arrival is None:
            return False
        if arrival.token:  # the answer to what it came with is on its way
            connection.close(Close.UNAUTHORIZED, "wait for CONNECTION_ESTABLISHED before you send")
            return True
        token = v1.token_of(message)
        if not token:
            reason = 'the first message has to be {"type":"AUTH","token":"..."}'
            self._refuse(connection, arrival, Close.UNAUTHORIZED, reason, True)
            return True
        self._waiting[connection] = arrival._replace(token=token)
        answer = self.ask(token, partial(self._answered, connection))
        if answer is not None:
            self._answered(connection, answer)
        return True

    def renew(self, connection: C, token: str, renewed: Renewed) -> None:
        """A connection that is in shows a newer token; `renewed` is told why it is not accepted, or None."""
        admitted, settings, now = self._admitted[connection], self._settings, self._clock.monotonic()
        admitted.bucket = admitted.bucket or Bucket(settings.request_burst, now)
        if not admitted.bucket.take(settings.request_rate, settings.request_burst, now):
            renewed(BadToken("pace", "too many tokens came, too fast"))
            return
        if admitted.asking:
            renewed(BadToken("pace", "whose the token before is has still to be found out"))
            return
        admitted.asking = True
        answered = partial(self._answered_renewal, connection, renewed)
        if (answer := self.ask(token, answered)) is not None:
            answered(answer)

    def closed(self, connection: C) -> None:
        """A connection ended; no-op for one that is not here."""
        self._waiting.pop(connection, None)
        self._admitted.pop(connection, None)
        self._deadlines.cancel(connection)

    def revoke_user(self, user_id: str) -> int:
        """Accept no token of the user made until now, and close what came in by one. How many connections that were.

        Raises:
            CapacityError: There is no room to remember it.
        """
        self._revocations.revoke_user(user_id, self._clock.now().epoch_ms / 1000)
        return self._close_revoked()

    def revoke_token(self, token_id: str) -> int:
        """Don't accept the token of this id, and close what came in by it. How many connections that were.

        Raises:
            CapacityError: There is no room to remember it.
        """
        self._revocations.revoke_token(token_id, self._clock.now().epoch_ms / 1000)
        return self._close_revoked()

    def revoke_session(self, user_id: str, session_id: str) -> int:
        """Don't accept the token that this session of the user came in with. How many connections are closed.

        A session that has lost its connection counts as long as it can be resumed.

        Raises:
            CapacityError: There is no room to remember it.
        """
        session = self._sessions.get(session_id)
        if session is None or session.user_id != user_id or not session.token_id:
            return 0
        return self.revoke_token(session.token_id)

    def restore(self, revocations: Iterable[StoredRevocation]) -> None:
        """Revocations of before the start; what came in meanwhile by what they are about is closed."""
        for one in revocations:
            self._revocations.restore(one.kind, one.subject, one.at, one.until)
        self._close_revoked()

    def ask(self, token: str, answered: Callable[[Answer], None]) -> Answer | None:
        """Whose `token` is, or why it is not accepted; None when that takes a while: `answered` is called then."""
        now = self._clock.now()
        answer = self._authenticator.ask(token, now, lambda late: answered(self._checked(late, self._clock.now())))
        return None if answer is None else self._checked(answer, now)

    def refused(self, error: BadToken) -> Answer:
        """Count a verdict reached without the authenticator, and return it."""
        return self._checked(error, self._clock.now())

    def still_holds(self, principal: Principal) -> bool:
        """Whether what was shown has neither expired nor been revoked."""
        now = self._clock.now().epoch_ms / 1000
        ends = principal.expires_at
        return (ends is None or now < ends) and not self._revocations.concerns(principal, now)

    def roles(self, connections: Iterable[C]) -> tuple[str, ...]:
        """What these, which are in, came with or showed since; each once, sorted."""
        return tuple(sorted({role for one in connections for role in self._admitted[one].principal.roles}))

    def _close_revoked(self) -> int:
        now = self._clock.now().epoch_ms / 1000
        concerned = [c for c, one in self._admitted.items() if self._revocations.concerns(one.principal, now)]
        for connection in concerned:
            connection.close(Close.UNAUTHORIZED, "the token was revoked")
        return len(concerned)

    def _checked(self, answer: Answer, now: Instant) -> Answer:
        if isinstance(answer, Principal):
            epoch = now.epoch_ms / 1000
            if answer.expires_at is not None and answer.expires_at <= epoch:  # as a hook or a function may say
                answer = BadToken("expired", "the token has expired", is_genuine=True)
            elif self._revocations.concerns(answer, epoch):
                answer = BadToken("revoked", "the token was revoked", is_genuine=True)
            elif answer.user_id in PLACEHOLDERS and not self._settings.placeholder_ids:
                said = f"the token is for the user {answer.user_id}: is a variable not set where it is made?"
                answer = BadToken("claims", f"{said} (placeholder_ids)", is_genuine=True)
        self._metrics.authentications.labels(answer.kind if isinstance(answer, BadToken) else "accepted").inc()
        return answer

    def _wait(self, connection: C, arrival: Arrival) -> None:
        """For AUTH, or for the answer to the token it came with."""
        if len(self._waiting) >= self._settings.max_unauthenticated:
            self._refuse(
                connection,
                arrival,
                Close.TRY_AGAIN_LATER,
                "too many connections are waiting to authenticate; retry later",
                False,
            )
            return
        connection.send(arrival.response)
        self._waiting[connection] = arrival._replace(response=b"")
        self._set_deadline(connection, self._clock.monotonic() + self._settings.auth_timeout)

    def _answered(self, connection: C, answer: Answer) -> None:
        if (arrival := self._waiting.pop(connection, None)) is not None:  # or it has gone meanwhile
            self._deadlines.cancel(connection)
            self._settle(connection, arrival, answer)

    def _settle(self, connection: C, arrival: Arrival, answer: Answer) -> None:
        if isinstance(answer, BadToken):
            if answer.kind == "unavailable":
                self._refuse(connection, arrival, Close.TRY_AGAIN_LATER, str(answer), False)
            else:
                self._refuse(connection, arrival, Close.UNAUTHORIZED, str(answer), not answer.is_genuine)
            return
        try:
            claimed = user_id_from_query(arrival.query) if parameter(arrival.query, b"userId") else answer.user_id
        except BadUserId as error:
            self._refuse(connection, arrival, Close.BAD_USER_ID, str(error), False)
            return
        if claimed != answer.user_id:
            # The token is genuine: its owner has proved their identity, so this is not a guess.
            self._refuse(connection, arrival, Close.FORBIDDEN, "userId is not the user of the token", False)
            return
        self._admitted[connection] = _Admitted(answer, bool(arrival.subprotocol), self._clock.now())
        self._enter(connection, arrival, answer)
        if connection in self._admitted:
            connection.session.token_id = answer.token_id
            self._await_end(connection)

    def _answered_renewal(self, connection: C, renewed: Renewed, answer: Answer) -> None:
        admitted = self._admitted.get(connection)
        if admitted is None:  # it has gone meanwhile
            return
        admitted.asking = False
        if isinstance(answer, BadToken):
            renewed(answer)
        elif answer.user_id != admitted.principal.user_id:
            renewed(BadToken("claims", "the token is for another user; open another connection for them"))
        else:
            admitted.show(answer, self._clock.now())
            connection.session.token_id = answer.token_id
            renewed(None)
            self._look_anew(connection, answer)
            self._await_end(connection)

    # Ends.

    def _await_end(self, connection: C) -> None:
        """Warn those who speak presenced.v1, `auth_warning` ahead; close when it is over."""
        admitted = self._admitted.get(connection)
        if admitted is None or admitted.ends is None:
            self._deadlines.cancel(connection)
        elif admitted.is_v1 and not admitted.warned:
            self._set_deadline(connection, admitted.ends - self._settings.auth_warning)
        else:
            self._set_deadline(connection, admitted.ends)

    def _set_deadline(self, connection: C, at: float) -> None:
        self._deadlines.set(connection, at)
        self._arm()

    def _arm(self) -> None:
        if (deadline := self._deadlines.next()) is not None:
            self._timer.set(self._due, deadline)

    def _due(self) -> None:
        while (connection := self._deadlines.pop_due(self._clock.monotonic())) is not None:
            admitted = self._admitted.get(connection)
            if admitted is None:
                self._waited_in_vain(connection)
            elif admitted.is_v1 and not admitted.warned:
                admitted.warned = True
                self._warn(connection, admitted.principal)
                self._await_end(connection)
            else:
                connection.close(Close.UNAUTHORIZED, "the token has expired")
        self._arm()

    def _waited_in_vain(self, connection: C) -> None:
        arrival = self._waiting[connection]
        if arrival.token:  # and that is not the client's fault
            self._refuse(connection, arrival, Close.TRY_AGAIN_LATER, str(UNAVAILABLE), False)
            return
        reason = f"nothing showed within {self._settings.auth_timeout:g} s who this is; send AUTH"
        self._refuse(connection, arrival, Close.UNAUTHORIZED, reason, True)

    def _warn(self, connection: C, principal: Principal) -> None:
        if not connection.paused:  # one that does not read would not hear it in time
            connection.send(v1.frame(AuthExpiring(int((principal.expires_at or 0) * 1000))))

    def _count(self) -> int:
        return len(self._waiting)
