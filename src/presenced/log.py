"""The log lines of the contract, and the bound that keeps them from becoming the bottleneck."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import stat
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from logging.handlers import QueueHandler, QueueListener
from typing import Any, TextIO

from msgspec.json import Encoder

from presenced.clock import Clock, Timer
from presenced.core.identity import escaped
from presenced.core.model import Status
from presenced.wire.classic import timestamp, wire_user_id

logger = logging.getLogger("presenced")

MAX_WAITING = 10_000
"""Log records that may wait for a slow terminal or pipe; further ones are dropped and counted."""

LAST_WORDS = 2.0
"""Seconds that the end of the process waits for the last lines to be taken."""

MAX_QUOTED = 200
"""Maximum number of characters of a client's text in one line. The rest is omitted."""

_WORDS = {
    "user_connected": "connected",
    "user_disconnected": "disconnected",
    "user_online": "online",
    "user_offline": "offline",
    "broadcast": "broadcasts",
    "heartbeat_failed": "heartbeats failed",
    "refused": "refused",
    "turned_away": "refused before the upgrade",
}


class EventLog:
    """Writes one line per event, in the words of the contract.

    Bound: `burst` lines a second. Further lines are counted by kind, and one line reports the counts at the end of the
    second. The formatters escape characters that end a line or control a terminal.

    Args:
        anonymous: Write a dash in place of each id.
    """

    def __init__(self, clock: Clock, timer: Timer, burst: int, anonymous: bool = False) -> None:
        self._clock = clock
        self._timer = timer
        self._burst = burst
        self._anonymous = anonymous
        self._left = 0
        self._second_ends = float("-inf")
        self._unsaid: Counter[str] = Counter()

    def connected(self, user_id: str) -> None:
        """A connection of the user opened."""
        if self._admit("user_connected"):
            self._say_of(user_id, "user_connected", "🚀 WS: User %s connected")

    def disconnected(self, user_id: str) -> None:
        """A connection of the user ended."""
        if self._admit("user_disconnected"):
            self._say_of(user_id, "user_disconnected", "🔌 WS: User %s disconnected")

    def heartbeat_failed(self, user_id: str) -> None:
        """A connection of the user did not answer."""
        if self._admit("heartbeat_failed"):
            self._say_of(user_id, "heartbeat_failed", "💔 WS: User %s heartbeat failed - disconnecting")

    def changed(self, user_id: str, status: Status, users_told: int) -> None:
        """The user's status changed and so many other users are told."""
        event = f"user_{status}"
        if self._admit(event):
            self._say_of(user_id, event, "📡 WS: User %s is %s", status.name)
        if self._admit("broadcast"):
            _say("broadcast", "📡 WS: Broadcast sent to %d users", users_told, users=users_told)

    def refused(self, code: str, reason: str) -> None:
        """A WebSocket was refused."""
        if self._admit("refused"):
            _say("refused", "⛔ WS: Refused, %s: %s", code, reason, code=code, reason=reason)

    def turned_away(self, status: int, code: str, reason: str, origin: str, setting: str) -> None:
        """Log the refusal of a request before it became a WebSocket, or by the HTTP side because of its page or host.

        Args:
            reason: The fault and the remedy. Text from the client in it is quoted.
            origin: Origin of the page that sent the request, quoted; empty if there is none.
            setting: Name of the setting that decides; empty if there is none.
        """
        if self._admit("turned_away"):
            fields = {"status": status, "code": code, "reason": reason, "origin": origin, "setting": setting}
            _say("turned_away", "⛔ HTTP: Refused, %d %s: %s", status, code, reason, **fields)

    def stats(self, users: int, connections: int) -> None:
        """The statistics line."""
        message = "📊 WS Stats: %d users, %d connections"
        _say("stats", message, users, connections, users=users, connections=connections)

    def _say_of(self, user_id: str, event: str, message: str, *more: object) -> None:
        name = "-" if self._anonymous else user_id
        _say(event, message, name, *more, userId=wire_user_id(name))

    def _admit(self, event: str) -> bool:
        if not logger.isEnabledFor(logging.INFO):
            return False
        now = self._clock.monotonic()
        if now >= self._second_ends:
            self._second_ends = now + 1
            self._left = self._burst
        if self._left > 0:
            self._left -= 1
            return True
        if not self._unsaid:
            self._timer.set(self._sum_up, self._second_ends)
        self._unsaid[event] += 1
        return False

    def _sum_up(self) -> None:
        counts, self._unsaid = self._unsaid, Counter()
        told = ", ".join(f"{count:,} {_WORDS[event]}" for event, count in counts.items())
        _say("summary", "📊 WS: Within a second also: %s", told, **counts)


def quoted(text: str) -> str:
    """Return a client's text in a form safe for a log line: printable ASCII, with escapes, at most `MAX_QUOTED`
    characters."""
    shown = ascii(text[:MAX_QUOTED])[1:-1][:MAX_QUOTED]
    return shown if len(text) <= MAX_QUOTED else f"{shown}..."


