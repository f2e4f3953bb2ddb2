"""The bound on chances, which never promises more than the exact binomial."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from minitransformer.laws.rates import assert_rate, largest_chance


@given(st.integers(1, 3000), st.floats(0.001, 0.999), st.floats(0, 1))
def test_the_bound_is_above_the_exact_chance(trials, probability, share):
    successes = round(share * trials)
    is_low = successes < trials * probability
    exact = binom.cdf(successes, trials, probability) if is_low else binom.sf(successes - 1, trials, probability)
    assert largest_chance(successes, trials, probability) >= exact * (1 - 1e-6)


@pytest.mark.parametrize(("successes", "trials", "probability"), [(1, 10, 0.0), (9, 10, 1.0), (900, 1000, 0.8)])
def test_what_is_no_accident_is_named(successes, trials, probability):
    with pytest.raises(AssertionError, match=f"heads: {successes} of {trials} are a share of 0.*, but it should be"):
        assert_rate(successes, trials, probability, "heads")


def test_an_accident_passes():
    assert_rate(820, 1000, 0.8, "heads")
    assert_rate(0, 10, 0.0, "heads")


def test_nothing_to_count_is_named():
    with pytest.raises(AssertionError, match="heads: there is nothing to count"):
        assert_rate(0, 0, 0.5, "heads")
