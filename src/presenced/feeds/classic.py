"""What watchers of the classic protocol are sent: every turn from offline to online and back, of everyone else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from presenced.core.directory import Directory
from presenced.core.model import Change
from presenced.outbox import Event, Missed, Portion, Watcher
from presenced.wire.classic import change_frame

CATCH_UP = 256
"""Changes written at a time to a watcher that catches up: some 20 KB, well below a transport's write buffer."""


class ClassicFeed:
    """Implements `outbox.Feed`."""

    def __init__(self, directory: Directory[Any]) -> None:
        self._directory = directory
        self._watchers: dict[Watcher, None] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    def join(self, watcher: Watcher) -> None:
        """It keeps up."""
        self._watchers[watcher] = None

    def leave(self, watcher: Watcher) -> bool:
        """It does not, or is gone."""
        if watcher not in self._watchers:
            return False
        del self._watchers[watcher]
        return True

    def portions(self, batch: Sequence[Event], joined: Mapping[Watcher, int]) -> Iterable[Portion]:
        """One for all that were there when the batch began, and one each for the others."""
        if not self._watchers:
            return
        frames: list[bytes] = []
        starts = [0]  # where in `frames` each index of the batch begins
        owners: dict[object, list[int]] = {}  # who would hear of themselves, and where
        for index, change in enumerate(batch):
            if isinstance(change, Change) and change.is_turn:
                for connection in self._directory.connections(change.user_id):
                    if index >= joined.get(connection, 0):
                        owners.setdefault(connection, []).append(len(frames))
                frames.append(change_frame(change))
            starts.append(len(frames))
        apart = {w for w in (*joined, *owners) if w in self._watchers} if joined or owners else ()
        common = tuple(w for w in self._watchers if w not in apart) if apart else tuple(self._watchers)
        for watcher in apart:
            hidden = owners.get(watcher, ())
            picked = [frames[i] for i in range(starts[joined.get(watcher, 0)], len(frames)) if i not in hidden]
            if picked:
                yield Portion((watcher,), b"".join(picked), len(picked))
        if frames:
            yield Portion(common, b"".join(frames), len(frames))

    def missed(self, watcher: Watcher, position: int) -> Missed | None:
        """The last change of each user who changed."""
        now = self._directory.position
        changes = self._directory.since(position, CATCH_UP)
        if changes is None:
            return None
        if len(changes) == CATCH_UP:
            now = changes[-1].position
        frames = [
            change_frame(change) for change in changes if watcher not in self._directory.connections(change.user_id)
        ]
        portion = Portion((watcher,), b"".join(frames), len(frames))
        return Missed(iter((portion,) if frames else ()), now)
