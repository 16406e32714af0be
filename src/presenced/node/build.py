"""Composition of a node: makes its parts and connects them, in one place.

The order follows the dependencies, from the rules of presence to the node:

    directory, rooms, broadcaster  -->  storage  -->  publisher  -->  gatekeeper  -->  protocols  -->  node
                                           |              |                |
                                           '<-- apply ----'                |
                                           '<-- restore_revocations -------'

The two arrows back are the only cycle: the storage restores data through parts that are made after it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial

from presenced.auth.authenticator import Authenticator
from presenced.auth.gatekeeper import Gatekeeper
from presenced.config.settings import Settings
from presenced.delivery.broadcaster import BatchWriter, Broadcaster
from presenced.delivery.connection import Connection
from presenced.net.throttle import Throttle
from presenced.node.connections import Connections
from presenced.node.event_log import EventLog
from presenced.node.heartbeat import Heartbeat
from presenced.node.journal_followers import JournalFollowers
from presenced.node.node import Node
from presenced.node.publisher import NodePublisher
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.outcome import Outcome
from presenced.presence.rooms import Rooms, Thresholds
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.protocols.base import ClientProtocol, ProtocolParts, Protocols
from presenced.protocols.classic.protocol import ClassicProtocol
from presenced.protocols.names import Names
from presenced.protocols.v1.certainty import MarkingEncoder
from presenced.protocols.v1.encoder import V1Encoder
from presenced.protocols.v1.extensions import FeedExtension
from presenced.protocols.v1.protocol import V1Protocol
from presenced.runtime.clock import Clock, Timer
from presenced.runtime.instant import Instant
from presenced.runtime.metrics import Metrics
from presenced.storage.records import StoredRevocation
from presenced.storage.write_behind import StorageWorker, WriteBehind


def build_node(
    *,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    max_connections: int,
    writer: BatchWriter | None = None,
    authenticator: Authenticator | None = None,
    storage_worker: StorageWorker | None = None,
    epoch: str = "",
    more_protocols: Sequence[Callable[[ProtocolParts], ClientProtocol]] = (),
    feed_extensions: Sequence[FeedExtension] = (),
    directory_class: Callable[[Grace, Limits, Journal], Directory[Connection]] = Directory,
    names_class: Callable[[str, Journal], Names] = Names,
    storage_class: Callable[..., WriteBehind] = WriteBehind,
) -> Node:
    """Return a node that has not been started.

    Args:
        max_connections: Maximum number of open connections, HTTP ones included.
        writer: Writes batches to many connections; None to write through their transports.
        authenticator: Verifies tokens; None if a client may claim any user id.
        storage_worker: Stores what must survive a restart; None to store nothing.
        epoch: Name of this start of the server in positions; empty for a random one.
        more_protocols: Functions that make further protocols, besides the classic one and presenced.v1.
        feed_extensions: Extensions of the feed of presenced.v1 by modules, such as chat.
        directory_class: Makes the directory; in a cluster, one that several nodes share.
        names_class: Makes the names of positions and sessions; in a cluster, those that all nodes understand.
        storage_class: Makes the write-behind; in a cluster, one that stores for all nodes.
    """
    timer = Timer(clock)
    log = EventLog(clock, timer, settings.log_burst, settings.log_anonymous, settings.keep_addresses)
    journal = Journal(settings.journal_size)
    directory = directory_class(Grace(settings.grace_going_away, settings.grace_lost), _limits(settings), journal)
    thresholds = Thresholds(settings.room_coalesced, settings.room_counts)
    rooms = Rooms(thresholds, settings.room_members, journal.next_position, directory.on_rooms_changed)
    followers = JournalFollowers(clock)
    connections = Connections(max_connections, metrics)
    broadcaster = Broadcaster(
        clock=clock, timer=timer, metrics=metrics, behind_timeout=settings.behind_timeout, writer=writer
    )

    # These two functions break the cycle. They run when the storage worker responds, after all parts are made.
    def apply(outcome: Outcome[Connection], now: Instant) -> None:
        publisher.apply(outcome, now)

    def restore_revocations(revocations: Sequence[StoredRevocation]) -> None:
        if gatekeeper is not None:
            gatekeeper.restore(revocations)

    storage = None
    if storage_worker is not None:
        storage = storage_class(
            settings=settings,
            clock=clock,
            timer=timer,
            metrics=metrics,
            worker=storage_worker,
            directory=directory,
            rooms=rooms,
            apply=apply,
            restore_revocations=restore_revocations,
        )
    publisher = NodePublisher(
        clock=clock,
        timer=timer,
        metrics=metrics,
        log=log,
        directory=directory,
        rooms=rooms,
        followers=followers,
        broadcaster=broadcaster,
        storage=storage,
    )
    gatekeeper = None
    if authenticator is not None:
        gatekeeper = Gatekeeper(
            settings=settings,
            clock=clock,
            timer=timer,
            metrics=metrics,
            authenticator=authenticator,
            sessions=directory.users.sessions,
            on_revoked=storage.revoked if storage is not None else None,
        )

    parts = ProtocolParts(
        settings=settings,
        clock=clock,
        timer=timer,
        metrics=metrics,
        directory=directory,
        rooms=rooms,
        broadcaster=broadcaster,
        publisher=publisher,
        renew_token=gatekeeper.renew if gatekeeper is not None else None,
    )
    names = names_class(epoch or secrets.token_hex(4), journal)
    encoder_class: Callable[..., V1Encoder] = V1Encoder
    if directory.certainty is not None:
        encoder_class = partial(MarkingEncoder, certainty=directory.certainty)
    encoder = encoder_class(
        users=directory.users,
        rooms=rooms,
        names=names,
        shows_causes=settings.show_causes,
        page_size=settings.snapshot_page,
    )
    # The first protocol is the one that the server prefers if a client offers several.
    v1 = V1Protocol(parts, encoder, feed_extensions)
    protocols = Protocols([v1, ClassicProtocol(parts), *(make(parts) for make in more_protocols)])
    for protocol in protocols.all:
        broadcaster.add_feed(protocol.feed)

    _add_gauges(metrics, directory, rooms, broadcaster)
    return Node(
        settings=settings,
        clock=clock,
        timer=timer,
        metrics=metrics,
        log=log,
        throttle=Throttle(settings),
        directory=directory,
        rooms=rooms,
        followers=followers,
        connections=connections,
        heartbeat=Heartbeat(settings, clock, timer, metrics, log, publisher.expire),
        broadcaster=broadcaster,
        publisher=publisher,
        protocols=protocols,
        encoder=encoder,
        gatekeeper=gatekeeper,
        storage=storage,
    )


def _limits(settings: Settings) -> Limits:
    return Limits(
        log_entries=settings.log_size,
        log_age=settings.log_age,
        max_announced=settings.max_announced,
        max_choices=settings.max_choices,
        resume_window=settings.resume_window,
        status_pause=settings.status_pause,
    )


def _add_gauges(metrics: Metrics, directory: Directory[Connection], rooms: Rooms, broadcaster: Broadcaster) -> None:
    metrics.gauge(
        "presenced_users_connected", "Users with an open connection.", lambda: directory.users.connected_users
    )
    metrics.gauge("presenced_users_online", "Users shown online.", lambda: directory.users.online_users)
    metrics.gauge("presenced_rooms", "Rooms with a member.", lambda: len(rooms))
    metrics.gauge(
        "presenced_slow_watchers", "Watchers that are too slow, and receive changes later.", lambda: broadcaster.behind
    )
