"""Format and output of log lines.

Standard output may be a full pipe or a paused terminal. Writing to it would then block the event loop. So a thread
writes the lines, which it takes from a bounded queue:

    logger ──▶ queue (10,000 records) ──▶ thread ──▶ standard output
                 └─ full: drop the record and count it

The number of dropped lines is printed to standard error when the server stops. Lines contain text from clients, so both
formats escape everything that could end a line, control a terminal or pass for another message.
"""

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
from collections.abc import Callable, Mapping
from logging.handlers import QueueHandler, QueueListener
from typing import TextIO

from msgspec.json import Encoder

from presenced.runtime.instant import timestamp
from presenced.runtime.text import escaped

logger = logging.getLogger("presenced")

MAX_WAITING_RECORDS = 10_000
"""Maximum number of records that wait for a slow terminal or pipe. Further ones are dropped and counted."""

FINISH_TIMEOUT_S = 2.0
"""Seconds for which the process waits at its end until the last lines are written."""


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
        text = escaped(record.getMessage())
        if record.exc_info:
            text += "".join(f"\n  {escaped(line)}" for line in self.formatException(record.exc_info).split("\n"))
        if record.stack_info:
            text += f"\n{self.formatStack(record.stack_info)}"
        return f"{timestamp(int(record.created * 1000))} {text}" if self._with_time else text


_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that JSON allows in a string although they end a line or change its direction for some log readers."""


class JsonFormatter(logging.Formatter):
    """Formatter that writes one JSON object in each line: time, level, event, message, and the fields of the event.

    Args:
        node: Name of this node, for a field `node`; empty for none.
    """

    _encoder = Encoder()

    def __init__(self, node: str = "") -> None:
        super().__init__()
        self._about_node = {"node": node} if node else {}

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line = {
            "time": timestamp(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", None),
            "message": record.getMessage(),
            **self._about_node,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:  # only in a helper process: the server's queue handler has merged it into the message
            line["message"] += f"\n{self.formatException(record.exc_info)}"
        try:
            text = self._encoder.encode(line).decode()
        except UnicodeEncodeError:  # half a surrogate pair, which a file name may contain, and msgspec rejects
            text = json.dumps(line)
        return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class _BoundedQueueHandler(QueueHandler):
    """Queue handler that drops a record instead of waiting when the queue is full."""

    dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writer(logging.StreamHandler[TextIO]):
    """Stream handler that reports the first failed write (broken pipe, full disk) on standard error, and continues."""

    _is_failing = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + self.terminator)
            self.stream.flush()
            self._is_failing = False
        except OSError as error:
            if not self._is_failing:
                sys.stderr.write(f"presenced: log lines can't be written: {error.strerror}; the server continues\n")
            self._is_failing = True


def discard_output() -> None:
    """Discard buffered output that can't be written, so that Python's flush at the exit does not fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_time(log_time: str, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether text lines to `stream` begin with the time.

    Args:
        log_time: The setting. With `auto` they do, except on a terminal and in systemd's journal.
    """
    return log_time == "always" or (log_time == "auto" and not (stream.isatty() or _goes_to_journal(stream, environ)))


def _goes_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether systemd connected the stream to its journal, which adds the time to every line.

    `JOURNAL_STREAM` has the device and inode of the connection (man page systemd.exec). If standard output and standard
    error have separate connections, it describes that of standard error. Standard output is then another socket.
    """
    try:
        ours, error = os.fstat(stream.fileno()), os.fstat(2)
    except OSError:
        return False
    journal = environ.get("JOURNAL_STREAM", "")
    is_error = journal == f"{error.st_dev}:{error.st_ino}"
    return journal == f"{ours.st_dev}:{ours.st_ino}" or (is_error and stat.S_ISSOCK(ours.st_mode))


def _formatter(log_format: str, log_time: str, node: str, stream: TextIO) -> logging.Formatter:
    if log_format == "json":
        return JsonFormatter(node)
    return TextFormatter(wants_time(log_time, stream, os.environ))


def configure_helper(log_format: str = "text", log_time: str = "auto", node: str = "") -> None:
    """Send the warnings of a helper process to standard error, in the form of the server's log lines.

    Args:
        log_format: The setting.
        log_time: The setting.
        node: Name of the node, for JSON; empty for a server that is alone.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(log_format, log_time, node, sys.stderr))
    logging.getLogger().addHandler(handler)


def configure(level: str, log_format: str, log_time: str = "auto", node: str = "") -> Callable[[], None]:
    """Send log lines to standard output from a thread.

    A full pipe or a paused terminal does not block the server then. For the command only: a program that embeds the
    server configures logging itself.

    Args:
        level: The setting `log_level`.
        log_format: The setting.
        log_time: The setting.
        node: Name of the node, for JSON; empty for a server that is alone.

    Returns:
        Function to call at the end. It writes the waiting lines, for at most `FINISH_TIMEOUT_S` seconds.
    """
    writer = _Writer(sys.stdout)
    formatter = _formatter(log_format, log_time, node, sys.stdout)
    waiting: queue.Queue[logging.LogRecord] = queue.Queue(MAX_WAITING_RECORDS)
    listener = QueueListener(waiting, writer)
    root = logging.getLogger()
    waiting_handler = _BoundedQueueHandler(waiting)
    if log_format == "json":
        writer.setFormatter(formatter)
    else:  # on this handler, because its `prepare` merges message and traceback, which cannot be escaped afterwards
        waiting_handler.setFormatter(formatter)
    root.addHandler(waiting_handler)
    root.setLevel(logging.WARNING)
    logger.setLevel(level.upper())
    listener.start()

    def finish() -> None:
        def stop() -> None:
            with contextlib.suppress(queue.Full):  # nothing reads the output, so the thread cannot be stopped
                listener.stop()

        stopper = threading.Thread(target=stop, daemon=True)
        stopper.start()
        stopper.join(FINISH_TIMEOUT_S)
        if waiting_handler.dropped:
            sys.stderr.write(
                f"presenced: {waiting_handler.dropped:,} log lines were dropped, because the output was too slow\n"
            )

    return finish
