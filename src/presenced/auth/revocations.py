"""What was taken back before it expired: all tokens of a user, or single ones."""

from __future__ import annotations

from collections.abc import Callable

from presenced.auth.principal import Principal
from presenced.errors import CapacityError
from presenced.runtime.deadlines import Deadlines

MAX_REVOCATIONS = 100_000
"""Users and tokens together; some 40 MB. One more is refused, for to forget one would let somebody in again."""


class Revocations:
    """Users whose earlier tokens, and tokens that, are not accepted. Times are epoch seconds.

    Bounds: `MAX_REVOCATIONS`, each for `lifetime` seconds: after it no token from before can be valid any more.

    Args:
        keep: Told of each: `user` or `token`, of whom or which, from when and until when.
    """

    def __init__(
        self, lifetime: float, keep: Callable[[str, str, float, float], None] = lambda _kind, _key, _at, _until: None
    ) -> None:
        self._lifetime = lifetime
        self._keep = keep
        self._users: dict[str, float] = {}  # since when they have been revoked
        self._tokens: dict[str, float] = {}
        self._ends: Deadlines[tuple[str, str]] = Deadlines()  # by kind and key

    def __len__(self) -> int:
        return len(self._users) + len(self._tokens)

    def revoke_user(self, user_id: str, now: float) -> None:
        """Accept no token of the user that was made until now; one that does not say when is taken for such.

        Raises:
            CapacityError: There is no room.
        """
        self._put("user", user_id, now)

    def revoke_token(self, token_id: str, now: float) -> None:
        """Don't accept the token with this `jti`.

        Raises:
            CapacityError: There is no room.
        """
        self._put("token", token_id, now)

    def concerns(self, principal: Principal, now: float) -> bool:
        """Whether what `principal` rests on was taken back."""
        self._forget(now)
        if principal.token_id and principal.token_id in self._tokens:
            return True
        revoked = self._users.get(principal.user_id)
        # Tokens say whole seconds: one of the same second may be from before, so it is taken for that.
        return revoked is not None and (principal.issued_at is None or principal.issued_at <= revoked)

    def restore(self, kind: str, key: str, at: float, until: float) -> None:
        """One of before the start; one made since then stays. As long as there is room."""
        if key not in self._of(kind) and len(self) < MAX_REVOCATIONS:
            self._of(kind)[key] = at
            self._ends.set((kind, key), until)

    def _put(self, kind: str, key: str, now: float) -> None:
        self._forget(now)
        if key not in self._of(kind) and len(self) >= MAX_REVOCATIONS:
            raise CapacityError(f"{MAX_REVOCATIONS:,} revocations are remembered already; wait until some have ended")
        self._of(kind)[key] = now
        self._ends.set((kind, key), now + self._lifetime)
        self._keep(kind, key, now, now + self._lifetime)

    def _of(self, kind: str) -> dict[str, float]:
        return self._users if kind == "user" else self._tokens

    def _forget(self, now: float) -> None:
        while (ended := self._ends.pop_due(now)) is not None:
            kind, key = ended
            del self._of(kind)[key]
