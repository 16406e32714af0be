"""Replay the conversations of `spec/vectors/v1-*.jsonl` on a node; `python -m tests.support.vectors` records answers.

To change a conversation, write the actions of the clients, record the answers, and review them. The recorded answers
are part of the specification, like the lines `expect`, which the same command adds.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import json
from tests.support.cluster_harness import ClusterNode
from tests.support.fakes import FakeConnection
from tests.support.known_state import HEARD, Line, with_expectations
from tests.support.node_harness import NodeHarness

from presenced.auth.authenticator import Authenticator, AuthResult, OnAuthResult
from presenced.auth.grants import with_grants
from presenced.auth.principal import Principal
from presenced.cluster.memory.hub import MemoryHub
from presenced.errors import BadToken
from presenced.node.service import PresenceService
from presenced.presence.model import Status, StatusDetails
from presenced.presence.status import Claim, choice_of
from presenced.runtime.instant import Instant
from presenced.testing import FakeClock
from presenced.transports.websocket.endings import client_ending

FOLDER = Path(__file__).parents[2] / "spec/vectors"
FILES = sorted(FOLDER.glob("v1-*.jsonl"))

CHOSEN_BY_THE_SERVER = {"sessionId": "session", "epoch": "epoch", "position": "position", "version": "version"}
"""Fields with values that a server makes up, mapped to the beginning of the names that replace them in the vectors."""


class VectorAuthenticator(Authenticator):
    """Authenticator that accepts the tokens in the head of the conversation."""

    def __init__(self, tokens: dict[str, Line], epoch_ms: int) -> None:
        self._tokens = tokens
        self._epoch = epoch_ms / 1000

    def authenticate(self, token: str, now: Instant, on_result: OnAuthResult) -> AuthResult:
        """Return the principal of a known token; BadToken for any other."""
        found = self._tokens.get(token)
        if found is None:
            return BadToken("signature", "the token's signature does not fit any key")
        issued = self._epoch + found.get("issued", 0)
        principal = Principal(str(found["userId"]), self._epoch + found["expires"], token, issued)
        return with_grants(principal, found["presence"]) if "presence" in found else principal


class TwoServers:
    """A cluster of the server of the conversation and another one, which have found each other."""

    def __init__(self, epoch_ms: int, settings: dict[str, Any]) -> None:
        seconds = 1.0
        clock = FakeClock(epoch_ms=epoch_ms - int(seconds * 1000))
        self._hub = MemoryHub(clock)
        state = random.getstate()
        random.seed(0)  # nodes propose random slots, which are in the ids of connections
        self.first = ClusterNode("first", self._hub, clock, **settings)
        self._second = ClusterNode("second", self._hub, clock, **settings)
        random.setstate(state)
        clock.advance(seconds)
        self._elsewhere: dict[str, FakeConnection] = {}

    def do(self, action: str, user_id: str) -> None:
        """Do something with the other server, or with the store."""
        match action:
            case "connect elsewhere":
                self._elsewhere[user_id] = self._second.connect(user_id)
            case "close elsewhere":
                self._second.end(self._elsewhere.pop(user_id))
            case "lose the store":
                self._hub.cut("first")
            case "reach the store":
                self._hub.heal("first")


class Replay:
    """One conversation: takes the actions of clients, and yields the messages that they receive."""

    def __init__(self, head: Line) -> None:
        guard = VectorAuthenticator(head["tokens"], head["epochMs"]) if "tokens" in head else None
        settings = head.get("settings", {})
        self._servers = TwoServers(head["epochMs"], settings) if head.get("servers") == 2 else None
        self._harness = self._servers.first if self._servers else NodeHarness(guard, **settings)
        self._application = PresenceService(self._harness.node)
        assert self._harness.clock.now().epoch_ms == head["epochMs"], "conversations start when the fake clock does"
        self._started = self._harness.clock.monotonic()
        self._clients: dict[str, FakeConnection] = {}
        self._closed: set[str] = set()
        self._names: dict[tuple[str, Any], str] = {}
        """Name that replaces a value, by the kind of value and the value."""
        self._values: dict[str, Any] = {}

    def wait_until(self, at: float) -> Iterator[Line]:
        """Yield the messages until a time."""
        at += self._started
        while (left := at - self._harness.clock.monotonic()) > 0:
            self._harness.clock.advance(min(left, 0.1))
            yield from self._new_messages()

    def do(self, line: Line) -> Iterator[Line]:
        """Perform an action now. Yield the messages that result."""
        self._do(line)
        self._harness.clock.run_soon()
        yield from self._new_messages()

    def _do(self, line: Line) -> None:
        name = line.get("client", "")
        match line["do"]:
            case "connect":
                query = "&".join(
                    f"{key}={self._values.get(value, value)}"
                    for key, _, value in (part.partition("=") for part in line["query"].split("&"))
                )
                self._clients[name] = self._harness.open(query, line.get("subprotocol", ""), line.get("token", ""))
                self._closed.discard(name)
            case "send":
                text = line["text"] if "text" in line else json.encode(line["message"]).decode()
                self._clients[name].heard_at = self._harness.clock.monotonic()  # as the transport sets it
                self._harness.node.received(self._clients[name], text)
            case "close":
                self._harness.end(self._clients.pop(name), client_ending(line["code"]))
            case "lose":
                self._harness.end(self._clients.pop(name), client_ending(1006))
            case "go silent":
                self._clients[name].answers = False
            case "claim" | "claim no longer" | "choose for" | "announce" | "disconnect":
                self._do_as_a_backend(line)
            case "connect elsewhere" | "close elsewhere" | "lose the store" | "reach the store":
                assert self._servers is not None, "this needs two servers"
                self._servers.do(line["do"], line.get("userId", ""))
            case "wait":
                pass
            case other:
                raise AssertionError(f"nobody can do {other}")

    def _do_as_a_backend(self, line: Line) -> None:
        user_id = line["userId"]
        match line["do"]:
            case "claim":
                claim = line["claim"]
                made = Claim(
                    claim["source"], Status(claim["status"]), StatusDetails(claim.get("text", "")), claim["priority"]
                )
                self._application.set_claim(user_id, made, claim.get("expiresIn"))
            case "claim no longer":
                assert self._application.clear_claim(user_id, line["source"])
            case "choose for":
                choice = choice_of(line["status"], line.get("text", ""))
                self._application.set_status(user_id, choice, line.get("expiresIn"))
            case "announce":
                self._application.announce(user_id, line["online"])
            case "disconnect":
                self._application.disconnect(user_id)

    def _new_messages(self) -> Iterator[Line]:
        at = round(self._harness.clock.monotonic() - self._started, 3)
        for name, connection in self._clients.items():
            for message in self._harness.all_new_messages(connection):
                yield {"at": at, "client": name, "do": "hear", "message": self._named(message)}
            if connection.closed_with and name not in self._closed:
                self._closed.add(name)
                yield {"at": at, "client": name, "do": "be closed", "code": connection.closed_with[0].code}

    def _named(self, value: Any, field: str = "", user_id: object = "") -> Any:
        """Return the value with names in place of what the server made up."""
        if isinstance(value, dict):
            return {key: self._named(part, key, value.get("userId")) for key, part in value.items()}
        if isinstance(value, list):
            return [self._named(part) for part in sorted(value, key=_user_of)]
        if (kind := CHOSEN_BY_THE_SERVER.get(field)) is None:
            return value
        if kind == "version":
            kind = f"version-{user_id}-"
        name = self._names.get((kind, value))
        if name is None:
            number = sum(other == kind for other, _ in self._names) + 1
            name = self._names[kind, value] = f"${kind}{number}"
            self._values[name] = value
        return name


def _user_of(part: Any) -> str:
    """Return the key that lists are sorted by, because their order means nothing."""
    return str(part.get("userId") if isinstance(part, dict) else part)


def recorded(lines: list[Line]) -> list[Line]:
    """Return all lines of a conversation, with the messages that the node sends now."""
    head, *rest = lines
    replay, found = Replay(head), [head]
    for line in rest:
        if line["do"] not in (*HEARD, "expect"):
            found += replay.wait_until(line["at"])
            found.append(line)
            found += replay.do(line)
    return found


def lines_of(path: Path) -> list[Line]:
    """Return the lines of a file of vectors."""
    return [json.decode(line) for line in path.read_text("utf-8").splitlines()]


if __name__ == "__main__":
    logging.disable()  # conversations cut a node off from its store, which warns operators
    for path in FILES:
        lines = with_expectations(recorded(lines_of(path)))
        path.write_text("".join(json.encode(line).decode() + "\n" for line in lines), "utf-8")
        sys.stdout.write(f"{path.name}\n")
