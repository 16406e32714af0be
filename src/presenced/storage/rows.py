"""Facts to rows, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from presenced.presence.model import Change
from presenced.storage.records import Record, StoredChoice, StoredClaim, StoredRevocation, StoredSession, StoredUser

Row = dict[str, Any]

MAX_ADDRESS = 64

NO_JSON = Raw()
"""It is left out."""


class Choice(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a person chose, as it is kept."""

    status: str
    """Empty: as detected."""
    text: str = ""
    emoji: str = ""
    data: Raw = NO_JSON
    until: int = 0


class Details(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What goes with a status, as it is kept."""

    text: str = ""
    emoji: str = ""
    data: Raw = NO_JSON
    until: int = 0
    devices: tuple[str, ...] = ()


class Rows:
    """What a batch of facts comes to, table by table: of two facts about the same the newer one."""

    def __init__(self, facts: Iterable[Record], node: str, epoch: str, with_changes: bool) -> None:
        self.users: dict[str, Row] = {}
        self.sessions: dict[str, Row] = {}
        self.changes: dict[int, Row] = {}
        self.claims: dict[tuple[str, str], Row | None] = {}
        """None: claimed no more."""
        self.revocations: dict[tuple[str, str], Row] = {}
        self._of = {"node": node, "epoch": epoch}
        for fact in facts:
            match fact:
                case StoredUser():
                    self.users[fact.user_id] = self._user(fact)
                case StoredSession():
                    self.sessions[fact.key] = self._session(fact)
                case Change():
                    if with_changes:
                        self.changes[fact.position] = self._change(fact)
                case StoredClaim():
                    self.claims[fact.user_id, fact.source] = _claim(fact) if fact.status else None
                case StoredRevocation():
                    self.revocations[fact.kind, fact.subject] = msgspec.structs.asdict(fact)
                case _:
                    pass  # rooms: told of, not kept

    def _user(self, fact: StoredUser) -> Row:
        return {
            **self._of,
            "user_id": fact.user_id,
            "status": fact.status,
            "version": fact.version,
            "since_ms": fact.since_ms,
            "seen_ms": fact.seen_ms,
            "active_ms": fact.active_ms,
            "chosen": choice_text(fact.chosen),
            "timed": choice_text(fact.timed),
            "display": fact.display.decode() or None,
        }

    def _session(self, fact: StoredSession) -> Row:
        return {
            **self._of,
            "session_key": fact.key,
            "user_id": fact.user_id,
            "connection_id": fact.connection_id,
            "session": fact.session,
            "protocol": fact.protocol,
            "device": fact.device,
            "address": fact.address[:MAX_ADDRESS] or None,
            "opened_ms": fact.opened_ms,
            "closed_ms": fact.closed_ms or None,
            "reason": fact.reason,
        }

    def _change(self, fact: Change) -> Row:
        custom = fact.view.custom
        details = Details(custom.text, custom.emoji, _json(custom.data), custom.until_ms, fact.view.devices)
        text = msgspec.json.encode(details).decode()
        return {
            "epoch": self._of["epoch"],
            "position": fact.position,
            "user_id": fact.user_id,
            "version": fact.version,
            "status": fact.status.value,
            "was": fact.was.value,
            "cause": fact.cause.value,
            "at_ms": fact.at.epoch_ms,
            "since_ms": fact.since_ms,
            "details": None if text == "{}" else text,
        }


def _claim(fact: StoredClaim) -> Row:
    return {
        "user_id": fact.user_id,
        "source": fact.source,
        "status": fact.status,
        "text": fact.text,
        "emoji": fact.emoji,
        "data": fact.data.decode() or None,
        "priority": fact.priority,
        "set_ms": fact.set_ms,
        "until_ms": fact.until_ms or None,
    }


def claim_from(row: Mapping[str, Any]) -> StoredClaim:
    """The other way round."""
    data = (row["data"] or "").encode()
    return StoredClaim(
        row["user_id"], row["source"], row["status"], row["text"], row["emoji"], data, row["priority"], row["set_ms"],
        row["until_ms"] or 0,
    )  # fmt: skip


def choice_text(choice: StoredChoice | None) -> str | None:
    """As it is kept."""
    if choice is None:
        return None
    kept = Choice(choice.status, choice.text, choice.emoji, _json(choice.data), choice.until_ms)
    return msgspec.json.encode(kept).decode()


def _json(data: bytes) -> Raw:
    return Raw(data) if data else NO_JSON


def choice_from(text: str | None) -> StoredChoice | None:
    """The other way round; None also for what somebody else has written there and that can't be read."""
    if not text:
        return None
    try:
        kept = msgspec.json.decode(text, type=Choice)
    except msgspec.MsgspecError:
        return None
    return StoredChoice(kept.status, kept.text, kept.emoji, bytes(kept.data), kept.until)
