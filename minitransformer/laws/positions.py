"""Laws of positions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import ROUNDING, SUM, assert_close, assert_same

Function = Callable[..., Tensor]

EVEN_WIDTHS = tuple(range(2, 17, 2))
"""Widths at which every sine has its cosine."""


@dataclass(frozen=True)
class TableCase:
    """The size of a table: a row for each position, a column for each number that marks it."""

    length: int
    d_model: int

    @property
    def scale(self) -> float:
        """The largest angle on the way to an entry; a sine hands its rounding on as it is."""
        return float(self.length)


def table_cases(widths: tuple[int, ...] = tuple(range(1, 17)), shortest: int = 1) -> st.SearchStrategy[TableCase]:
    """Tables down to a single position and a single column."""
    return st.builds(TableCase, length=st.integers(shortest, 30), d_model=st.sampled_from(widths))


def angles_of(d_model: int) -> Tensor:
    """The angle by which each pair of columns turns from one position to the next."""
    return 10_000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)


@law("sinusoids", given=table_cases())
def position_zero_is_zero_and_one(sinusoids: Function, case: TableCase) -> None:
    """Position 0 is 0 in the even columns and 1 in the odd ones, at any width, odd ones too.

    Kills: sine and cosine swapped; all sines before all cosines; positions that start at 1.
    Hint: Print the row of position 0. What are the sine and the cosine of 0, and in which columns do they belong?
    """
    first = sinusoids(case.length, case.d_model)[0]
    assert not first[0::2].any(), "every sine of position 0 should be 0"
    assert (first[1::2] == 1).all(), "every cosine of position 0 should be 1"


@law("sinusoids", given=table_cases(EVEN_WIDTHS, shortest=2))
def a_shift_turns_each_pair(sinusoids: Function, case: TableCase) -> None:
    """A shift by one position turns each pair of columns by its angle, wherever it starts.

    Kills: sine and cosine of different wavelengths in one pair; positions that are scaled by the length.
    Hint: Draw columns 0 and 1 of each position as points of a plane, then columns 2 and 3. Is each drawing a circle?
    """
    table = sinusoids(case.length, case.d_model).double()
    sine, cosine = table[:, 0::2], table[:, 1::2]
    sine_step, cosine_step = sine[1], cosine[1]
    turned_sine = sine[:-1] * cosine_step + cosine[:-1] * sine_step
    turned_cosine = cosine[:-1] * cosine_step - sine[:-1] * sine_step
    scale = 2 * case.scale
    assert_close(turned_sine.float(), sine[1:].float(), SUM, scale, what="the sines, one position on")
    assert_close(turned_cosine.float(), cosine[1:].float(), SUM, scale, what="the cosines, one position on")


@law("sinusoids", given=table_cases(EVEN_WIDTHS, shortest=2))
def wavelengths_grow_by_a_constant_factor(sinusoids: Function, case: TableCase) -> None:
    """From one position to the next the first pair turns by 1, and pair i by 10000^(−2i / d_model).

    Kills: 10000 · 2i / d for the power; the exponent 4i / d or i / d; 2i counted over columns in place of pairs.
    Hint: At width 4 there are two pairs. By how much should the second turn at each position, and how much does yours?
    """
    second = sinusoids(case.length, case.d_model)[1].double()
    angle = torch.atan2(second[0::2], second[1::2])
    assert_close(angle.float(), angles_of(case.d_model), SUM, what="the angles between two positions")


@law("sinusoids", given=table_cases())
def a_longer_table_begins_with_the_shorter_one(sinusoids: Function, case: TableCase) -> None:
    """A longer table begins with the shorter one, bit for bit.

    Kills: positions that are scaled by the length.
    Hint: Print position 1 of a table of 2 and of a table of 20. Does a position know how many come after it?
    """
    longer = sinusoids(2 * case.length + 1, case.d_model)[: case.length]
    assert_same(longer, sinusoids(case.length, case.d_model), what="the beginning of a longer table")


@law("sinusoids", given=table_cases(EVEN_WIDTHS))
def each_pair_is_the_parts_of_a_complex_number(sinusoids: Function, case: TableCase) -> None:
    """Each pair is the imaginary and the real part of exp(i · pos · angle).

    Kills: sine and cosine swapped; a cosine of another angle than its sine; angles in degrees.
    Hint: A point that runs round a circle has a height and a distance to the right. Which of them stands first?
    """
    table = sinusoids(case.length, case.d_model)
    position = torch.arange(case.length, dtype=torch.float64)[:, None]
    expected = torch.exp(1j * position * angles_of(case.d_model))
    assert_close(table[:, 0::2], expected.imag, SUM, case.scale, what="the imaginary part")
    assert_close(table[:, 1::2], expected.real, SUM, case.scale, what="the real part")


@law("sinusoids", given=table_cases())
def the_table_agrees_with_the_reference(sinusoids: Function, case: TableCase) -> None:
    """The table agrees with the reference, entry by entry, at odd widths too.

    Kills: a column too few or too many at an odd width; the width rounded to an even one in the exponent.
    Hint: Print a table of width 3 beside one of width 4. Which columns are there, and which angle has the last one?
    """
    expected = reference.positions.sinusoids(case.length, case.d_model)
    assert_close(sinusoids(case.length, case.d_model), expected, ROUNDING, case.scale)
