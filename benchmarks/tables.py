"""Figures as tables, to print and to put into a page."""

from collections.abc import Sequence
from typing import Any


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as Markdown.

    >>> print(as_table([{"head": "words", "loss": 1e-9}]))
    | head | loss |
    | --- | --- |
    | words | 1.0e-09 |
    """
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(map(in_short, row.values())) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_short(cell: Any) -> str:
    """A cell: differences to two digits, ranges as such."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, list):
        low, high = (f"{value:.3f}" for value in cell)
        return low if low == high else f"{low} to {high}"
    if isinstance(cell, float):
        return f"{cell:.1e}" if cell else "0"
    return str(cell)
