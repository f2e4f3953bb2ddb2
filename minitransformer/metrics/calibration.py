"""How far probabilities can be believed."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.errors import InputError
from minitransformer.metrics.labels import (
    Numbers,
    example_weights,
    label_array,
    positions,
    require_classes,
    require_weight,
)

Probabilities = NDArray[np.float64]


def log_loss(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    normalize: bool = True,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
) -> float:
    """The mean surprise at the true classes, in nats; without `normalize`, the sum.

    Formula: −Σᵢ wᵢ ln yᵢₖ / Σᵢ wᵢ, with k the true class of i, and y kept ε away from 0 and 1, where ε is the
    distance from 1 to the next number of the probabilities' type.

    The columns are the classes in sorted order: those of `labels`, else those of `y_true`. One probability alone is of
    the second of two classes. Rows that don't sum to 1 are used as they are, after a warning.

    Source: Bishop 2006, §4.3.4, Eq. 4.108.

    Raises: InputError for what is no probability, and for classes and columns that do not fit each other.

    >>> round(log_loss(["no", "yes"], [[0.5, 0.5], [0.75, 0.25]]), 6)
    1.039721
    """
    truth, probabilities = label_array(y_true, "y_true"), np.asarray(y_proba)
    epsilon = np.finfo(probabilities.dtype if probabilities.dtype.kind == "f" else np.float64).eps
    columns = class_columns(probabilities, len(truth), "y_proba")
    if not np.allclose(columns.sum(axis=1), 1, rtol=np.sqrt(epsilon), atol=0):
        warnings.warn("y_proba has rows that do not sum to 1; give probabilities of all classes", stacklevel=2)
    true_column = positions(truth, require_class_for_each_column(truth, labels, columns.shape[1]))
    surprise = -np.log(columns.clip(epsilon, 1 - epsilon)[np.arange(len(truth)), true_column])
    weight = example_weights(sample_weight, len(truth))
    total = float(weight @ surprise)
    return total / require_weight(weight) if normalize else total


def expected_calibration_error(y_true: ArrayLike, probabilities: ArrayLike, n_bins: int = 15) -> float:
    """How far confidence and accuracy lie apart, on average over the predictions.

    Formula: ECE = Σₘ |Bₘ| / n · |acc(Bₘ) − conf(Bₘ)|, where the bin Bₘ holds the examples whose confidence, the
    greatest probability, lies in ((m − 1) / M, m / M]: a border belongs to the bin below it, and 0 to the first.

    `y_true` holds the number of the true column of each example. One probability alone is of the second of two
    classes. Of equally probable classes the first is predicted.

    Source: Guo et al. 2017, §2, Eq. 3.

    Raises: InputError for what is no probability, no column or no number of bins.

    >>> round(expected_calibration_error([0, 0], [[0.9, 0.1], [0.3, 0.7]]), 6)
    0.4
    """
    if n_bins < 1:
        raise InputError(f"n_bins={n_bins} must be at least 1; 15 is usual")
    truth = label_array(y_true, "y_true")
    columns = class_columns(np.asarray(probabilities), len(truth), "probabilities")
    n_columns = columns.shape[1]
    if (unknown := positions(truth, range(n_columns)) < 0).any():
        found = truth[unknown][0].item()
        raise InputError(f"y_true holds {found!r}, but must number the true columns, from 0 to {n_columns - 1}")
    confidence, right = columns.max(axis=1), columns.argmax(axis=1) == truth
    borders = np.arange(1, n_bins) / n_bins
    which = np.searchsorted(borders, confidence, side="left")
    # |acc − conf| |B| is the difference of the sums.
    gaps = np.bincount(which, weights=right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(truth))


def class_columns(probabilities: Numbers, n_examples: int, name: str) -> Probabilities:
    """A row of probabilities for each example, a column for each class; of one column alone, that of the second.

    Raises: InputError if they are no probabilities, or not one row for each example.

    >>> class_columns(np.array([0.25, 1.0]), 2, "y_proba").tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    if probabilities.ndim not in (1, 2) or len(probabilities) != n_examples or not n_examples:
        raise InputError(
            f"{name} has shape {probabilities.shape}, but y_true holds {n_examples} labels; give each a row"
        )
    columns = probabilities.astype(np.float64).reshape(n_examples, -1)
    if not ((columns >= 0) & (columns <= 1)).all():
        wrong = columns[~((columns >= 0) & (columns <= 1))][0]
        raise InputError(f"{name} holds {wrong}, but a probability lies from 0 to 1; take the softmax of logits")
    return np.hstack([1 - columns, columns]) if columns.shape[1] == 1 else columns


def require_class_for_each_column(truth: Numbers, labels: ArrayLike | None, n_columns: int) -> Sequence[Any] | Numbers:
    """The classes that the columns stand for, in order.

    Raises: InputError if they are not as many as the columns, or a true one is missing.
    """
    given = np.unique(truth) if labels is None else require_classes(labels)
    classes = np.unique(given)
    if labels is not None and (given != classes).any():
        warnings.warn(
            f"labels={given.tolist()} is out of order; the columns are read as {classes.tolist()}", stacklevel=3
        )
    if len(classes) != n_columns or len(classes) < 2:
        raise InputError(
            f"y_proba has {n_columns} columns for the {len(classes)} classes {classes.tolist()}; "
            "name each class in labels, two or more, in sorted order"
        )
    if (unknown := positions(truth, classes) < 0).any():
        raise InputError(
            f"y_true holds {truth[unknown][0].item()!r}, which labels={classes.tolist()} does not; name it there"
        )
    return classes
