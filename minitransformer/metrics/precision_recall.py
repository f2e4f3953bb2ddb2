"""Of those called a class, how many are (precision); of those that are, how many were called it (recall)."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.errors import InputError
from minitransformer.metrics.labels import (
    Judged,
    Label,
    Numbers,
    UndefinedMetricWarning,
    positions,
    require_classes,
    side_by_side,
)

ZeroDivision = Literal["warn"] | float | int
Scores = NDArray[np.float64]

AVERAGES = (None, "binary", "micro", "macro", "weighted", "samples")
EMPTY = {"precision": "is predicted", "recall": "is true", "f-score": "is true or predicted"}


@dataclass(frozen=True)
class Counts:
    """How many were both true and predicted, were predicted, were true: of each class, of each example, or of all."""

    hits: Numbers
    called: Numbers
    support: Numbers


def precision_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    pos_label: Label | None = 1,
    average: str | None = "binary",
    sample_weight: ArrayLike | None = None,
    zero_division: ZeroDivision = "warn",
) -> Any:
    """Of those called a class, the share that are: the first of `precision_recall_fscore_support`, which see.

    Raises: as `precision_recall_fscore_support`.

    >>> precision_score([0, 1, 1, 1], [0, 1, 0, 1])
    1.0
    """
    return precision_recall_fscore_support(
        y_true,
        y_pred,
        labels=labels,
        pos_label=pos_label,
        average=average,
        warn_for=("precision",),
        sample_weight=sample_weight,
        zero_division=zero_division,
    )[0]


def recall_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    pos_label: Label | None = 1,
    average: str | None = "binary",
    sample_weight: ArrayLike | None = None,
    zero_division: ZeroDivision = "warn",
) -> Any:
    """Of those that are a class, the share that were called it: the second of `precision_recall_fscore_support`.

    Raises: as `precision_recall_fscore_support`.

    >>> recall_score([0, 1, 1, 1], [0, 1, 0, 1])
    0.6666666666666666
    """
    return precision_recall_fscore_support(
        y_true,
        y_pred,
        labels=labels,
        pos_label=pos_label,
        average=average,
        warn_for=("recall",),
        sample_weight=sample_weight,
        zero_division=zero_division,
    )[1]


def f1_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    pos_label: Label | None = 1,
    average: str | None = "binary",
    sample_weight: ArrayLike | None = None,
    zero_division: ZeroDivision = "warn",
) -> Any:
    """The harmonic mean of precision and recall: `fbeta_score` at β = 1.

    Raises: as `precision_recall_fscore_support`.

    >>> f1_score([0, 1, 1, 1], [0, 1, 0, 1])
    0.8
    """
    return fbeta_score(
        y_true,
        y_pred,
        beta=1.0,
        labels=labels,
        pos_label=pos_label,
        average=average,
        sample_weight=sample_weight,
        zero_division=zero_division,
    )


def fbeta_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    beta: float | int,
    labels: ArrayLike | None = None,
    pos_label: Label | None = 1,
    average: str | None = "binary",
    sample_weight: ArrayLike | None = None,
    zero_division: ZeroDivision = "warn",
) -> Any:
    """The mean of precision and recall that takes recall for β times as important.

    Raises: as `precision_recall_fscore_support`.

    >>> fbeta_score([0, 1, 1, 1], [0, 1, 0, 1], beta=0)
    1.0
    """
    return precision_recall_fscore_support(
        y_true,
        y_pred,
        beta=beta,
        labels=labels,
        pos_label=pos_label,
        average=average,
        warn_for=("f-score",),
        sample_weight=sample_weight,
        zero_division=zero_division,
    )[2]


def precision_recall_fscore_support(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    beta: float | int = 1.0,
    labels: ArrayLike | None = None,
    pos_label: Label | None = 1,
    average: str | None = None,
    warn_for: Collection[str] = ("precision", "recall", "f-score"),
    sample_weight: ArrayLike | None = None,
    zero_division: ZeroDivision = "warn",
) -> tuple[Any, Any, Any, Any]:
    """Precision, recall, their mean F_β, and how many are of each class (support).

    Formula: with h hits, c called and s that are, P = h / c, R = h / s,
    F_β = (1 + β²) P R / (β² P + R) = (1 + β²) h / (β² s + c). At β = 0 it is the precision, at β = ∞ the recall.

    `average=None` gives arrays over the classes (those of `labels`, in that order). "binary" gives the scores of
    `pos_label`, "macro" the mean over the classes, "weighted" the mean by support, "micro" the scores of counts that
    are summed over the classes first, and "samples" the mean over examples with several labels; the support is then
    None. 0/0 counts as `zero_division`: 0 after a warning ("warn"), 0, 1, or NaN, which the means leave out.

    Source: van Rijsbergen 1979, chapter 7; the averages: Sokolova and Lapalme 2009, Table 3, and over examples
    Godbole and Sarawagi 2004. The edge cases are scikit-learn's.

    Raises: InputError for averages, classes and options that do not fit each other.

    >>> precision_recall_fscore_support([0, 1, 1, 1], [0, 1, 0, 1], average="binary")
    (1.0, 0.6666666666666666, 0.8, None)
    """
    judged = side_by_side(y_true, y_pred, sample_weight)
    require_options(beta, zero_division)
    counts = summed(judged, classes_to_score(judged, labels, pos_label, average), average)
    precision = quotient("precision", counts.hits, counts.called, zero_division, warn_for)
    recall = quotient("recall", counts.hits, counts.support, zero_division, warn_for)
    if beta == 0 or np.isinf(beta):
        f_score = precision if beta == 0 else recall
    else:
        whole = beta**2 * counts.support + counts.called
        f_score = quotient("f-score", (1 + beta**2) * counts.hits, whole, zero_division, warn_for)
    if average is None:
        return precision, recall, f_score, counts.support
    weights = {"weighted": counts.support, "samples": judged.weight}.get(average)
    return mean(precision, weights), mean(recall, weights), mean(f_score, weights), None


def require_options(beta: float | int, zero_division: ZeroDivision) -> None:
    """Refuse what no F-score can be computed with.

    Raises: InputError for a negative β, or another number for 0/0 than 0, 1 and NaN.
    """
    if not beta >= 0:
        raise InputError(f"beta={beta} must be 0 or more; 1 weighs precision and recall alike")
    if zero_division not in ("warn", 0, 1) and not np.isnan(float(zero_division)):
        raise InputError(f"zero_division={zero_division!r} must be 'warn', 0, 1 or NaN, which leaves the class out")


def classes_to_score(judged: Judged, labels: ArrayLike | None, pos_label: Label | None, average: str | None) -> Numbers:
    """The classes that the scores are of: the positive one, those asked for, or all that occur.

    Raises: InputError if the average is not for such labels, or a class cannot be.
    """
    if average not in AVERAGES:
        raise InputError(f"average={average!r} is not one of {', '.join(map(repr, AVERAGES))}")
    if average == "binary":
        return np.asarray([require_positive_class(judged, pos_label)])
    if pos_label not in (None, 1):
        warnings.warn(
            f"pos_label={pos_label!r} is not used with average={average!r}; labels=[{pos_label!r}] scores it alone",
            stacklevel=3,
        )
    if average == "samples" and not judged.multilabel:
        raise InputError("average='samples' is for several labels for each example; choose 'macro' or 'micro'")
    return judged.classes if labels is None else require_known_columns(judged, require_classes(labels))


def require_positive_class(judged: Judged, pos_label: Label | None) -> Label | None:
    """The one class that average="binary" scores.

    Raises: InputError if there are more than two, or it is none of the two.
    """
    classes = judged.classes.tolist()
    if judged.multilabel:
        raise InputError(f"average='binary' is for two classes, but y_true has {len(classes)} columns; choose 'macro'")
    if len(classes) > 2:
        raise InputError(f"average='binary' is for two classes, but {len(classes)} occur; choose 'macro' or 'micro'")
    if pos_label not in classes and len(classes) == 2:
        raise InputError(f"pos_label={pos_label!r} is not one of the classes {classes}; choose one of them")
    return pos_label


def require_known_columns(judged: Judged, classes: Numbers) -> Numbers:
    """Refuse the number of a column that is not there.

    Raises: InputError naming the column.
    """
    if judged.multilabel and not np.isin(classes, judged.classes).all():
        unknown = classes[~np.isin(classes, judged.classes)][0].item()
        raise InputError(f"labels holds {unknown!r}, but y_true has the columns 0 to {len(judged.classes) - 1}")
    return classes


def summed(judged: Judged, classes: Numbers, average: str | None) -> Counts:
    """Hits, calls and truths of each class; of each example for "samples"; of all together for "micro"."""
    truth, predicted = membership(judged.truth, classes), membership(judged.predicted, classes)
    found = [truth & predicted, predicted, truth]
    if average == "samples":
        return Counts(*(judged.weight * of.sum(axis=1) for of in found))
    counts = [judged.weight @ of for of in found]
    return Counts(*(count.sum(keepdims=True) for count in counts)) if average == "micro" else Counts(*counts)


def membership(labels: Numbers, classes: Numbers) -> NDArray[np.bool_]:
    """Whether each example (row) is of each class (column).

    >>> membership(np.array([2, 1]), np.array([1, 2, 3])).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    >>> membership(np.array([[0, 1, 1]]), np.array([2, 0])).astype(int).tolist()
    [[1, 0]]
    """
    if labels.ndim == 2:
        return np.asarray(labels[:, classes] == 1)
    return np.asarray(positions(labels, classes)[:, None] == np.arange(len(classes)))


def quotient(
    score: str, part: Numbers, whole: Numbers, zero_division: ZeroDivision, warn_for: Collection[str]
) -> Scores:
    """Divide where there is something to divide by.

    >>> quotient("recall", np.array([1, 0]), np.array([2, 0]), 1.0, ()).tolist()
    [0.5, 1.0]
    """
    empty = whole == 0
    if empty.any() and zero_division == "warn" and score in warn_for:
        warnings.warn(
            f"{score} is 0/0 where nothing {EMPTY[score]}, and counts as 0; zero_division=0, 1 or NaN says otherwise",
            UndefinedMetricWarning,
            stacklevel=3,
        )
    values: Scores = np.full(len(whole), 0.0 if zero_division == "warn" else float(zero_division))
    np.divide(part, whole, out=values, where=~empty)
    return values


def mean(values: Scores, weights: Numbers | None) -> float:
    """The weighted mean of the values that are defined; where none of them has weight, their plain mean.

    >>> mean(np.array([1.0, 0.5, np.nan]), np.array([1, 3, 5]))
    0.625
    """
    defined = ~np.isnan(values)
    if not defined.any():
        return float("nan")
    if weights is None or weights[defined].sum() == 0:
        return float(values[defined].mean())
    return float(np.average(values[defined], weights=weights[defined]))
