"""What watchers of the classic protocol are sent: every turn from offline to online and back, of everyone else."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from presenced.presence.model import Change
from presenced.presence.subscriptions import Selection, SubscriptionIndex
from presenced.presence.users import Users
from presenced.protocols.base import Event, Missed, Portion, Watcher
from presenced.protocols.classic.codec import change_frame

CATCH_UP = 256
"""Changes written at a time to a watcher that catches up: some 20 KB, well below a transport's write buffer."""


class ClassicFeed:
    """Implements `broadcaster.Feed`."""

    def __init__(self, directory: Users[Any]) -> None:
        self._directory = directory
        self._watchers: dict[Watcher, None] = {}
        self._limited: SubscriptionIndex[Watcher] = SubscriptionIndex()
        """Those of them that may not see everyone, by whom they may see."""
        self._limits: dict[Watcher, Selection] = {}
        self._blocking: SubscriptionIndex[Watcher] = SubscriptionIndex()
        """Those that may see everyone but a few, by these few."""

    def __len__(self) -> int:
        return len(self._watchers) + len(self._limits)

    def join(self, watcher: Watcher) -> None:
        """It keeps up."""
        visibility = watcher.session.visibility
        if visibility.everyone:
            self._watchers[watcher] = None
            if visibility.blocked:
                self._blocking.add(watcher, Selection(users=visibility.blocked))
        else:
            self._limits[watcher] = visibility.of(Selection(everyone=True))
            self._limited.add(watcher, self._limits[watcher])

    def leave(self, watcher: Watcher) -> bool:
        """It does not, or is gone."""
        if (seen := self._limits.pop(watcher, None)) is not None:
            self._limited.remove(watcher, seen)
            return True
        if watcher not in self._watchers:
            return False
        del self._watchers[watcher]
        if blocked := watcher.session.visibility.blocked:
            self._blocking.remove(watcher, Selection(users=blocked))
        return True

    def portions(self, batch: Sequence[Event], joined: Mapping[Watcher, int]) -> Iterable[Portion]:
        """One for all that were there when the batch began, and one each for the others."""
        if not len(self):
            return
        turns = _Turns(batch)
        if self._limits:
            yield from self._portions_of_limited(turns, joined)
        if not self._watchers:
            return
        apart = self._apart(turns, joined)
        for watcher, untold in apart.items():
            frames = turns.frames_from(joined.get(watcher, 0), but=untold)
            if frames:
                yield Portion((watcher,), b"".join(frames), len(frames))
        for watcher, index in joined.items():
            if watcher in self._watchers and watcher not in apart and (count := turns.count_from(index)):
                yield Portion((watcher,), turns.data_from(index), count)
        if turns.frames:
            others = joined.keys() | apart.keys()
            common = tuple(w for w in self._watchers if w not in others) if others else tuple(self._watchers)
            yield Portion(common, turns.data_from(0), len(turns.frames))

    def part(self, watcher: Watcher, events: Sequence[Event]) -> Portion:
        """The changes of others that it may see."""
        turns, visibility = _Turns(events), watcher.session.visibility
        frames = [
            frame
            for frame, (_, user_id) in zip(turns.frames, turns.users, strict=True)
            if visibility.sees(user_id) and watcher not in self._directory.connections(user_id)
        ]
        return Portion((watcher,), b"".join(frames), len(frames))

    def _portions_of_limited(self, turns: _Turns, joined: Mapping[Watcher, int]) -> Iterable[Portion]:
        heard: dict[Watcher, list[int]] = {}
        for number, (index, user_id) in enumerate(turns.users):
            own = self._directory.connections(user_id)
            for watcher in self._limited.watchers_of(user_id):
                if index >= joined.get(watcher, 0) and watcher not in own:
                    heard.setdefault(watcher, []).append(number)
        for watcher, numbers in heard.items():
            yield Portion((watcher,), b"".join(turns.frames[number] for number in numbers), len(numbers))

    def _apart(self, turns: _Turns, joined: Mapping[Watcher, int]) -> dict[Watcher, set[int]]:
        """The watchers that would hear of themselves, or of whom they do not see, and in which frames."""
        found: dict[Watcher, set[int]] = {}
        for number, (index, user_id) in enumerate(turns.users):
            for watcher in chain(self._directory.connections(user_id), self._blocking.watchers_of(user_id)):
                if index >= joined.get(watcher, 0) and watcher in self._watchers:
                    found.setdefault(watcher, set()).add(number)
        return found

    def missed(self, watcher: Watcher, position: int) -> Missed | None:
        """The last change of each user who changed."""
        now = self._directory.journal.position
        changes = self._directory.since(position, CATCH_UP)
        if changes is None:
            return None
        if len(changes) == CATCH_UP:
            now = changes[-1].position
        visibility = watcher.session.visibility
        frames = [
            change_frame(change)
            for change in changes
            if visibility.sees(change.user_id) and watcher not in self._directory.connections(change.user_id)
        ]
        portion = Portion((watcher,), b"".join(frames), len(frames))
        return Missed(iter((portion,) if frames else ()), now)


class _Turns:
    """The frames of a batch, and where those of a later part begin."""

    def __init__(self, batch: Sequence[Event]) -> None:
        self.frames: list[bytes] = []
        self.users: list[tuple[int, str]] = []
        """For each frame the index in the batch, and of whom it tells."""
        self._starts: list[tuple[int, int]] = []  # for each index of the batch: frames before it, and their bytes
        size = 0
        for index, change in enumerate(batch):
            self._starts.append((len(self.frames), size))
            if isinstance(change, Change) and change.is_turn:
                self.users.append((index, change.user_id))
                self.frames.append(change_frame(change))
                size += len(self.frames[-1])
        self._starts.append((len(self.frames), size))
        self._data = b"".join(self.frames)

    def count_from(self, index: int) -> int:
        """Frames of the batch from `index` on."""
        return len(self.frames) - self._starts[index][0]

    def data_from(self, index: int) -> bytes:
        """Those frames, joined."""
        return self._data[self._starts[index][1] :]

    def frames_from(self, index: int, but: Container[int]) -> list[bytes]:
        """Those frames but some."""
        return [self.frames[number] for number in range(self._starts[index][0], len(self.frames)) if number not in but]
