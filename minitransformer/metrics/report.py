"""All scores of all classes at a glance."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from minitransformer.errors import InputError
from minitransformer.metrics.labels import Judged, Numbers, require_classes, side_by_side
from minitransformer.metrics.precision_recall import ZeroDivision, precision_recall_fscore_support

COLUMNS = ("precision", "recall", "f1-score", "support")
Row = tuple[Any, Any, Any, Any]


@overload
def classification_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    target_names: Sequence[str] | None = None,
    sample_weight: ArrayLike | None = None,
    digits: int = 2,
    output_dict: Literal[False] = False,
    zero_division: ZeroDivision = "warn",
) -> str: ...


@overload
def classification_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    target_names: Sequence[str] | None = None,
    sample_weight: ArrayLike | None = None,
    digits: int = 2,
    output_dict: Literal[True],
    zero_division: ZeroDivision = "warn",
) -> dict[str, Any]: ...


def classification_report(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    target_names: Sequence[str] | np.ndarray | None = None,
    sample_weight: ArrayLike | None = None,
    digits: int = 2,
    output_dict: bool = False,
    zero_division: ZeroDivision = "warn",
) -> str | dict[str, Any]:
    """Precision, recall, F1 and support of each class and of their means: a table, or the numbers by name.

    Where every class that occurs is reported on, and examples have one label, the micro average is the accuracy, and
    called so. `target_names` names the classes in the order of `labels`.

    Source: `precision_recall_fscore_support` says what each number is; the layout is scikit-learn's.

    Raises: InputError if there is not a name for each class, and as `precision_recall_fscore_support`.

    >>> print(classification_report([0, 1, 1, 1], [0, 1, 0, 1], target_names=["sea", "farm"]))
                  precision    recall  f1-score   support
    <BLANKLINE>
             sea       0.50      1.00      0.67         1
            farm       1.00      0.67      0.80         3
    <BLANKLINE>
        accuracy                           0.75         4
       macro avg       0.75      0.83      0.73         4
    weighted avg       0.88      0.75      0.77         4
    <BLANKLINE>
    """
    judged = side_by_side(y_true, y_pred, sample_weight)
    classes = judged.classes if labels is None else require_classes(labels)
    names = class_names(classes, target_names, labels_given=labels is not None)

    def scores(average: str | None) -> Row:
        return precision_recall_fscore_support(
            y_true,
            y_pred,
            labels=classes,
            average=average,
            sample_weight=sample_weight,
            zero_division=zero_division,
        )

    of_classes = scores(None)
    support = of_classes[3].sum()
    rows = dict(zip(names, zip(*of_classes, strict=True), strict=False))
    means = {heading: (*scores(average)[:3], support) for heading, average in mean_headings(judged, classes).items()}
    return as_numbers(rows, means) if output_dict else as_table(rows, means, digits)


def class_names(classes: Numbers, target_names: Sequence[str] | np.ndarray | None, labels_given: bool) -> list[str]:
    """What the classes are called: as told, or by themselves.

    Raises: InputError if there is not a name for each class that was found.

    >>> class_names(np.array([3, 5]), None, labels_given=False)
    ['3', '5']
    """
    if target_names is None:
        return [str(label) for label in classes]
    if len(target_names) == len(classes):
        return list(target_names)
    counts = f"target_names names {len(target_names)} classes, but there are {len(classes)}: {classes.tolist()}"
    if not labels_given:
        raise InputError(f"{counts}; say in labels which classes there are")
    warnings.warn(f"{counts} in labels; only the first of each are shown", stacklevel=3)
    return list(target_names)


def mean_headings(judged: Judged, classes: Numbers) -> dict[str, str]:
    """What the rows of means are called, and which average each of them is.

    >>> mean_headings(side_by_side([0, 1], [0, 1]), np.array([0]))
    {'micro avg': 'micro', 'macro avg': 'macro', 'weighted avg': 'weighted'}
    """
    is_accuracy = not judged.multilabel and set(classes.tolist()) >= set(judged.classes.tolist())
    averages = ("micro", "macro", "weighted", "samples") if judged.multilabel else ("micro", "macro", "weighted")
    return {"accuracy" if is_accuracy and average == "micro" else f"{average} avg": average for average in averages}


def as_numbers(rows: dict[str, Row], means: dict[str, Row]) -> dict[str, Any]:
    """The scores by class and column; the accuracy as a number alone."""
    numbers: dict[str, Any] = {
        name: dict(zip(COLUMNS, map(float, row), strict=True)) for name, row in (rows | means).items()
    }
    return numbers | ({"accuracy": float(means["accuracy"][0])} if "accuracy" in means else {})


def as_table(rows: dict[str, Row], means: dict[str, Row], digits: int) -> str:
    """The scores as text, each class in a line and the means below."""
    width = max(digits, *(len(name) for name in (*rows, "weighted avg")))
    lines = [table_line("", COLUMNS, width), ""]
    lines += [table_line(name, as_text(row, digits), width) for name, row in rows.items()]
    lines += [""]
    for name, row in means.items():
        cells = as_text(row, digits)
        lines.append(table_line(name, ("", "", *cells[2:]) if name == "accuracy" else cells, width))
    return "\n".join(lines) + "\n"


def as_text(row: Row, digits: int) -> tuple[str, ...]:
    """Shares with so many digits, and the support as it is.

    >>> as_text((1.0, 0.5, 2 / 3, 4), digits=2)
    ('1.00', '0.50', '0.67', '4')
    """
    return (*(f"{share:.{digits}f}" for share in row[:3]), str(row[3]))


def table_line(name: str, cells: Sequence[str], width: int) -> str:
    """A name and cells, each aligned to the right of its column."""
    return f"{name:>{width}s} " + "".join(f" {cell:>9}" for cell in cells)
