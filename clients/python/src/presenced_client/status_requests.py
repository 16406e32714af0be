"""Choices of a status that wait for their answer.

SET_STATUS is the one request that must not be repeated blindly, because another device may have chosen since. After a
loss, the next SELF shows whether the server had accepted the choice; otherwise it is sent again.

An accepted choice may take effect later (`status_pause`). If the server starts anew before SELF has shown it, it is
lost there, and is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from presenced_client.errors import PresenceError
from presenced_client.requested_state import Request
from presenced_client.self import Choice, Self


@dataclass
class StatusAnswer:
    """Answer to a choice: accepted if `done` without an `error`."""

    done: bool = False
    error: PresenceError | None = None


@dataclass
class _Group:
    """One choice, with the answers that wait for it."""

    choice: Choice
    answers: list[StatusAnswer] = field(default_factory=list)

    def complete(self, error: PresenceError | None = None) -> None:
        for answer in self.answers:
            answer.done, answer.error = True, error


class StatusRequests:
    """Choices that wait to be sent or answered. Of several that wait to be sent, the last one counts."""

    def __init__(self) -> None:
        self._waiting: _Group | None = None
        self._sent: dict[int, _Group] = {}
        self._unclear: _Group | None = None
        """A choice whose answer was lost. The next SELF decides."""
        self._accepted: Choice | None = None
        """The last choice that the server has accepted, and not shown yet."""
        self._shown: Self | None = None
        self._epoch = ""

    def choose(self, choice: Choice) -> StatusAnswer:
        """Choose a status with the next request."""
        answer = StatusAnswer()
        self._wait(_Group(choice, [answer]))
        return answer

    def unanswered(self) -> list[Request]:
        """Return the requests without an answer."""
        groups = [self._unclear, *self._sent.values(), self._waiting]
        return [{"type": "SET_STATUS", "status": group.choice.status} for group in groups if group]

    @property
    def choice_to_show(self) -> Choice | None:
        """The last choice that the server may not have received, or has not shown yet; None if there is none."""
        group = self._waiting or self._unclear
        return group.choice if group else self._accepted

    def next_request(self, request_id: int, now: float) -> Request | None:
        """Return the request to send now; None if there is none."""
        group, self._waiting = self._waiting, None
        if group is None:
            return None
        if group.choice.ends_at is not None and group.choice.ends_at <= now:
            group.complete()  # it would have ended by now
            return None
        self._sent[request_id] = group
        return group.choice.request(now)

    @property
    def is_waiting(self) -> bool:
        """Whether a choice waits to be sent."""
        return self._waiting is not None

    def answered(self, request_id: object, error: PresenceError | None) -> bool:
        """Complete the answers to the choice that was sent with this id. Return whether there is one."""
        group = self._sent.pop(request_id, None) if isinstance(request_id, int) else None
        if group is None:
            return False
        if error is not None and error.code == "RATE_LIMITED":
            self._wait_again(group)
        else:
            if error is None and (self._shown is None or not group.choice.is_shown_by(self._shown)):
                self._accepted = group.choice
            group.complete(error)
        return True

    def lost(self) -> None:
        """The connection ended, so the answers of sent choices are lost."""
        groups = [*([self._unclear] if self._unclear else []), *self._sent.values()]
        self._sent.clear()
        self._unclear = None
        if groups:
            self._unclear = _Group(groups[-1].choice, [answer for group in groups for answer in group.answers])
            if self._waiting is not None:
                group, self._unclear = self._unclear, None
                self._wait_again(group)

    def connected(self, epoch: str) -> None:
        """A connection is open. If the server has started anew, the next SELF shows whether it has the choice."""
        is_same, self._epoch = epoch == self._epoch, epoch
        if is_same:
            return
        choice, self._accepted, self._shown = self._accepted, None, None
        if choice is not None and self._unclear is None and self._waiting is None:
            self._unclear = _Group(choice)

    def own_arrived(self, own: Self) -> bool:
        """Decide about a choice without an answer. Return whether it must be sent again."""
        if self._shown is not None and _choice(self._shown) != _choice(own):
            self._accepted = None  # it is shown, or a later one of another device
        self._shown = own
        group, self._unclear = self._unclear, None
        if group is None:
            return False
        if group.choice.is_shown_by(own):
            group.complete()
            return False
        self._wait_again(group)
        return True

    def _wait(self, group: _Group) -> None:
        for earlier in (self._unclear, self._waiting):
            if earlier is not None:
                group.answers = [*earlier.answers, *group.answers]
        self._unclear, self._waiting = None, group

    def _wait_again(self, group: _Group) -> None:
        """Send a choice again, unless a newer one waits, which then answers both."""
        if self._waiting is None:
            self._waiting = group
        else:
            self._waiting.answers = [*group.answers, *self._waiting.answers]


def _choice(own: Self) -> tuple[object, ...]:
    """Return what a SELF says about the user's choice."""
    return own.chosen, own.own_text, own.own_emoji, own.own_until, own.data
