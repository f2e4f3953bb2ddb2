"""Correlations: SciPy's coefficients, with ties, at any scale."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import metrics
from minitransformer.errors import InputError


@st.composite
def pairs(draw):
    """Pairs of numbers: few values, so that there are ties, or many; around 0 or far from it; small or large."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_pairs = draw(st.integers(2, 17), label="n_pairs")
    if draw(st.booleans(), label="ties"):
        x, y = generator.integers(0, 4, (2, n_pairs)).astype(float)
    else:
        x, y = generator.normal(size=(2, n_pairs))
        y += draw(st.sampled_from([-10, 0, 1]), label="slope") * x
    scale = draw(st.sampled_from([1e-200, 1e-3, 1.0, 1e200]), label="scale")
    return (x + draw(st.sampled_from([0, 100]), label="offset")) * scale, y


@given(pairs(), st.sampled_from(["pearsonr", "spearmanr"]))
def test_a_correlation_is_scipys(pair, name):
    x, y = pair
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        with pytest.warns(metrics.UndefinedMetricWarning, match="x or y never changes"):
            assert np.isnan(getattr(metrics, name)(x, y).statistic)
    else:
        expected = getattr(scipy.stats, name)(x, y).statistic
        assert getattr(metrics, name)(x, y).statistic == pytest.approx(expected, abs=1e-11)


@given(pairs())
def test_a_correlation_with_oneself_is_1_and_with_ones_opposite_minus_1(pair):
    x, _ = pair
    if np.ptp(x):
        for correlation in (metrics.pearsonr, metrics.spearmanr):
            assert correlation(x, x).statistic == pytest.approx(1, abs=1e-15)
            assert correlation(x, -x).statistic == pytest.approx(-1, abs=1e-15)


@given(pairs())
def test_a_rank_correlation_does_not_see_how_far_values_lie_apart(pair):
    x, y = pair
    if np.ptp(x) and np.ptp(y):
        places = np.unique(x, return_inverse=True)[1]
        assert metrics.spearmanr(places**3.0, y) == metrics.spearmanr(x, y)


def test_values_that_hardly_differ_are_correlated_exactly():
    x = 1 + np.array([0, 1, 2, 3]) * np.finfo(float).eps
    assert metrics.pearsonr(x, [0, 1, 2, 3]).statistic == 1.0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, 2.0], [1.0], r"x has shape \(2,\) and y \(1,\)"),
        ([1.0], [1.0], "two up"),
        ([[1.0, 2.0]], [[1.0, 2.0]], r"x has shape \(1, 2\)"),
        ([1.0, 2.0], [1.0, np.nan], "y holds nan, which has no place; leave the pair out"),
    ],
)
def test_pairs_that_cannot_be_correlated_are_refused(x, y, message):
    for correlation in (metrics.pearsonr, metrics.spearmanr):
        with pytest.raises(InputError, match=message):
            correlation(x, y)
