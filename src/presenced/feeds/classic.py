"""What watchers of the classic protocol are sent: every turn from offline to online and back, of everyone else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from presenced.core.model import Change
from presenced.outbox import Missed, Portion, Watcher
from presenced.wire.classic import change_frame

CATCH_UP = 256
"""Changes written at a time to a watcher that catches up: some 20 KB, well below a transport's write buffer."""


class ClassicFeed:
    """Implements `outbox.Feed`.

    Args:
        since: The changes after a position, each user once, or None: `Directory.since`.
        connections: A user's own connections, which hear nothing of that user: `Directory.connections`.
    """

    def __init__(
        self,
        since: Callable[[int, int], list[Change] | None],
        connections: Callable[[str], Sequence[object]],
    ) -> None:
        self._since = since
        self._connections = connections
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

    def portions(self, batch: Sequence[Change], joined: Mapping[Watcher, int]) -> Iterable[Portion]:
        """One for all that were there when the batch began, and one each for the others."""
        if not self._watchers:
            return
        frames: list[bytes] = []
        starts = [0]  # where in `frames` each index of the batch begins
        owners: dict[object, list[int]] = {}  # who would hear of themselves, and where
        for index, change in enumerate(batch):
            if change.is_turn:
                for connection in self._connections(change.user_id):
                    if index >= joined.get(connection, 0):  # type: ignore[call-overload]  # any key may be asked for
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
        changes = self._since(position, CATCH_UP)
        if changes is None:
            return None
        frames = [change_frame(change) for change in changes if watcher not in self._connections(change.user_id)]
        portion = Portion((watcher,), b"".join(frames), len(frames))
        return Missed(iter((portion,) if frames else ()), changes[-1].position if changes else position)
