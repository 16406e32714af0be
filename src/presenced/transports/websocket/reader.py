"""Frames from clients (RFC 6455 section 5): the library's parser, lent, and the one form that does without it."""

from __future__ import annotations

import logging
from types import GeneratorType
from typing import cast
from zlib import MAX_WBITS

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.protocol import OPEN, SERVER
from websockets.protocol import Protocol as FrameProtocol

try:  # in C; `websockets.frames` looks for it so, too
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_logger = logging.getLogger("presenced.websocket")
_logger.setLevel(logging.WARNING)  # the library would tell of every connection

_TEXT = 0x81  # the first byte of a whole text message that is not compressed
_MASKED = 0x80  # in the second byte, with a length up to 125
_LONGEST = 6 + 125


class FrameParsers:
    """Lends the library's frame parser to connections.

    Between two messages a parser knows nothing of its connection, so one serves all; a connection keeps it only
    while a message is incomplete or a closing handshake goes on. That saves 1.3 KiB per idle connection.
    """

    def __init__(self, max_message_size: int) -> None:
        self._max_size = max_message_size
        self._spare: dict[bool, FrameProtocol] = {}  # by whether it inflates

    def borrow(self, deflates: bool = False) -> FrameProtocol:
        """A parser in the state of a connection that just opened.

        Args:
            deflates: permessage-deflate was agreed on, without context takeover (RFC 7692 section 7.1.1).
        """
        parser = self._spare.pop(deflates, None)
        if parser is None:
            parser = FrameProtocol(SERVER, state=OPEN, max_size=self._max_size, logger=_logger)
            if deflates:
                parser.extensions = [PerMessageDeflate(True, True, MAX_WBITS, MAX_WBITS)]
        return parser

    def give_back(self, parser: FrameProtocol) -> bool:
        """Take `parser` back if it stands between two messages; False when it is still needed."""
        # Between two frames the library's generator waits in StreamReader.at_eof, within one in Frame.parse.
        waits_in = cast("GeneratorType[None, None, None]", parser.parser).gi_yieldfrom
        between_frames = getattr(waits_in, "__name__", None) == "at_eof"
        if parser.state is not OPEN or parser.current_size is not None or not between_frames:
            return False
        self._spare[bool(parser.extensions)] = parser
        return True

    def end_failed(self, parser: FrameProtocol) -> bool:
        """Let go of `parser` if it has failed: whatever comes is discarded then (RFC 6455 section 7.1.7)."""
        if parser.parser_exc is None:
            return False
        self.end(parser)
        return True

    @staticmethod
    def end(parser: FrameProtocol) -> None:
        """Let go of a parser that is not given back.

        It, its generator, and the traceback of what made it fail refer to each other, with what was inflated last in
        between: 256 KiB, left to a collector that may have set them aside for good (`garbage.py`).
        """
        parser.parser.close()
        parser.parser_exc = None


def small_text(data: bytes) -> bytes | None:
    """What a client said, if `data` is exactly one masked text message of at most 125 bytes, as nearly all requests
    are; to be asked between two messages only.

    That saves 5 of the 42 microseconds that a change of status costs altogether with the library.
    """
    if 6 <= len(data) <= _LONGEST and data[0] == _TEXT and data[1] == _MASKED | (len(data) - 6):
        return apply_mask(data[6:], data[2:6])
    return None
