"""Figures as tables, to print and to put into a page."""

from collections.abc import Sequence
from typing import Any


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as Markdown; a column is there if any row has it.

    >>> print(as_table([{"head": "words", "loss": 1e-9}]))
    | head | loss |
    | --- | --- |
    | words | 1.0e-09 |
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([in_short(row.get(name)) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_short(cell: Any) -> str:
    """A cell: differences to two digits, ranges as such, what was measured in turns to three digits with its spread.

    >>> in_short({"median": 2.648, "low": 2.6, "high": 2.71})
    '2.65 (2.60 to 2.71)'
    >>> in_short(1234567)
    '1,234,567'
    """
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, dict):
        low, middle, high = (three_digits(cell[name]) for name in ("low", "median", "high"))
        return middle if low == high else f"{middle} ({low} to {high})"
    if isinstance(cell, list):
        low, high = (f"{value:.3f}" for value in cell)
        return low if low == high else f"{low} to {high}"
    if isinstance(cell, float):
        return f"{cell:.1e}" if cell else "0"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def three_digits(value: float) -> str:
    """A positive number to three digits, without an exponent.

    >>> [three_digits(value) for value in (0.00123, 0.5, 12.34, 12345.6, 0)]
    ['0.00123', '0.500', '12.3', '12,300', '0']
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    n_decimals = next(n for n in range(20) if abs(rounded) * 10**n >= 99.9999 or n == 19)
    return f"{rounded:,.{n_decimals}f}"
