"""Text that comes from outside: characters that names must not contain, and text that is safe to log."""

from __future__ import annotations

import re

_REFUSED = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # controls, category Cc
    "\u2028\u2029"  # the line and the paragraph separator, Zl and Zp
    "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates (UAX 9 section 2)
    "\ud800-\udfff"  # surrogates, Cs
    "\ufdd0-\ufdef" + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17)) + "]"
)
"""Characters that no name may contain.

Unicode's stability policy fixes the categories Cc, Zl, Zp and Cs and the noncharacters. So the allowed ids do not
depend on the Unicode version of Python. `docs/reference/websocket-classic.md` lists the same characters.
"""

MAX_QUOTED_CHARACTERS = 200
"""Maximum number of characters of a client's text in one line. The rest is omitted."""


def refused_character(text: str) -> str:
    """Return the first character that names must not contain, as `U+202E`; empty if there is none.

    Refused are controls, line and paragraph separators, surrogates, noncharacters, and characters that change the
    direction of the following text. Joiners, spaces of all kinds and unassigned characters are allowed, because scripts
    and emoji need them.
    """
    # No refused character is printable in any version of Unicode, so the cheaper test suffices for most strings.
    if text.isprintable() or (found := _REFUSED.search(text)) is None:
        return ""
    return f"U+{ord(found[0]):04X}"


def escaped(text: str) -> str:
    """Return a text that stays on one log line: characters not allowed in names become Python escapes."""
    return text if text.isprintable() else _REFUSED.sub(lambda found: ascii(found[0])[1:-1], text)


def quoted(text: str) -> str:
    """Return a client's text for a log line: printable ASCII, with escapes, and bounded by `MAX_QUOTED_CHARACTERS`."""
    shown = ascii(text[:MAX_QUOTED_CHARACTERS])[1:-1][:MAX_QUOTED_CHARACTERS]
    return shown if len(text) <= MAX_QUOTED_CHARACTERS else f"{shown}..."
