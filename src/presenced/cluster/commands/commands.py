"""Commands of one node that all others carry out: close connections, forget users, reject tokens.

    this node   PresenceService ──> ClusterCommands ──> an entry of the log
    others      entries of the log ──> ClusterCommands ──> PresenceService, Gatekeeper

Choices, claims and announcements need no command. They are in the user records that the nodes agree on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import cast

from presenced.cluster.backend import Backend, Kind
from presenced.cluster.cluster import Cluster
from presenced.cluster.commands.erasing_publisher import ErasingPublisher
from presenced.cluster.commands.pending_erasures import PendingErasures
from presenced.cluster.commands.revocations import SharedRevocations
from presenced.cluster.commands.tickets import RemoteTickets
from presenced.cluster.commands.waits import Waits
from presenced.cluster.directory import SharedDirectory, tag_of
from presenced.delivery.connection import Connection
from presenced.errors import CapacityError
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.presence.model import SEEN_OFFLINE
from presenced.presence.session import Session
from presenced.runtime.instant import Instant

FORGET_AGAIN_S = 10.0
"""Seconds after which an entry about a forgotten user is too late to forget later decisions."""

COMMAND_S = 30.0
"""Seconds after which a command that another node has not executed yet has no effect there any more. A longer outage of
the store must not disconnect users who have returned since."""


class ClusterCommands:
    """Commands for all nodes of a cluster (`node.node.OtherNodes`). The constructor registers them with the cluster.

    Args:
        publisher: The publisher of `cluster`.
    """

    def __init__(
        self, cluster: Cluster, backend: Backend, publisher: ErasingPublisher, node: Node, service: PresenceService
    ) -> None:
        self._cluster = cluster
        self._publisher = publisher
        self._directory = cast("SharedDirectory[Connection]", node.directory)
        self._users = node.directory.users
        self._clock = node.clock
        self._service = service
        self._waits = Waits()
        self._revocations: SharedRevocations | None = None
        if node.gatekeeper is not None:
            self._revocations = revocations = SharedRevocations(
                backend=backend,
                gatekeeper=node.gatekeeper,
                clock=node.clock,
                log=lambda user_id, body: cluster.add_control(Kind.REVOKE, user_id, body),
                on_session=self._revoke_session_here,
                on_loaded=cluster.check_ready,
            )
            cluster.handlers[Kind.REVOKE] = revocations.apply
            cluster.on_loaded = revocations.read
            cluster.may_be_ready = lambda: revocations.is_loaded
        cluster.handlers[Kind.KICK] = self._kicked
        cluster.handlers[Kind.FORGET] = self._forgotten
        cluster.handlers[Kind.ERASE] = lambda body, _: service.erase_past(body.decode())
        self._erasures = PendingErasures(cluster, node.directory.users, node.clock, node.timer)
        cluster.on_progress = self._progress
        if node.settings.auth == "ticket":
            service.tickets.shared = RemoteTickets(backend, cluster, node.clock, node.timer)
            cluster.on_in_reach = lambda: service.tickets.share(node.clock.monotonic())
        node.other_nodes = self

    # Commands of this node.

    def kick(self, user_id: str) -> int:
        """Have all other nodes close the connections of a user. Return the number of sessions there.

        The command has no effect on nodes that it does not reach within `COMMAND_S`.
        """
        self._cluster.add_control(Kind.KICK, user_id, f"{self._cluster.time.now_ms} {user_id}".encode(), COMMAND_S)
        return len(self._sessions_elsewhere(user_id))

    def forget(self, user_id: str, now: Instant) -> int:
        """Have all other nodes close the user's connections, and forget what only they remember of the user."""
        self._cluster.add_control(Kind.FORGET, user_id, f"{now.epoch_ms} {user_id}".encode())
        self._erase_when_offline(user_id)
        return len(self._sessions_elsewhere(user_id))

    def erase(self, user_id: str) -> None:
        """Have all nodes and the database forget a user, after the user's last changes."""
        self._erasures.erase(user_id)

    def revoked(self, user_id: str, kind: str, subject: str) -> int:
        """Have all other nodes reject what the gatekeeper rejects from now on."""
        if self._revocations is not None:
            self._revocations.revoked(user_id, kind, subject)
        return len(self._sessions_elsewhere(user_id)) if kind == "user" else 0

    def revoke_session(self, user_id: str, session_id: str) -> int:
        """Have the node that has a session of the user revoke the session's token."""
        tag = tag_of(session_id)
        if self._revocations is not None:
            self._revocations.session_revoked(user_id, tag)
        return sum(session.session_id == tag.hex() for session in self._sessions_elsewhere(user_id))

    def when_agreed(self, user_id: str, on_answer: Callable[[bool], None]) -> Callable[[], None]:
        """Call `on_answer` with True when all nodes have what this node has decided about a user.

        It gets False if the store is out of reach. Return the function that ends the wait.

        Raises:
            CapacityError: Too many callers wait.
        """
        end = self._waits.add(user_id, self._cluster.replica_of(user_id), on_answer)
        self._progress()
        return end

    # Entries of the log.

    def _kicked(self, body: bytes, is_own: bool) -> None:
        made_ms, _, user_id = body.decode().partition(" ")
        # A node that is up to date reads no late entries. If the entry looks late there, a clock is wrong.
        is_late = self._cluster.time.now_ms - int(made_ms) > COMMAND_S * 1000
        if not is_own and not (is_late and self._cluster.lag_s > COMMAND_S):
            self._service.disconnect_here(user_id)

    def _forgotten(self, body: bytes, is_own: bool) -> None:
        text, _, user_id = body.decode().partition(" ")
        now, erased_ms = self._clock.now(), int(text)
        is_pending = is_own or bool(self._cluster.replica_of(user_id).pending([user_id]))
        if not is_own:
            self._service.disconnect_here(user_id)
            self._directory.display_erased(user_id, erased_ms)
            self._service.erase_past(user_id)
            self._erase_when_offline(user_id)
        # Decisions that were on their way when the author forgot the user are forgotten now. The author knows those
        # before the entry in the log. Each other node knows its own that follow the entry. If the entry itself is late,
        # because the store was out of reach, it must not affect later decisions.
        if is_pending and abs(now.epoch_ms - erased_ms) < FORGET_AGAIN_S * 1000:
            self._service.forget_decisions(user_id, now)

    def _revoke_session_here(self, user_id: str, tag: bytes) -> None:
        user = self._users.user(user_id)
        for session in list(user.sessions) if user is not None else ():
            if session.slot < 0 and session.token_id and tag_of(session.session_id) == tag:
                with suppress(CapacityError):  # the table is full, and the author of the command has its answer already
                    self._service.revoke(user_id, token_id=session.token_id)

    # Internal.

    def _progress(self) -> None:
        if self._revocations is not None and self._cluster.is_in_reach:
            self._revocations.check()
        self._waits.check(self._must_wait)

    def _must_wait(self, user_id: str) -> bool:
        return self._revocations is not None and self._revocations.is_pending(user_id)

    def _erase_when_offline(self, user_id: str) -> None:
        if self._service.view_of(user_id) != SEEN_OFFLINE:
            self._publisher.erased(user_id, self._clock.monotonic())

    def _sessions_elsewhere(self, user_id: str) -> list[Session[Connection]]:
        user = self._users.user(user_id)
        return [session for session in user.sessions if session.slot >= 0] if user is not None else []
