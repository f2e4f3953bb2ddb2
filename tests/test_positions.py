"""Laws of positions."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import ROUNDING, SUM, assert_close, assert_same
from torch import Tensor

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.positions import sinusoids

Table = Callable[[int, int], Tensor]
lengths = st.integers(1, 30)
widths = st.integers(1, 16)


def position_zero_is_zero_and_one(sinusoids: Table, length: int, d_model: int) -> None:
    first = sinusoids(length, d_model)[0]
    assert not first[0::2].any(), "every sine of position 0 should be 0"
    assert (first[1::2] == 1).all(), "every cosine of position 0 should be 1"


@pytest.mark.equation("sinusoids")
@given(length=lengths, d_model=widths)
def test_position_zero_is_zero_and_one(length: int, d_model: int) -> None:
    """Position 0 is 0 in the even columns and 1 in the odd ones, at any width, odd ones too.

    Kills: sine and cosine swapped; all sines before all cosines; positions that start at 1.
    """
    position_zero_is_zero_and_one(sinusoids, length, d_model)


def a_shift_turns_each_pair(sinusoids: Table, length: int, half_width: int) -> None:
    table = sinusoids(length + 1, 2 * half_width).double()
    sine, cosine = table[:, 0::2], table[:, 1::2]
    sine_step, cosine_step = sine[1], cosine[1]
    scale = 2.0 * length
    turned_sine = sine[:-1] * cosine_step + cosine[:-1] * sine_step
    turned_cosine = cosine[:-1] * cosine_step - sine[:-1] * sine_step
    assert_close(turned_sine.float(), sine[1:].float(), SUM, scale, what="the sines, one position on")
    assert_close(turned_cosine.float(), cosine[1:].float(), SUM, scale, what="the cosines, one position on")


@pytest.mark.equation("sinusoids")
@given(length=lengths, half_width=st.integers(1, 8))
def test_a_shift_turns_each_pair(length: int, half_width: int) -> None:
    """A shift by one position turns each pair of columns by its angle, wherever it starts.

    Kills: sine and cosine of different wavelengths in one pair; positions that are scaled by the length.
    """
    a_shift_turns_each_pair(sinusoids, length, half_width)


def wavelengths_grow_by_a_constant_factor(sinusoids: Table, half_width: int) -> None:
    second = sinusoids(2, 2 * half_width)[1].double()
    angle = torch.atan2(second[0::2], second[1::2])
    expected = torch.tensor([10_000.0 ** (-pair / half_width) for pair in range(half_width)])
    assert_close(angle.float(), expected, SUM, what="the angles between two positions")


@pytest.mark.equation("sinusoids")
@given(half_width=st.integers(1, 16))
def test_wavelengths_grow_by_a_constant_factor(half_width: int) -> None:
    """From one position to the next the first pair turns by 1, and pair i by 10000^(−2i / d_model).

    Kills: 10000 · 2i / d for the power; the exponent 4i / d or i / d; 2i counted over columns in place of pairs.
    """
    wavelengths_grow_by_a_constant_factor(sinusoids, half_width)


@pytest.mark.equation("sinusoids")
@given(length=lengths, more=lengths, d_model=widths)
def test_a_longer_table_begins_with_the_shorter_one(length: int, more: int, d_model: int) -> None:
    """A longer table begins with the shorter one, bit for bit.

    Kills: positions that are scaled by the length.
    """
    assert_same(sinusoids(length + more, d_model)[:length], sinusoids(length, d_model))


@pytest.mark.equation("sinusoids")
@given(length=lengths, d_model=widths)
def test_sinusoids_agree_with_the_reference(length: int, d_model: int) -> None:
    """The table agrees with the reference, entry by entry, in both float types."""
    expected = reference.positions.sinusoids(length, d_model)
    assert_close(sinusoids(length, d_model), expected, ROUNDING)
    torch.set_default_dtype(torch.float64)
    try:
        assert_close(sinusoids(length, d_model), expected, ROUNDING, 1.0 * length)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.equation("sinusoids")
@given(length=st.integers(2, 30), half_width=st.integers(1, 8))
def test_sinusoids_are_the_parts_of_complex_numbers(length: int, half_width: int) -> None:
    """Each pair is the imaginary and the real part of exp(i · pos · angle)."""
    table = torch.view_as_complex(sinusoids(length, 2 * half_width).unflatten(-1, (-1, 2)).flip(-1).contiguous())
    angle = 10_000.0 ** (-torch.arange(half_width, dtype=torch.float64) / half_width)
    expected = torch.exp(1j * torch.arange(length, dtype=torch.float64)[:, None] * angle)
    assert_close(torch.view_as_real(table), torch.view_as_real(expected), SUM)


@pytest.mark.parametrize(("length", "d_model"), [(0, 4), (4, 0), (-1, 4)])
def test_a_table_without_rows_or_columns_is_refused(length: int, d_model: int) -> None:
    with pytest.raises(InputError, match=f"length={length} and d_model={d_model} must both be at least 1"):
        sinusoids(length, d_model)