def _say(event: str, message: str, *arguments: object, **fields: object) -> None:
    """One line: as text the message with its arguments, as JSON also the event and its fields."""
    logger.info(message, *arguments, extra={"event": event, "fields": fields})


class TextFormatter(logging.Formatter):
    """Formatter that writes one line for each message, even with hostile text from a client or another server.

    A line break, an escape sequence or a character that changes the direction of text is written as a Python escape.
    The lines of a traceback are indented, so that none of them can pass for a message.

    Args:
        with_time: Begin with the time in UTC: `2024-01-01T12:00:00.000Z 🚀 WS: User 123 connected`.
    """

    def __init__(self, with_time: bool) -> None:
        super().__init__()
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        record = copy(record)
        record.exc_text = None  # cached by another handler
        text = super().format(record)
        return f"{timestamp(int(record.created * 1000))} {text}" if self._with_time else text

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging defines this name
        """Return the message in one line."""
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging defines this name
        """Return the traceback, indented."""
        return "\n".join("  " + escaped(line) for line in super().formatException(ei).split("\n"))


_NO_LINE_OF_ITS_OWN = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that JSON allows in a text, but that end a line or change its direction for some log readers."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, message, and the event's own fields."""

    _encoder = Encoder()

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line = {
            "time": timestamp(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        try:
            text = self._encoder.encode(line).decode()
        except UnicodeEncodeError:  # half a surrogate pair, which a file name may contain
            text = json.dumps(line)
        return _NO_LINE_OF_ITS_OWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _BoundedQueueHandler(QueueHandler):
    """Drops what does not fit instead of waiting for it."""

    dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(logging.StreamHandler[TextIO]):
    """Says once, on standard error, that lines can't be written (a broken pipe, a full disk), and goes on trying."""

    _failing = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()
            self._failing = False
        except OSError as error:
            if not self._failing:
                sys.stderr.write(f"presenced: log lines can't be written: {error.strerror}; the server goes on\n")
            self._failing = True


def give_up_output() -> None:
    """At the end of the process: what standard output still holds and can't take must not fail the exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_time(when: str, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether text lines to `stream` begin with the time.

    Args:
        when: The setting `log_time`. With `auto` they do, except on a terminal and in the journal.
    """
    return when == "always" or (when == "auto" and not (stream.isatty() or _goes_to_journal(stream, environ)))


def _goes_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether systemd connected the stream to the journal, which stamps every line.

    `JOURNAL_STREAM` has the device and inode of the connection (man page systemd.exec). If standard output and standard
    error have a connection each, it describes that of standard error. Standard output is then another socket.
    """
    try:
        ours, error = os.fstat(stream.fileno()), os.fstat(2)
    except OSError:
        return False
    journal = environ.get("JOURNAL_STREAM", "")
    is_error = journal == f"{error.st_dev}:{error.st_ino}"
    return journal == f"{ours.st_dev}:{ours.st_ino}" or (is_error and stat.S_ISSOCK(ours.st_mode))


def _formatter(form: str, when: str, stream: TextIO) -> logging.Formatter:
    if form == "json":
        return JsonFormatter()
    return TextFormatter(wants_time(when, stream, os.environ))


def configure_helper(form: str = "text", when: str = "auto") -> None:
    """Send the warnings of a helper process to standard error, in the form of the server's log lines.

    Args:
        form: The setting `log_format`.
        when: The setting `log_time`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(form, when, sys.stderr))
    logging.getLogger().addHandler(handler)


def configure(level: str, form: str, when: str = "auto") -> Callable[[], None]:
    """Send log lines to standard output from a thread, so that a full pipe or a paused terminal does not block the
    server.

    For the command only. A program that embeds the server configures logging itself.

    Args:
        level: The setting `log_level`.
        form: The setting `log_format`.
        when: The setting `log_time`.

    Returns:
        Function to call at the end. It writes the waiting lines, for at most `LAST_WORDS` seconds.
    """
    writer = _Writer(sys.stdout)
    formatter = _formatter(form, when, sys.stdout)
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(MAX_WAITING)
    listener = QueueListener(waiting, writer)
    root = logging.getLogger()
    waiting_handler = _BoundedQueueHandler(waiting)
    if form == "json":
        writer.setFormatter(formatter)
    else:  # A queue's handler merges message and traceback into one text, which cannot be escaped afterwards.
        waiting_handler.setFormatter(formatter)
    root.addHandler(waiting_handler)
    root.setLevel(logging.WARNING)
    logger.setLevel(level.upper())
    listener.start()

    def finish() -> None:
        def stop() -> None:
            with contextlib.suppress(queue.Full):  # nobody reads; nothing more can be said
                listener.stop()

        stopper = threading.Thread(target=stop, daemon=True)
        stopper.start()
        stopper.join(LAST_WORDS)
        if waiting_handler.dropped:
            sys.stderr.write(
                f"presenced: {waiting_handler.dropped:,} log lines were dropped: nobody took them in time\n"
            )

    return finish
