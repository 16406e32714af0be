"""Report of a benchmark, as text that reads well in a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple


class Table(NamedTuple):
    """Rows of figures under one header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        # The first column has names, the others figures, which align right.
        rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(
            "| " + " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) + " |"
            for line in [self.header, rule, *self.rows]
        )


class Report(NamedTuple):
    """A question, its answer, and the figures behind it."""

    question: str
    answer: str
    tables: Sequence[Table]
    notes: Sequence[str]
    figures: Mapping[str, Any]
    """Figures for programs: plain numbers, with units in their names."""

    def __str__(self) -> str:
        notes = ["\n".join(wrapped(note, "- ") for note in self.notes)] if self.notes else []
        return "\n\n".join([f"# {self.question}", wrapped(self.answer), *map(str, self.tables), *notes])


def wrapped(text: str, bullet: str = "") -> str:
    """Return a paragraph in lines of at most 100 characters, as the documents have them."""
    indent = " " * len(bullet)
    return fill(text, 100, initial_indent=bullet, subsequent_indent=indent, break_on_hyphens=False)


def times(figure: float, other: float) -> str:
    """Return the ratio of a figure to `other`, with a multiplication sign."""
    ratio = figure / other
    return (f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}") + "\N{MULTIPLICATION SIGN}"


def beside(own: str, figures: Mapping[str, float]) -> str:
    """Return the ratios of the figure of `own` to the others, in brackets; empty if there are no others."""
    others = [f"{times(figures[own], figure)} {name}" for name, figure in figures.items() if name != own]
    return f" ({', '.join(others)})" if others else ""
