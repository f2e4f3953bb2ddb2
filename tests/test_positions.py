"""The float type of positions, and what is refused; their laws are in minitransformer/laws."""

import pytest
import torch
from hypothesis import given

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.laws.positions import TableCase, table_cases
from minitransformer.laws.tolerances import ROUNDING, assert_close
from minitransformer.positions import sinusoids


@pytest.mark.equation("sinusoids")
@given(case=table_cases())
def test_sinusoids_are_rounded_once(case: TableCase) -> None:
    """The table is computed in float64, whatever float type is the default, and rounded to that one at the end."""
    expected = reference.positions.sinusoids(case.length, case.d_model)
    assert_close(sinusoids(case.length, case.d_model), expected, ROUNDING)
    torch.set_default_dtype(torch.float64)
    try:
        assert_close(sinusoids(case.length, case.d_model), expected, ROUNDING, case.scale)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("length", "d_model"), [(0, 4), (4, 0), (-1, 4)])
def test_a_table_without_rows_or_columns_is_refused(length: int, d_model: int) -> None:
    with pytest.raises(InputError, match=f"length={length} and d_model={d_model} must both be at least 1"):
        sinusoids(length, d_model)
