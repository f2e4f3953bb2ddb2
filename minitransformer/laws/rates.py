"""How far a count may stray from its rate before it is no accident any more."""

import math

FALSE_ALARM = 1e-9
"""How often a correct function may be called wrong: once in a billion counts."""


def assert_rate(successes: int, trials: int, probability: float, what: str) -> None:
    """Fail if so many successes, or so few, can't come from independent trials of this probability."""
    assert trials > 0, f"{what}: there is nothing to count"
    # Half of the false alarms for counts that are too high, half for those that are too low.
    assert largest_chance(successes, trials, probability) >= FALSE_ALARM / 2, (
        f"{what}: {successes} of {trials} are a share of {successes / trials:.4f}, but it should be {probability:.4f}"
    )


def largest_chance(successes: int, trials: int, probability: float) -> float:
    """Bound the chance that a count lies as far from its mean as this one, or farther on the same side.

    That is Chernoff's bound: a share q of n trials of probability p, or one farther from p, has at most the chance
    exp(−n·D), where D = q ln(q/p) + (1 − q) ln((1 − q)/(1 − p)) is the divergence of q from p. It never exceeds the
    truth by much, holds for every n, and also where trials hold each other back, as in drawing without replacement.

    >>> largest_chance(10, 10, 0.5) == 0.5**10, largest_chance(5, 10, 0.5), largest_chance(1, 10, 0.0)
    (True, 1.0, 0.0)
    """
    exponent = 0.0
    for count, chance in ((successes, probability), (trials - successes, 1 - probability)):
        if count and chance <= 0:
            return 0.0
        exponent += count * math.log(count / (trials * chance)) if count else 0.0
    return min(1.0, math.exp(-exponent))
