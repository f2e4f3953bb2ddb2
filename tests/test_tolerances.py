"""The test's own ruler is measured first."""

import numpy as np
import pytest
import torch

from minitransformer.laws.tolerances import ROUNDING, as_array, assert_close, assert_same, eps_of

EPS32 = float(np.finfo(np.float32).eps)


def test_what_lies_within_the_tolerance_passes() -> None:
    assert_close(np.array([1.0 + 3 * EPS32]), torch.tensor([1.0]), c=4)


def test_what_lies_outside_the_tolerance_fails_and_is_described() -> None:
    with pytest.raises(AssertionError, match=r"the loss should be within c=2 · eps=1.19e-07 · scale=1 = 2.38e-07"):
        assert_close(torch.tensor([1.0 + 3 * EPS32]), torch.tensor([1.0]), c=2, what="the loss")


def test_the_message_names_the_place_and_both_numbers() -> None:
    with pytest.raises(AssertionError, match=r"of np.float64\(5.0\) at \(1, 0\), but is np.float64\(7.0\)"):
        assert_close(np.array([[1.0], [7.0]]), np.array([[1.0], [5.0]]))


def test_the_coarser_type_decides() -> None:
    float64, float32 = np.array([1.0 + 4 * EPS32]), torch.tensor([1.0])
    assert_close(float64, float32, c=ROUNDING)
    with pytest.raises(AssertionError):
        assert_close(float64, np.array([1.0]), c=ROUNDING)


def test_the_scale_widens_the_tolerance_in_proportion() -> None:
    with pytest.raises(AssertionError):
        assert_close(torch.tensor([1.0 + 40 * EPS32]), torch.tensor([1.0]), c=1, scale=10.0)
    assert_close(torch.tensor([1.0 + 40 * EPS32]), torch.tensor([1.0]), c=1, scale=100.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_neither_nan_nor_infinity_is_close_to_a_number(wrong: float) -> None:
    with pytest.raises(AssertionError):
        assert_close(np.array([wrong]), np.array([1.0]), c=1e30)


def test_nan_is_never_expected() -> None:
    with pytest.raises(AssertionError, match="the expected value itself is NaN"):
        assert_close(np.array([np.nan]), np.array([np.nan]))


def test_equal_infinities_are_close() -> None:
    assert_close(np.array([-np.inf]), np.array([-np.inf]))
    with pytest.raises(AssertionError):
        assert_close(np.array([np.inf]), np.array([-np.inf]))


def test_shapes_never_broadcast() -> None:
    with pytest.raises(AssertionError, match=r"should have shape \(3,\), but has \(1,\)"):
        assert_close(np.ones(1), np.ones(3))
    with pytest.raises(AssertionError, match=r"should have shape \(3,\), but has \(1,\)"):
        assert_same(np.ones(1), np.ones(3))


def test_the_same_means_bit_for_bit() -> None:
    assert_same(torch.tensor([0.0, 1.0]), torch.tensor([-0.0, 1.0]))
    with pytest.raises(AssertionError, match=r"1 of 2 entries differ, by up to 1.2e-07"):
        assert_same(torch.tensor([0.0, 1.0 + EPS32]), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        (np.array([1, 5, 2]), np.array([1, 2, 4]), "2 of 3 entries differ, by up to 3"),
        (np.array([np.inf, 0.0]), np.array([-np.inf, 0.0]), "1 of 2 entries differ, by up to inf"),
        (np.array([np.nan, 1.0]), np.array([0.0, 0.0]), "2 of 2 entries differ"),
        (torch.tensor([True, False]), torch.tensor([False, False]), "1 of 2 entries differ"),
        (np.array(["one"]), np.array(["two"]), "1 of 1 entries differ"),
    ],
)
def test_by_how_much_entries_differ_is_said_where_they_are_numbers(found: object, wanted: object, said: str) -> None:
    with pytest.raises(AssertionError) as error:
        assert_same(found, wanted)
    assert str(error.value).splitlines()[0] == f"the result should be the same bit for bit, but {said}"


def test_nothing_is_close_to_nothing() -> None:
    assert_close(np.zeros((0, 2)), np.zeros((0, 2)))


def test_conversion_loses_nothing() -> None:
    assert as_array(torch.tensor([0.1])).item() == float(np.float32(0.1))
    assert as_array([1, 2]).dtype == np.int64
    assert eps_of(torch.tensor([1])) == 0.0
    assert eps_of(np.float32(1)) == EPS32
