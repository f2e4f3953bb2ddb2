"""What the data tests share: exact bounds on rates, and a small corpus."""

from collections.abc import Callable

import pytest
from scipy.stats import binom

from minitransformer.corpora import SyntheticLanguage
from minitransformer.tokenizer import Tokenizer

FALSE_ALARM = 1e-9


def check_rate(successes: int, trials: int, probability: float) -> None:
    low, high = binom.ppf(FALSE_ALARM / 2, trials, probability), binom.isf(FALSE_ALARM / 2, trials, probability)
    assert low <= successes <= high, (
        f"{successes} of {trials} is {successes / trials:.4f}; a rate of {probability} gives {low:.0f} to {high:.0f}"
    )


@pytest.fixture
def assert_rate() -> Callable[[int, int, float], None]:
    """Fail if a count can't come from this rate, wrongly once in a billion runs."""
    return check_rate


@pytest.fixture(scope="package")
def language() -> SyntheticLanguage:
    return SyntheticLanguage()


@pytest.fixture(scope="package")
def word_tokenizer(language: SyntheticLanguage) -> Tokenizer:
    return Tokenizer.from_vocabulary(language.vocabulary)
