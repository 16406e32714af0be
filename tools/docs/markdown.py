"""Tables and paragraphs in Markdown."""

from __future__ import annotations

from textwrap import fill

COLUMNS = 100
"""Maximum length of a line of prose."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table with these cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def wrapped(text: str, columns: int = COLUMNS) -> str:
    """Return a paragraph in lines of at most `columns` characters."""
    return fill(text, columns, break_long_words=False, break_on_hyphens=False)


def bullets(items: list[str]) -> str:
    """Return a list whose items are wrapped."""
    return "\n".join(
        fill(item, COLUMNS, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for item in items
    )
