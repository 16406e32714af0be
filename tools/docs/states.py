"""`spec/states.md`: what becomes of a connection and of a session, drawn from the tables and from what the rules do."""

from __future__ import annotations

from presenced.config.settings import Settings
from presenced.errors import ClientClose, Close, Problem
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import Ending
from presenced.presence.session import Grace
from presenced.presence.subscriptions import Subscription
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant

_ENDINGS = {
    Ending.CLOSED: f"closed deliberately (1000, 1005, 3000 to 4999 except {ClientClose.KEEP_SESSION.code})",
    Ending.GOING_AWAY: "page goes away (1001)",
    Ending.KEEP_SESSION: f"page is kept by the browser ({ClientClose.KEEP_SESSION.code})",
    Ending.LOST: "breaks (1006), or breaks a rule",
    Ending.TIMED_OUT: f"no answer to a ping ({Close.TIMED_OUT.code})",
    Ending.DISCONNECTED: f"application disconnects the user ({Close.DISCONNECTED.code})",
}

_NAMES = {
    "connected": "connected: shown",
    "waited": "waited for: shown as before",
    "resumable": "resumable: no longer shown",
}

Edge = tuple[str, str, str]


def states() -> str:
    """The document."""
    settings = Settings()
    codes = f"1001 and {ClientClose.KEEP_SESSION.code}"
    grace = f"{settings.grace_going_away:g} s after {codes}, {settings.grace_lost:g} s after a loss"
    return f"""# States

*Made from the tables and rules in `src/presenced` by `make docs`; don't edit it here.*

## A connection

```mermaid
{_diagram(connection_edges(), {})}
```

What to do after each code: [codes.md](codes.md).

## A session of presenced.v1

With the default settings: grace {grace}; resume window {settings.resume_window:g} s.

```mermaid
{_diagram(session_edges(settings), _NAMES)}
```

A classic connection is a session that can't be resumed by name: the user's next classic connection is taken for its
return while it is waited for, and nothing is left of it after that.
"""


def connection_edges() -> list[Edge]:
    """From the tables of codes."""
    server = [close for close in Close if close.code >= 1001]
    return [
        ("[*]", "GET with Upgrade", "handshake"),
        *[("handshake", f"{problem.status} {problem.name}", "refused") for problem in Problem],
        ("refused", "", "[*]"),
        ("handshake", "101, CONNECTION_ESTABLISHED", "open"),
        *[("open", f"{close.code} {close.name}", "closing") for close in server],
        ("open", "the client closes, or the connection breaks", "closed"),
        ("closing", "the client answers, or close_timeout is over", "closed"),
        ("closed", "", "[*]"),
    ]


def session_edges(settings: Settings) -> list[Edge]:
    """From what the directory does with each ending."""
    edges: dict[Edge, None] = {("[*]", "connect", "connected"): None}
    for ending, label in _ENDINGS.items():
        house = _House(settings)
        house.directory.close("ada", "first", ending, house.now(1))
        state = house.state()
        edges["connected", label, state] = None
        while state not in ("connected", "[*]"):
            edges[state, "resumes", house.resumed_from(ending, state)] = None
            before, label = state, "grace over" if state == "waited" else "resume window over"
            state = house.next_state()
            edges[before, label, state] = None
    house = _House(settings)
    house.directory.resume("session", "ada", "second", house.now(1))
    edges["connected", f"resumed by a newer connection (the older gets {Close.REPLACED.code})", house.state()] = None
    return list(edges)


class _House:
    """A directory with one session that is connected."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._time = 0.0
        limits = Limits(1000, 3600, 0, resume_window=settings.resume_window)
        grace = Grace(settings.grace_going_away, settings.grace_lost)
        self.directory: Directory[str] = Directory(grace, limits, Journal(1000))
        self.directory.open("ada", "first", self.now(0), "session", watch=Subscription())

    def now(self, later: float) -> Instant:
        self._time += later
        return Instant(self._time, int(self._time * 1000))

    def state(self) -> str:
        session = self.directory.users.sessions.get("session")
        if session is None:
            return "[*]"
        if session.connection:
            return "connected"
        return "waited" if session.is_present else "resumable"

    def next_state(self) -> str:
        """Let time pass until it is another one."""
        before = self.state()
        while self.state() == before:
            list(self.directory.expire(self.now(0.5)))
        return self.state()

    def resumed_from(self, ending: Ending, state: str) -> str:
        """What another one like this is when it is resumed in `state`."""
        other = _House(self._settings)
        other.directory.close("ada", "first", ending, other.now(1))
        while other.state() != state:
            other.next_state()
        other.directory.resume("session", "ada", "second", other.now(0.1))
        return other.state()


def _diagram(edges: list[Edge], names: dict[str, str]) -> str:
    lines = [f'    state "{text}" as {name}' for name, text in names.items()]
    lines += [f"    {start} --> {end}{': ' + label if label else ''}" for start, label, end in edges]
    return "\n".join(["stateDiagram-v2", *lines])
