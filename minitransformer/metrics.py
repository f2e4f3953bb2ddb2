"""Metrics by hand, with scikit-learn's names, signatures and edge cases."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.errors import InputError

ZeroDivision = Literal["warn"] | float
Counts = NDArray[np.float64]


def accuracy_score(
    y_true: ArrayLike, y_pred: ArrayLike, *, normalize: bool = True, sample_weight: ArrayLike | None = None
) -> float:
    """The share of predictions that are right.

    Raises: InputError if there are not as many predictions as truths.

    >>> accuracy_score([0, 1, 1, 1], [0, 1, 0, 1])
    0.75
    """
    truth, predicted, weight = require_pairs(y_true, y_pred, sample_weight)
    right = float((weight * (truth == predicted)).sum())
    return right / float(weight.sum()) if normalize else right


def confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    normalize: Literal["true", "pred", "all"] | None = None,
) -> NDArray[Any]:
    """How often each class (row) was taken for each class (column).

    Raises: InputError if there are not as many predictions as truths, or no label occurs.

    >>> confusion_matrix([0, 1, 1, 1], [0, 1, 0, 1]).tolist()
    [[1, 0], [1, 2]]
    """
    truth, predicted, weight = require_pairs(y_true, y_pred, sample_weight)
    classes = present_classes(truth, predicted) if labels is None else np.asarray(labels)
    if not np.isin(classes, truth).any():
        raise InputError(f"labels={classes.tolist()} must name at least one class that occurs in y_true")
    known = np.isin(truth, classes) & np.isin(predicted, classes)
    order = np.argsort(classes)
    row = order[np.searchsorted(classes, truth[known], sorter=order)]
    column = order[np.searchsorted(classes, predicted[known], sorter=order)]
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64 if sample_weight is None else np.float64)
    np.add.at(counts, (row, column), weight[known].astype(counts.dtype))
    if normalize is None:
        return counts
    axes: dict[str, int | None] = {"true": 1, "pred": 0, "all": None}
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Counts = counts / counts.sum(axis=axes[normalize], keepdims=normalize != "all")
    return np.nan_to_num(shares)


def precision_recall_fscore_support(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    beta: float = 1.0,
    labels: ArrayLike | None = None,
    pos_label: int | str = 1,
    average: str | None = None,
    sample_weight: ArrayLike | None = None,
    zero_division: ZeroDivision = "warn",
) -> tuple[Any, Any, Any, Any]:
    """Of those called a class, how many are (precision); of those that are, how many were called it (recall).

    F_β is their mean weighted towards recall by β: (1 + β²) P R / (β² P + R). Where nothing was called a class, or
    nothing is, the quotient is `zero_division`, after a warning unless a number was given.

    Source: van Rijsbergen 1979, chapter 7; the edge cases are scikit-learn's.

    Raises: InputError for averages and labels that do not fit each other.

    >>> precision_recall_fscore_support([0, 1, 1, 1], [0, 1, 0, 1], average="binary")[:2]
    (1.0, 0.6666666666666666)
    """
    truth, predicted, weight = require_pairs(y_true, y_pred, sample_weight)
    classes = classes_to_score(truth, predicted, labels, pos_label, average)
    hits = np.array([weight[(truth == label) & (predicted == label)].sum() for label in classes])
    called = np.array([weight[predicted == label].sum() for label in classes])
    support = np.array([weight[truth == label].sum() for label in classes])
    if average == "micro":
        hits, called, support = (np.array([counts.sum()]) for counts in (hits, called, support))
    precision = quotient(hits, called, zero_division, "precision")
    recall = quotient(hits, support, zero_division, "recall")
    score = f_score(hits, called, support, beta, zero_division)
    if average is None:
        return precision, recall, score, support if sample_weight is not None else support.astype(np.int64)
    weights = support if average == "weighted" else np.ones_like(support)
    averages = [average_over(values, weights) for values in (precision, recall, score)]
    return averages[0], averages[1], averages[2], None


def precision_score(y_true: ArrayLike, y_pred: ArrayLike, *, average: str | None = "binary", **options: Any) -> Any:
    """Of those called a class, the share that are.

    Raises: as `precision_recall_fscore_support`, whose options it takes.

    >>> precision_score([0, 1, 1, 1], [0, 1, 0, 1])
    1.0
    """
    return precision_recall_fscore_support(y_true, y_pred, average=average, **options)[0]


def recall_score(y_true: ArrayLike, y_pred: ArrayLike, *, average: str | None = "binary", **options: Any) -> Any:
    """Of those that are a class, the share that were called it.

    Raises: as `precision_recall_fscore_support`, whose options it takes.

    >>> recall_score([0, 1, 1, 1], [0, 1, 0, 1])
    0.6666666666666666
    """
    return precision_recall_fscore_support(y_true, y_pred, average=average, **options)[1]


def f1_score(y_true: ArrayLike, y_pred: ArrayLike, *, average: str | None = "binary", **options: Any) -> Any:
    """The harmonic mean of precision and recall.

    Raises: as `precision_recall_fscore_support`, whose options it takes.

    >>> f1_score([0, 1, 1, 1], [0, 1, 0, 1])
    0.8
    """
    return precision_recall_fscore_support(y_true, y_pred, average=average, **options)[2]


def matthews_corrcoef(y_true: ArrayLike, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """The correlation of predictions and truths: 1 all right, 0 no better than chance.

    With c right of n, tₖ true and pₖ predicted of each class: (c n − Σ tₖ pₖ) / √((n² − Σ pₖ²)(n² − Σ tₖ²)), and 0
    where one side has a single class.

    Source: Matthews 1975; for many classes Gorodkin 2004, Eq. 8.

    >>> matthews_corrcoef([0, 1, 0, 1], [0, 1, 0, 1])
    1.0
    """
    truth, predicted, weight = require_pairs(y_true, y_pred, sample_weight)
    classes = present_classes(truth, predicted)
    true_counts = np.array([weight[truth == label].sum() for label in classes])
    predicted_counts = np.array([weight[predicted == label].sum() for label in classes])
    right, total = weight[truth == predicted].sum(), weight.sum()
    covariance = right * total - true_counts @ predicted_counts
    spread = (total**2 - predicted_counts @ predicted_counts) * (total**2 - true_counts @ true_counts)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def require_pairs(
    y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], Counts]:
    """Bring truths, predictions and weights side by side.

    Raises: InputError if their lengths differ, or there are none.
    """
    truth, predicted = np.asarray(y_true), np.asarray(y_pred)
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise InputError(
            f"y_true has shape {truth.shape} and y_pred {predicted.shape}; give one label for each example, and some"
        )
    weight = np.ones(len(truth)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != truth.shape:
        raise InputError(f"sample_weight has shape {weight.shape}, but there are {len(truth)} examples")
    return truth, predicted, weight


def present_classes(truth: NDArray[Any], predicted: NDArray[Any]) -> NDArray[Any]:
    """The classes that occur on either side, in order."""
    return np.union1d(truth, predicted)


def classes_to_score(
    truth: NDArray[Any], predicted: NDArray[Any], labels: ArrayLike | None, pos_label: int | str, average: str | None
) -> Sequence[Any] | NDArray[Any]:
    """The classes that a score is over: those asked for, the positive one, or all that occur."""
    present = present_classes(truth, predicted)
    if average == "binary":
        if len(present) > 2:
            raise InputError(
                f"average='binary' is for two classes, but {len(present)} occur; choose 'macro' or 'micro'"
            )
        if pos_label not in present and len(present) >= 2:
            raise InputError(f"pos_label={pos_label!r} is not one of the classes {present.tolist()}")
        return [pos_label]
    if average not in (None, "micro", "macro", "weighted"):
        raise InputError(f"average={average!r} is not one of 'binary', 'micro', 'macro', 'weighted', None")
    return present if labels is None else np.asarray(labels)


def quotient(hits: Counts, total: Counts, zero_division: ZeroDivision, name: str) -> Counts:
    """Divide where there is something to divide by."""
    if (total == 0).any() and zero_division == "warn":
        warnings.warn(f"{name} is 0/0 for a class, taken as 0; zero_division says otherwise", stacklevel=3)
    values = np.full(len(hits), replacement(zero_division))
    np.divide(hits, total, out=values, where=total != 0)
    return values


def f_score(hits: Counts, called: Counts, support: Counts, beta: float, zero_division: ZeroDivision) -> Counts:
    """Precision and recall in one number; at β = 0 it is the precision, at β = ∞ the recall."""
    if beta == 0:
        return quotient(hits, called, zero_division, "F-score")
    if np.isinf(beta):
        return quotient(hits, support, zero_division, "F-score")
    return quotient((1 + beta**2) * hits, beta**2 * support + called, zero_division, "F-score")


def average_over(values: Counts, weights: Counts) -> float:
    """The weighted mean of the classes that are defined; where none of them has weight, their plain mean."""
    defined = ~np.isnan(values)
    if not defined.any():
        return float("nan")
    has_weight = weights[defined].sum() > 0
    return float(np.average(values[defined], weights=weights[defined] if has_weight else None))


def replacement(zero_division: ZeroDivision) -> float:
    """What 0/0 counts as."""
    return 0.0 if zero_division == "warn" else float(zero_division)
