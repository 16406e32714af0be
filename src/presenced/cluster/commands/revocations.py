"""Revoked users and tokens on all nodes.

    revoke here --> table of this node --> store --answered--> entry of the log --> tables of the nodes that run
                         ^                   |                                        (`Gatekeeper.restore`)
                         '---- read ---------'    nodes that start, or load everything again

A revocation is in the store before it is in the log. A loading node reads the log from before the load, and the
store's revocations after it. So it gets each revocation in at least one of the two ways.

If the store gives no answer, or has lost revocations, each node writes those that it knows and the store lacks. If
other nodes may lack them, too, an entry without a body makes all nodes read the revocations.

Bounds: `MAX_REVOCATIONS` in each node's table, and as many users whose writes have failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from presenced.auth.gatekeeper import Gatekeeper
from presenced.cluster.backend import Backend
from presenced.runtime.clock import Clock
from presenced.runtime.logs import logger
from presenced.storage.records import StoredRevocation

SYNC_PERIOD_S = 0.5
"""Seconds until the next read, if a read or the write after it got no answer."""

READ_PERIOD_S = 600.0
"""Seconds between two regular reads. A store that has lost revocations gets them again."""


class RevokedSession(Struct, frozen=True, array_like=True, tag="session"):
    """Session whose token is revoked by its own node, because no other node knows the token."""

    user_id: str
    tag: bytes
    """Tag of the session (`cluster.directory.tag_of`)."""


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(StoredRevocation | RevokedSession)


class SharedRevocations:
    """Revocations of all nodes.

    Args:
        log: Logs an entry of kind `REVOKE` for a user, with a body. Returns False if too many entries wait.
        on_session: Revokes the token of a session of this node. Arguments: user and tag of the session.
        on_loaded: Called when `is_loaded` has become true.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        gatekeeper: Gatekeeper,
        clock: Clock,
        log: Callable[[str, bytes], bool],
        on_session: Callable[[str, bytes], None],
        on_loaded: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._gatekeeper = gatekeeper
        self._clock = clock
        self._log = log
        self._on_session = on_session
        self._on_loaded = on_loaded
        self._is_reading = self._is_syncing = self._has_read = False
        self._must_read = False  # a read was requested during the last one, or the last one failed
        self._must_sync = False  # the store, or other nodes, may lack revocations of this node
        self._writing: Counter[str] = Counter()  # number of writes under way, by the user concerned
        self._unconfirmed: set[str] = set()  # users of writes that have failed, until the next sync
        self._read_at = 0.0

    @property
    def is_loaded(self) -> bool:
        """Whether the revocations of all nodes were read. The node may accept connections then."""
        return self._has_read and not self._is_reading and not self._must_read

    def is_pending(self, user_id: str) -> bool:
        """Return whether a revocation of the user's tokens by this node is not in the store yet."""
        return user_id in self._writing or user_id in self._unconfirmed

    def revoked(self, user_id: str, kind: str, subject: str) -> None:
        """Have all other nodes reject what the gatekeeper rejects from now on."""
        revocation = self._gatekeeper.revocations.get(kind, subject)
        if revocation is None:
            return
        self._writing[user_id] += 1

        def written(is_stored: bool) -> None:
            self._writing -= Counter((user_id,))  # drops the user at 0
            if not is_stored or not self._log(user_id, _encode(revocation)):
                self._must_sync = True
                self._unconfirmed.add(user_id)

        self._backend.add_revoked([revocation], self._now, written)

    def session_revoked(self, user_id: str, tag: bytes) -> None:
        """Have the node of a session revoke the session's token."""
        self._log(user_id, _encode(RevokedSession(user_id, tag)))

    def apply(self, body: bytes, is_own: bool) -> None:
        """Apply an entry of the log, unless this node is its author."""
        if is_own:
            return
        if not body:
            self.read()
            return
        try:
            found = _decoder.decode(body)
        except msgspec.MsgspecError:
            logger.debug("an entry about revoked tokens cannot be read")
            return
        if isinstance(found, RevokedSession):
            self._on_session(found.user_id, found.tag)
        else:
            self._gatekeeper.restore([found])

    def read(self) -> None:
        """Read the revocations of all nodes, and write those that the store lacks."""
        self._must_read = True
        if not self._is_reading:
            self._is_reading, self._must_read = True, False
            self._read_at = self._clock.monotonic()
            self._backend.read_revoked(self._read)

    def check(self) -> None:
        """Repeat calls that the store has not answered. Called at least once a second while the store is in reach."""
        must_read = self._must_read or self._must_sync
        if not (self._has_read or must_read) or self._is_reading or self._is_syncing:
            return
        if self._clock.monotonic() - self._read_at >= (SYNC_PERIOD_S if must_read else READ_PERIOD_S):
            self.read()

    def _read(self, found: Sequence[StoredRevocation] | None) -> None:
        self._is_reading = False
        if found is None:
            self._must_read = True
            return
        now = self._now
        self._gatekeeper.restore([one for one in found if one.until > now])
        self._has_read = True
        self._write_missing({(one.kind, one.subject): one.at for one in found})
        if self._must_read:
            self.read()
        else:
            self._on_loaded()

    def _write_missing(self, stored: dict[tuple[str, str], float]) -> None:
        known = self._gatekeeper.revocations.all(self._now)
        missing = [one for one in known if stored.get((one.kind, one.subject), -1.0) < one.at]
        must_notify, self._must_sync = self._must_sync, False
        if not missing and not must_notify:
            return
        confirmed = set(self._unconfirmed)
        self._is_syncing = True

        def written(is_stored: bool) -> None:
            self._is_syncing = False
            if not is_stored or (must_notify and not self._log("", b"")):
                self._must_sync = True
            else:
                self._unconfirmed -= confirmed

        self._backend.add_revoked(missing, self._now, written)

    @property
    def _now(self) -> float:
        return self._clock.now().epoch_ms / 1000
