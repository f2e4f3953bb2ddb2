"""How often a class is right: accuracy, the confusion matrix, and what is computed from it."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.errors import InputError
from minitransformer.metrics.labels import (
    Judged,
    Numbers,
    UndefinedMetricWarning,
    positions,
    require_classes,
    require_weight,
    side_by_side,
)


def accuracy_score(
    y_true: ArrayLike, y_pred: ArrayLike, *, normalize: bool = True, sample_weight: ArrayLike | None = None
) -> float:
    """The share of predictions that are right; without `normalize`, their number.

    Formula: Σᵢ wᵢ [tᵢ = pᵢ] / Σᵢ wᵢ. Where examples have several labels, only a row that is right throughout counts.

    Source: Sokolova and Lapalme 2009, Table 2; with several labels Ghamrawi and McCallum 2005, subset accuracy.

    Raises: InputError if there are not as many predictions as truths, or they weigh nothing.

    >>> accuracy_score([0, 1, 1, 1], [0, 1, 0, 1])
    0.75
    >>> accuracy_score([[1, 0], [0, 1]], [[1, 0], [1, 1]])
    0.5
    """
    judged = side_by_side(y_true, y_pred, sample_weight)
    same = judged.truth == judged.predicted
    right = float(judged.weight @ (same.all(axis=1) if judged.multilabel else same))
    return right / require_weight(judged.weight) if normalize else right


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    normalize: str | None = None,
) -> NDArray[Any]:
    """How often each class (row) was taken for each class (column).

    Formula: Cⱼₖ = Σᵢ wᵢ [tᵢ = j][pᵢ = k]. `normalize` divides by the sum of the row ("true"), of the column ("pred") or
    of all ("all"), and an empty one stays 0. `labels` chooses and orders the classes; examples of others don't count.

    Source: Sokolova and Lapalme 2009, Table 1. A matrix of one class alone is warned of, since `labels` is forgotten.

    Raises: InputError if there are not as many predictions as truths, or no class of `labels` is true.

    >>> confusion_matrix([0, 1, 1, 1], [0, 1, 0, 1]).tolist()
    [[1, 0], [1, 2]]
    """
    judged = require_one_label(side_by_side(y_true, y_pred, sample_weight))
    classes = judged.classes if labels is None else require_classes(labels)
    if not (positions(judged.truth, classes) >= 0).any():
        raise InputError(f"labels={classes.tolist()} must name at least one class that occurs in y_true")
    if len(classes) == 1:
        warnings.warn(f"the only class is {classes[0].item()!r}; name all that there are in labels", stacklevel=2)
    counts = pair_counts(judged, classes)
    return counts if normalize is None else shares(counts, normalize)


def balanced_accuracy_score(
    y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None, adjusted: bool = False
) -> float:
    """The mean over the true classes of the share that was recognised: frequent classes don't outvote rare ones.

    Formula: A = meanⱼ (Cⱼⱼ / Σₖ Cⱼₖ); `adjusted` gives (A − 1/c) / (1 − 1/c) for c classes, so that a guess scores 0.

    Source: Brodersen et al. 2010; adjusted: Guyon et al. 2015. Classes that are predicted but never true are left out,
    after a warning. A single class has no guess to be adjusted by: the score is NaN, after a warning.

    Raises: InputError if there are not as many predictions as truths, or they weigh nothing.

    >>> balanced_accuracy_score([0, 1, 1, 1, 1], [0, 0, 0, 1, 1])
    0.75
    """
    judged = require_one_label(side_by_side(y_true, y_pred, sample_weight))
    require_weight(judged.weight)
    counts = pair_counts(judged, judged.classes)
    occurs = counts.sum(axis=1) != 0
    if not occurs.all():
        unknown = judged.classes[~occurs].tolist()
        warnings.warn(f"y_pred holds classes that y_true does not: {unknown}; they are left out", stacklevel=2)
    score = float((counts.diagonal()[occurs] / counts.sum(axis=1)[occurs]).mean())
    return above_chance(score, int(occurs.sum())) if adjusted else score


def matthews_corrcoef(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """The correlation of predictions and truths: 1 all right, 0 no better than chance.

    Formula: with c right of n, tₖ true and pₖ predicted of each class:
    (c n − Σ tₖ pₖ) / √((n² − Σ pₖ²)(n² − Σ tₖ²)), and 0 where one side has a single class.

    Source: Matthews 1975; for many classes Gorodkin 2004, Eq. 8.

    Raises: InputError if there are not as many predictions as truths.

    >>> matthews_corrcoef([0, 1, 0, 1], [0, 1, 0, 1])
    1.0
    """
    judged = require_one_label(side_by_side(y_true, y_pred, sample_weight))
    # Squares of large whole numbers would not fit.
    counts = pair_counts(judged, judged.classes).astype(np.float64)
    true, predicted, right = counts.sum(axis=1), counts.sum(axis=0), np.trace(counts)
    covariance = right * counts.sum() - true @ predicted
    # Each side's own sum of the weights: with a single class the difference is 0, whatever the rounding.
    spread = (predicted.sum() ** 2 - predicted @ predicted) * (true.sum() ** 2 - true @ true)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def require_one_label(judged: Judged) -> Judged:
    """Refuse several labels for an example.

    Raises: InputError saying how to judge them.
    """
    if judged.multilabel:
        raise InputError(
            f"y_true has shape {judged.truth.shape}, but this score is for one label for each example; "
            "judge each column by itself, such as y_true[:, 0] and y_pred[:, 0]"
        )
    return judged


def pair_counts(judged: Judged, classes: Numbers) -> Numbers:
    """How much weight each pair of true (row) and predicted class (column) has."""
    row, column = positions(judged.truth, classes), positions(judged.predicted, classes)
    known = (row >= 0) & (column >= 0)
    counts = np.zeros((len(classes), len(classes)), dtype=judged.weight.dtype)
    np.add.at(counts, (row[known], column[known]), judged.weight[known])
    return counts


def shares(counts: Numbers, normalize: str) -> NDArray[np.float64]:
    """Counts as shares of their row, their column or all; of nothing, 0.

    Raises: InputError for another `normalize`.

    >>> shares(np.array([[1, 3], [0, 0]]), "true").tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    axes = {"true": 1, "pred": 0, "all": None}
    if normalize not in axes:
        raise InputError(f"normalize={normalize!r} is not one of 'true', 'pred', 'all', None")
    totals = counts.sum(axis=axes[normalize], keepdims=True)
    values = np.zeros(counts.shape)
    np.divide(counts, totals, out=values, where=totals != 0)
    return values


def above_chance(score: float, n_classes: int) -> float:
    """A share of right answers, moved so that a guess among the classes scores 0, and 1 stays 1.

    >>> above_chance(0.75, n_classes=2)
    0.5
    """
    if n_classes == 1:
        warnings.warn(
            "adjusted=True compares with a guess, but y_true holds a single class, so the score is NaN",
            UndefinedMetricWarning,
            stacklevel=3,
        )
        return float("nan")
    chance = 1 / n_classes
    return (score - chance) / (1 - chance)
