"""One node, many clients, a bad network and the expected state, all derived from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from tests.simulation.clients import AnyClient, ClassicClient, V1Client
from tests.simulation.network import QUICK, Link
from tests.support.nodes import make_node

from presenced.config.settings import Settings
from presenced.node.node import Node
from presenced.node.service import PresenceService
from presenced.testing import FakeClock
from presenced_client.presence import UserPresence
from presenced_client.requested_state import EVERYONE

ROOMS = ("lobby", "bar", "hall")
STATUSES = ("auto", "online", "away", "busy", "invisible")
ROCK = "rock"
"""A user whose connection breaks all the time and returns within the grace period. Nobody may notice."""

CHAOS = 120.0
"""Seconds of chaos in one round."""

CALM = 190.0
"""Seconds after which nothing is under way: 45 until a client takes its connection for dead, 30 until it
connects again, 40 until the server takes one for dead, 15 of grace, 30 of a status with an end, 15 of settling."""


class World:
    """Clients of twelve users, two of them with the classic protocol, and a bot that a backend announces."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.clock = FakeClock()
        self.random = random.Random(seed)
        self.trace: list[str] = []
        """Actions, oldest first."""
        pick = self.random.choice
        coalesced, counts = pick([(2, 5000), (2, 6), (4, 6), (500, 5000)])
        self.settings = Settings(
            stats_interval=0,
            log_level="error",
            log_size=pick([5, 50, 5000]),
            log_age=pick([10, 300]),
            snapshot_page=pick([1, 4, 500]),
            room_coalesced=coalesced,
            room_counts=counts,
            request_rate=1000,
            request_burst=1000,
        )
        self.node = self._start_engine()
        self._links: list[Link] = []
        """Links to the current node."""
        self._number = 0
        self._calm = False
        self.chosen: dict[str, dict[str, Any]] = {}
        """Last SET_STATUS without expiry of each user, as the server received it."""
        self.announced: set[str] = set()
        self.clients: list[AnyClient] = []
        for number in range(12):
            user_id = f"u{number}" if number % 3 else str(number)
            if number < 2:
                self.clients.append(ClassicClient(f"{seed}/{user_id}/classic", user_id, self.clock, self.connect))
            for device in ("web", "phone", "tv")[: self.random.randint(number >= 2, 3)]:
                name, everyone = f"{seed}/{user_id}/{device}", self.random.random() < 0.5
                self.clients.append(V1Client(name, user_id, self.clock, self.connect, device, everyone))
        rock = V1Client(f"{seed}/rock/web", ROCK, self.clock, self.connect, "web", True, is_patient=False)
        self.rock: V1Client = rock
        for client in [*self.clients, rock]:
            client.come(self.random.uniform(0, 5))

    def _start_engine(self) -> Node:
        node = make_node(self.settings, self.clock)
        node.start()
        return node

    def connect(self, client: AnyClient, query: str, is_classic: bool) -> Link:
        self._number += 1
        link = Link(self.clock, self.node, client, f"{self.seed}/{self._number}", query, is_classic)
        self._links.append(link)
        link.delivered = lambda message: self._delivered(client, message)
        link.opening = lambda: self._opening(client, query)
        return link

    def _opening(self, client: AnyClient, query: str) -> None:
        """Record the choice in the URL, which counts if the server knows nothing about the user."""
        named = dict(parse_qsl(query))
        if self.node.directory.users.user(client.user_id) is None and "until" not in named:
            fields: dict[str, Any] = {key: named[key] for key in ("status", "text") if key in named}
            self.chosen[client.user_id] = {"status": "auto", **fields}

    def _delivered(self, client: AnyClient, message: dict[str, Any]) -> None:
        if message["type"] == "SET_STATUS" and "expiresIn" not in message:
            self.chosen[client.user_id] = message

    # Events.

    def run(self) -> None:
        """Run chaos, then calm, and check all views."""
        self._calm = False
        self.clock.call_at(self.clock.monotonic() + 5, self._act)
        self.clock.call_at(self.clock.monotonic() + 5, self._shake_rock)
        self.clock.advance(CHAOS)
        self._calm = True
        for client in self.clients:
            if client.link:
                client.link.rate = QUICK
        self.clock.advance(CALM)
        self.check()

    def _act(self) -> None:
        if self._calm:
            return
        for _ in range(self.random.choice([1, 1, 1, 3, 8])):
            action = self.random.choice(ACTIONS)
            client = self.random.choice(self.clients)
            self.trace.append(f"{self.clock.monotonic():.3f} {action.__name__} {client.name}")
            action(self, client)
        if self.random.random() < 0.002:
            self.trace.append(f"{self.clock.monotonic():.3f} restart")
            self._restart()
        self.clock.call_at(self.clock.monotonic() + self.random.expovariate(4), self._act)

    def _shake_rock(self) -> None:
        if self._calm:
            return
        rock = self.rock
        if rock.link and rock.is_established:
            if self.random.random() < 0.5:
                rock.link.breaks()  # it comes back by itself, within two seconds
            else:
                rock.leave(self.random.choice([1001, 4001]))
                if self.random.random() < 0.3:
                    rock.forget_session()
                rock.come(self.random.uniform(0, 2))
        self.clock.call_at(self.clock.monotonic() + self.random.uniform(3, 20), self._shake_rock)

    def _restart(self) -> None:
        """Replace the node, as after kill -9: all connections break, and all state is lost."""
        for link in self._links:
            link.breaks()
        self._links = []
        self.node.stop()
        self.node = self._start_engine()
        self.chosen, self.announced = {}, set()

    def _break(self, client: AnyClient) -> None:
        if client.link:
            client.link.breaks()

    def _half_open(self, client: AnyClient) -> None:
        if client.link:
            client.link.cut = True

    def _reload(self, client: AnyClient) -> None:
        if client.is_here:
            client.leave(self.random.choice([1001, 4001]))
            if self.random.random() < 0.3:
                client.forget_session()
            client.come(self.random.uniform(0, 6))

    def _go_or_come(self, client: AnyClient) -> None:
        if not client.is_here:
            client.come(0)
        elif self.random.random() < 0.4:
            client.leave(self.random.choice([1000, 1001, 4001]))
            client.forget_session()

    def _slow_or_quick(self, client: AnyClient) -> None:
        if client.link:
            client.link.rate = self.random.choice([50, 400, 3000, QUICK])

    def _kick(self, client: AnyClient) -> None:
        if self.random.random() < 0.1:
            PresenceService(self.node).disconnect(client.user_id)

    def _announce(self, client: AnyClient) -> None:
        user_id, online = self.random.choice(["bot", client.user_id]), self.random.random() < 0.5
        if user_id != "bot":
            online = False  # takes nothing from who is there, and ends the wait for who is not
        PresenceService(self.node).announce(user_id, online)
        (self.announced.add if online else self.announced.discard)(user_id)

    def _choose(self, client: AnyClient) -> None:
        if isinstance(client, V1Client) and client.device == "web" and client.is_here:
            text = f"text {self.random.randint(0, 3)}" if self.random.random() < 0.5 else ""
            lasts = self.random.uniform(1, 30) if self.random.random() < 0.3 else None
            client.choose(self.random.choice(STATUSES), text, lasts)

    def _be_idle_or_active(self, client: AnyClient) -> None:
        if isinstance(client, V1Client) and client.is_here:
            client.toggle_idle()

    def _watch(self, client: AnyClient) -> None:
        if isinstance(client, V1Client) and client.is_here:
            users = {self.random.choice(self.clients).user_id for _ in range(3)} | {ROCK}
            client.watch(sorted(users), is_read=self.random.random() < 0.6)

    def _watch_everyone(self, client: AnyClient) -> None:
        if isinstance(client, V1Client) and client.is_here:
            if self.random.random() < 0.5:
                client.watch_everyone(True)
            elif self.random.random() < 0.5:
                client.count_everyone(True)
            else:
                client.watch_everyone(False)
                client.count_everyone(self.random.random() < 0.3)

    def _move(self, client: AnyClient) -> None:
        if isinstance(client, V1Client) and client.is_here:
            room = self.random.choice(ROOMS)
            if room not in client.joined or self.random.random() < 0.4:
                client.join(room, self.random.choice([None, 1, {"seat": 2}]))
            else:
                client.leave_room(room)

    # Invariants.

    def check(self) -> None:
        """Check that all views are correct."""
        users = {client.user_id for client in self.clients} | {ROCK, "bot"}
        truth = {user_id: self.truth(user_id) for user_id in users}
        assert truth[ROCK]["status"] == "online"
        online = sum(record["status"] != "offline" for record in truth.values())
        told = {user_id: self.node.directory.users.status(user_id).value for user_id in truth}
        assert told == {user_id: record["status"] for user_id, record in truth.items()}, "the directory itself"
        assert self.node.stats().online_users == online
        for client in [*self.clients, self.rock]:
            if not client.is_here:
                continue
            assert client.is_established, f"{client.name} is not back"
            if isinstance(client, ClassicClient):
                for user_id, is_online in client.online.items():
                    assert is_online is (truth[user_id]["status"] != "offline"), f"{client.name} is wrong on {user_id}"
            elif isinstance(client, V1Client):
                self._check_v1(client, truth)

    def truth(self, user_id: str) -> dict[str, Any]:
        """Return the expected presence of a user, derived from the state of the clients."""
        mine = [client for client in self.clients if client.user_id == user_id and client.is_here]
        if user_id == ROCK:
            mine = [self.rock]
        if not mine and user_id not in self.announced:
            return {"status": "offline"}
        chosen = self.chosen.get(user_id, {"status": "auto"})
        status = chosen["status"]
        if status == "invisible":
            return {"status": "offline"}
        if status == "auto":
            is_active = user_id in self.announced or not all(isinstance(c, V1Client) and c.is_idle for c in mine)
            status = "online" if is_active else "away"
        devices = sorted({client.device for client in mine if isinstance(client, V1Client)})
        record = {"status": status, "text": chosen.get("text", ""), "devices": devices}
        return {key: value for key, value in record.items() if value}

    def _check_v1(self, client: V1Client, truth: dict[str, dict[str, Any]]) -> None:
        session = client.session
        assert not session.unanswered, f"{client.name} waits for {session.unanswered}"
        assert not session.is_stale, f"{client.name} has not caught up"
        inside = {user_id: self.rooms_of(user_id) for user_id in truth if truth[user_id]["status"] != "offline"}
        watched = set(truth) if client.everyone else set(client.users)
        for name in client.joined:
            room = session.room(name)
            members = {user_id for user_id, rooms in inside.items() if name in rooms}
            assert room.known, f"{client.name} does not know {name}"
            assert room.count == len(members), f"{client.name} is wrong on the size of {name}"
            if room.mode != "counts":
                assert set(room.members) == members, f"{client.name} is wrong on who is in {name}"
                for user_id in members:
                    assert room.members[user_id].data in inside[user_id][name]
                watched |= members
        for user_id in watched:
            self._check_user(client, user_id, truth[user_id])
        if client.is_counting:
            online = sum(record["status"] != "offline" for record in truth.values())
            assert session.counts[EVERYONE] == online, f"{client.name} counts wrong"

    def _check_user(self, client: V1Client, user_id: str, expected: dict[str, Any]) -> None:
        """Check what a client knows of a user, against the truth and against the reference model."""
        user = client.session.user(user_id)
        seen = {"status": user.status, "text": user.text or None, "devices": list(user.devices) or None}
        for key, value in seen.items():
            assert value == expected.get(key), (
                f"{client.name} is wrong on the {key} of {user_id}: {user}, and not {expected}"
            )
        if (record := client.replica.records.get(user_id)) and user.version:
            assert user == UserPresence.from_record(record), f"{client.name} differs from the model on {user_id}"

    def rooms_of(self, user_id: str) -> dict[str, list[Any]]:
        """Return the rooms of a user, with the data of all their devices."""
        found: dict[str, list[Any]] = {}
        for client in self.clients:
            if client.user_id == user_id and isinstance(client, V1Client) and client.is_here:
                for room, data in client.joined.items():
                    found.setdefault(room, []).append(data)
        return found


Action = Callable[[World, AnyClient], None]

ACTIONS: list[Action] = [
    *[World._break, World._half_open, World._reload, World._go_or_come] * 2,
    *[World._slow_or_quick, World._kick, World._announce, World._be_idle_or_active, World._watch_everyone],
    *[World._choose, World._watch, World._move] * 3,
]
