"""Log lines, and warnings of `/readyz`, that inform operators about other nodes and the store."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from presenced.cluster.backend import Member, State
from presenced.cluster.common_settings import differing
from presenced.cluster.members import Figures, figures_of
from presenced.runtime.logs import logger


class Notices:
    """Log lines and warnings. Each line comes once for an event, even if the store has several shards.

    Args:
        name: Name of this node.
        cluster_name: Setting of this name.
        own: Figures of this node that do not change (`common_settings.figures_from`).
    """

    def __init__(self, name: str, cluster_name: str, own: Figures) -> None:
        self.name = name
        self.has_waited = False
        """Whether the store was out of reach when the node started."""
        self._about_others: Sequence[str] = ()
        self._cluster_name = cluster_name
        self._own = own
        self._local_since: float | None = None
        self._is_full = False  # whether the node is local because the store has no memory
        self._is_rejected = False  # whether the store responds and refuses this node
        self._has_joined = False
        self._fenced: set[int] = set()
        self._logged: set[tuple[str, str]] = set()  # incarnations of registered nodes, and what was logged about them

    def warnings(self, now: float) -> list[str]:
        """Return the current warnings.

        Args:
            now: Monotonic seconds.
        """
        if self._local_since is None:
            return list(self._about_others)
        away = f"{now - self._local_since:.0f} s"
        problem = "out of memory" if self._is_full else "out of reach"
        local = f"the store has been {problem} for {away}, so this node shows only what happens on it"
        if self._is_rejected:
            local += "; it responds, but refuses this node: the log says why"
        return [local, *self._about_others]

    # This node.

    def waits(self, reason: str) -> None:
        """Log that the store does not respond when the node starts."""
        self.has_waited = True
        logger.warning("waiting for the store: %s", reason, extra={"event": "cluster_waits"})

    def rejected(self, reason: str) -> None:
        """Log that the node cannot register."""
        self._is_rejected = True
        verb = "return to" if self._has_joined else "join"
        logger.error("cannot %s the cluster: %s", verb, reason, extra={"event": "cluster_rejected"})

    def joined(self, slot: int, nodes: int, users: int) -> None:
        """Log that the node has read everything, and accepts connections from now on."""
        self._has_joined = True
        logger.log(
            logging.WARNING if self.has_waited else logging.INFO,  # a warning was logged, so its end is one, too
            "joined the cluster %s as node %s (slot %d): %s, %s online",
            self._cluster_name,
            self.name,
            slot,
            _count(nodes, "node"),
            _count(users, "user"),
            extra={
                "event": "cluster_joined",
                "fields": {"cluster": self._cluster_name, "slot": slot, "nodes": nodes, "users": users},
            },
        )

    def local(self, since: float, is_full: bool) -> None:
        """Log that this node continues alone, without the store since a time (monotonic seconds)."""
        if self._local_since is None:
            self._local_since, self._is_full = since, is_full
            problem = "out of memory" if is_full else "out of reach"
            logger.warning("the store is %s: this node is on its own", problem, extra={"event": "cluster_local"})

    def back(self, now: float) -> None:
        """Log that every shard has been read again (`now`: monotonic seconds)."""
        self._is_rejected = False
        if self._local_since is not None:
            seconds, self._local_since = round(now - self._local_since), None
            logger.warning(
                "the store is back after %d s: this node has caught up",
                seconds,
                extra={"event": "cluster_back", "fields": {"seconds": seconds}},
            )

    def fenced(self, shard: int) -> None:
        """Log that the store refuses this incarnation."""
        if not self._fenced:
            logger.warning(
                "the store no longer knows this node (declared dead, or the store was emptied): it joins again",
                extra={"event": "cluster_fenced"},
            )
        self._fenced.add(shard)

    def registered(self, shard: int) -> None:
        """Record that the store accepts this node in a shard."""
        self._fenced.discard(shard)
        self._is_rejected = False

    def keys_lost(self) -> None:
        """Log that the store has fewer keys than it should have."""
        logger.error("the store has lost keys: reading everything again", extra={"event": "cluster_keys_lost"})

    def drained(self) -> None:
        """Log that an operator stops this node."""
        logger.warning("an operator asks this node to stop", extra={"event": "cluster_drain"})

    # Other nodes.

    def removes(self, shard: int, other: Member) -> bool:
        """Log that this node removes another one. Return whether that one had announced that it leaves."""
        has_left, fields = figures_of(other).leave_grace_s > 0, {"peer": other.name}
        if shard:
            return has_left  # a node is removed from each shard, but logged only once
        if has_left:
            logger.info("node %s has left", other.name, extra={"event": "cluster_left", "fields": fields})
        else:
            logger.warning(
                "node %s is dead: its users are taken out",
                other.name,
                extra={"event": "cluster_removes", "fields": fields},
            )
        return has_left

    def compare(self, known: Iterable[tuple[Member, Figures]], own: str, is_alive: Callable[[Member], bool]) -> None:
        """Compare the other nodes with this one.

        Args:
            own: Incarnation of this node.
            is_alive: Returns whether heartbeats of a node were seen. Otherwise it may be this node before a restart.
        """
        others = [(one, figures) for one, figures in known if one.incarnation != own and one.state is State.READY]
        warnings, by_settings = [], defaultdict[tuple[str, ...], list[str]](list)
        for other, figures in others:
            if other.name == self.name and is_alive(other):
                text = f"another node is called {self.name}, too (slot {other.slot}): give each node a name of its own"
                warnings.append(text)
                if self._is_new(other, text):
                    fields: dict[str, object] = {"slot": other.slot}
                    logger.warning("%s", text, extra={"event": "cluster_name_taken", "fields": fields})
            if names := differing(self._own, figures):
                by_settings[names].append(other.name)
                text = f"node {other.name} has other settings than this one: {', '.join(names)}"
                if self._is_new(other, text):
                    fields = {"peer": other.name, "settings": list(names)}
                    logger.warning("%s", text, extra={"event": "cluster_settings_differ", "fields": fields})
        for names, nodes in by_settings.items():
            subject = f"node {nodes[0]} has" if len(nodes) == 1 else f"nodes {', '.join(nodes)} have"
            warnings.append(f"{subject} other settings than this one: {', '.join(names)}")
        self._about_others = warnings
        registered = {other.incarnation for other, _ in others}
        self._logged = {one for one in self._logged if one[0] in registered}

    def _is_new(self, other: Member, text: str) -> bool:
        if (other.incarnation, text) in self._logged:
            return False
        self._logged.add((other.incarnation, text))
        return True


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
