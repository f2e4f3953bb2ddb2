"""How far two quantities rise and fall together."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.errors import InputError
from minitransformer.metrics.labels import UndefinedMetricWarning

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """A correlation, from −1 to 1; without a p-value, which no simple formula gives exactly."""

    statistic: float


def pearsonr(x: ArrayLike, y: ArrayLike) -> Correlation:
    """How near the pairs lie to a rising (1) or falling (−1) line.

    Formula: r = Σᵢ (xᵢ − x̄)(yᵢ − ȳ) / √(Σᵢ (xᵢ − x̄)² Σᵢ (yᵢ − ȳ)²). What never changes correlates with nothing: NaN,
    after a warning.

    Source: Pearson 1896. SciPy's function of this name also gives a p-value, by the incomplete beta function.

    Raises: InputError if there are not as many y as x, fewer than two pairs, or a value is not finite.

    >>> pearsonr([1, 2, 3], [2, 4, 6]).statistic
    1.0
    """
    x, y = require_pairs(x, y)
    if (x == x[0]).all() or (y == y[0]).all():
        warnings.warn(
            "x or y never changes, so their correlation is not defined, and NaN", UndefinedMetricWarning, stacklevel=2
        )
        return Correlation(float("nan"))
    x, y = deviations(x), deviations(y)
    r = (x @ y) / np.sqrt((x @ x) * (y @ y))
    return Correlation(float(np.clip(r, -1, 1)))


def spearmanr(x: ArrayLike, y: ArrayLike) -> Correlation:
    """How far y rises (1) or falls (−1) with x, by a line or not: Pearson's correlation of their ranks.

    Formula: ρ = r(rank(x), rank(y)), where equal values share the mean of their ranks.

    Source: Spearman 1904; equal values: Kendall 1945. SciPy's function of this name also gives an approximate p-value.

    Raises: InputError if there are not as many y as x, fewer than two pairs, or a value is not finite.

    >>> spearmanr([1, 2, 3], [1, 10, 100]).statistic
    1.0
    """
    x, y = require_pairs(x, y)
    return pearsonr(mean_ranks(x), mean_ranks(y))


def mean_ranks(values: Floats) -> Floats:
    """The place of each value in order, from 1; equal values share the mean of their places.

    >>> mean_ranks(np.array([30.0, 10.0, 10.0, 20.0])).tolist()
    [4.0, 1.5, 1.5, 3.0]
    """
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[which])


def deviations(values: Floats) -> Floats:
    """How far each value lies from the mean, at a scale where squares neither overflow nor vanish."""
    # Subtracting a value first keeps what little differs between large values.
    from_first = values - values[0]
    from_mean = from_first - from_first.mean()
    return np.asarray(from_mean / np.abs(from_mean).max())


def require_pairs(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Two sequences of numbers, side by side.

    Raises: InputError if they are not as many, fewer than two, or not finite.
    """
    first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise InputError(f"x has shape {first.shape} and y {second.shape}; give as many of one as of the other, two up")
    for name, values in (("x", first), ("y", second)):
        if not np.isfinite(values).all():
            raise InputError(f"{name} holds {values[~np.isfinite(values)][0]}, which has no place; leave the pair out")
    return first, second
