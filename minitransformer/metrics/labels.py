"""What classes are judged by: truths, predictions and weights, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minitransformer.errors import InputError

Label = bool | int | float | str | np.generic
Numbers = NDArray[Any]


class UndefinedMetricWarning(UserWarning):
    """A score has no value here, such as 0/0, and something stands in for it."""


@dataclass(frozen=True)
class Judged:
    """The truth and the prediction of each example: one label, or a row of noes and yeses (0 and 1) for several.

    `classes` are those that occur on either side, in order; where an example has several labels, the column numbers.
    """

    truth: Numbers
    predicted: Numbers
    weight: Numbers
    classes: Numbers

    @property
    def multilabel(self) -> bool:
        """Whether an example may be of several classes."""
        return self.truth.ndim == 2


def side_by_side(y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> Judged:
    """Bring truths, predictions and weights side by side.

    Raises: InputError if they are not as many, there are none, or they are no labels of one kind.

    >>> side_by_side(["b", "a"], ["c", "a"]).classes.tolist()
    ['a', 'b', 'c']
    >>> side_by_side([[0, 1, 1]], [[0, 0, 1]]).classes.tolist()
    [0, 1, 2]
    """
    truth, predicted = label_array(y_true, "y_true"), label_array(y_pred, "y_pred")
    if truth.shape != predicted.shape or not len(truth):
        raise InputError(
            f"y_true has shape {truth.shape} and y_pred {predicted.shape}; give both a label for each example, and some"
        )
    if (truth.dtype.kind == "U") != (predicted.dtype.kind == "U"):
        raise InputError(
            f"y_true holds {truth.flat[0].item()!r} and y_pred {predicted.flat[0].item()!r}; "
            "write both as strings or both as numbers"
        )
    classes = np.union1d(truth, predicted) if truth.ndim == 1 else np.arange(truth.shape[1])
    return Judged(truth, predicted, example_weights(sample_weight, len(truth)), classes)


def label_array(labels: ArrayLike, name: str) -> Numbers:
    """Labels as an array: one for each example, or a row of 0 and 1; a single column counts as one for each.

    Raises: InputError for anything else, such as scores where labels are asked for.

    >>> label_array([[3], [5]], "y_true").tolist()
    [3, 5]
    """
    values = plain_array(labels, name)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2) or values.dtype.kind not in "biufU":
        raise InputError(f"{name} has shape {values.shape} and type {values.dtype}; give a label for each example")
    if values.dtype.kind == "f" and (wrong := ~np.isfinite(values) | (values % 1 != 0)).any():
        raise InputError(f"{name} holds {values[wrong][0]}, but a label is a whole number; of scores take the argmax")
    if values.ndim == 2 and not np.isin(values, (0, 1)).all():
        raise InputError(f"{name} has shape {values.shape}, so it must hold 0 and 1 alone; for one label give (N,)")
    return values.astype(np.int64) if values.ndim == 2 else values


def plain_array(values: ArrayLike, name: str) -> Numbers:
    """An array of numbers or strings rather than of Python's objects.

    Raises: InputError for rows of unequal lengths.

    >>> plain_array(np.array(["a", "b"], dtype=object), "y_true").dtype.kind
    'U'
    """
    try:
        array = np.asarray(values)
        return np.asarray(array.tolist()) if array.dtype.kind in "OT" and array.size else array
    except ValueError:
        raise InputError(f"{name} has rows of unequal lengths; give each example a row of 0 and 1") from None


def example_weights(sample_weight: ArrayLike | None, n_examples: int) -> Numbers:
    """How much each example counts: whole numbers stay whole, so that counts do.

    Raises: InputError if there is not one finite weight for each example.

    >>> example_weights(None, 3).tolist()
    [1, 1, 1]
    """
    if sample_weight is None:
        return np.ones(n_examples, dtype=np.int64)
    weight = plain_array(sample_weight, "sample_weight")
    if weight.shape != (n_examples,):
        raise InputError(f"sample_weight has shape {weight.shape}, but there are {n_examples} examples; give each one")
    if weight.dtype.kind not in "biuf":
        raise InputError(f"sample_weight holds values of type {weight.dtype}, but a weight is a number; give numbers")
    if not np.isfinite(weight).all():
        wrong = weight[~np.isfinite(weight)][0].item()
        raise InputError(f"sample_weight holds {wrong}, but a weight is finite; leave the example out")
    return weight.astype(np.float64 if np.asarray(sample_weight).dtype.kind in "fO" else np.int64)


def require_weight(weight: Numbers) -> float:
    """How much all examples weigh together.

    Raises: InputError if that is nothing, so that there is no mean over them.
    """
    total = float(weight.sum())
    if total == 0:
        raise InputError("sample_weight sums to 0, so the score is a mean over nothing; give some example a weight")
    return total


def positions(values: Numbers, classes: Sequence[Any] | Numbers) -> NDArray[np.int64]:
    """Where each value stands among the classes; −1 if it is none of them.

    >>> positions(np.array(["b", "a", "z"]), ["a", "b"]).tolist()
    [1, 0, -1]
    """
    place = {label: position for position, label in enumerate(np.asarray(classes).tolist())}
    return np.array([place.get(value, -1) for value in values.tolist()], dtype=np.int64)


def require_classes(labels: ArrayLike) -> Numbers:
    """The classes that `labels` asks for.

    Raises: InputError if there are none, or one is named twice.
    """
    classes = plain_array(labels, "labels")
    if classes.ndim != 1 or not len(classes):
        raise InputError(f"labels={classes.tolist()} must name at least one class")
    if len(np.unique(classes)) < len(classes):
        raise InputError(f"labels={classes.tolist()} names a class twice; name each once")
    return classes
