"""Revoked tokens: all tokens of a user issued until a time, or single tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from presenced.auth.principal import Principal
from presenced.errors import CapacityError
from presenced.runtime.deadlines import Deadlines
from presenced.runtime.logs import logger
from presenced.storage.records import StoredRevocation

MAX_REVOCATIONS = 100_000
"""Maximum number of revoked users and tokens together, some 40 MB. At the bound new revocations are refused, and those
of other nodes are dropped. Evicting one would accept a revoked token again."""


class Revocations:
    """Revoked users and tokens. Times are epoch seconds.

    Bounds: `MAX_REVOCATIONS`.

    Args:
        lifetime: Seconds for which a revocation is remembered. After that, every token issued before it has expired.
        on_revoked: Function that stores each new revocation.
    """

    def __init__(self, lifetime: float, on_revoked: Callable[[StoredRevocation], None] | None = None) -> None:
        self._lifetime = lifetime
        self._on_revoked = on_revoked
        self._revoked_at: dict[str, dict[str, float]] = {"user": {}, "token": {}}  # by kind and subject
        self._ends: Deadlines[tuple[str, str]] = Deadlines()  # keys are (kind, subject)
        self._has_logged_drop = False

    def __len__(self) -> int:
        return sum(map(len, self._revoked_at.values()))

    def revoke(self, kind: Literal["user", "token"], subject: str, now: float) -> StoredRevocation:
        """Revoke all tokens of a user issued until now, or the token with this `jti` or digest.

        Tokens of the user that do not say when they were issued are included.

        Raises:
            CapacityError: Too many revocations are remembered.
        """
        self._expire(now)
        if subject not in self._revoked_at[kind] and len(self) >= MAX_REVOCATIONS:
            raise CapacityError(f"{MAX_REVOCATIONS:,} revocations are remembered already; wait until some have ended")
        at = max(now, self._revoked_at[kind].get(subject, now))  # the clock may have been set back
        revocation = StoredRevocation(kind, subject, at, at + self._lifetime)
        self._set(revocation)
        if self._on_revoked is not None:
            self._on_revoked(revocation)
        return revocation

    def is_revoked(self, principal: Principal, now: float) -> bool:
        """Return whether the token of `principal` is revoked."""
        self._expire(now)
        if principal.token_id and principal.token_id in self._revoked_at["token"]:
            return True
        revoked_at = self._revoked_at["user"].get(principal.user_id)
        # `iat` is often in whole seconds. A token of the same second may then be from before the revocation, so it
        # is revoked. With fractions of a second, `iat` distinguishes the two.
        return revoked_at is not None and (principal.issued_at is None or principal.issued_at <= revoked_at)

    def restore(self, revocation: StoredRevocation) -> None:
        """Adopt a revocation from before the start or from another node. A newer one of the same subject stays.

        If the table is full, the revocation of a new subject is dropped, so this server accepts the revoked token. The
        first drop is logged.
        """
        known_at = self._revoked_at[revocation.kind].get(revocation.subject)
        if known_at is None and len(self) >= MAX_REVOCATIONS:
            self._log_drop()
        elif known_at is None or known_at < revocation.at:
            self._set(revocation)

    def get(self, kind: str, subject: str) -> StoredRevocation | None:
        """Return the revocation of a user or token; None if there is none."""
        at = self._revoked_at[kind].get(subject)
        return None if at is None else StoredRevocation(kind, subject, at, at + self._lifetime)

    def all(self, now: float) -> list[StoredRevocation]:
        """Return all revocations."""
        self._expire(now)
        return [
            StoredRevocation(kind, subject, at, at + self._lifetime)
            for kind, revoked_at in self._revoked_at.items()
            for subject, at in revoked_at.items()
        ]

    def _log_drop(self) -> None:
        if not self._has_logged_drop:
            self._has_logged_drop = True
            logger.error(
                "%d revocations are remembered already: others are dropped, and their tokens are accepted here",
                len(self),
                extra={"event": "revocations_full"},
            )

    def _set(self, revocation: StoredRevocation) -> None:
        self._revoked_at[revocation.kind][revocation.subject] = revocation.at
        self._ends.set((revocation.kind, revocation.subject), revocation.until)

    def _expire(self, now: float) -> None:
        while (ended := self._ends.pop_due(now)) is not None:
            kind, subject = ended
            del self._revoked_at[kind][subject]
        if self._has_logged_drop and len(self) < 0.9 * MAX_REVOCATIONS:  # not at once: some end and come all the time
            self._has_logged_drop = False
