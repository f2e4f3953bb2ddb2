"""Metrics of classes: scikit-learn's values and warnings, in its edge cases too."""

import re
import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning as TheirUndefinedMetricWarning

from minitransformer import metrics
from minitransformer.errors import InputError

# What the classes are called: in no order, as numbers, words, noes and yeses.
NAMES = [[0, 1, 2, 3, 4], [7, -3, 5, 0, 2], ["spam", "ham", "", "Ham", "egg"], [1.0, 0.0, 3.0, 2.0, 9.0], [True, False]]
# In a report, whole counts and weights may stand as 5 or 5.0: theirs depend on whether there was a hit.
WHOLE = re.compile(r" +(\d+)(\.0)?$", re.MULTILINE)
# Theirs are slow: they check the same arguments several times over.
fewer_examples = settings(max_examples=max(25, settings.default.max_examples // 4))
SEEDS = st.integers(0, 2**32 - 1)


def drawn_weights(draw, generator, n_examples):
    """No weights, whole ones, or eighths, some of them 0: their sums are exact, so that 0/0 is 0/0."""
    kind = draw(st.sampled_from(["none", "whole", "eighths"]), label="weights")
    weight = generator.integers(0, 5, n_examples)
    weight[0] += 1
    return {"none": None, "whole": weight, "eighths": weight / 8}[kind]


@st.composite
def judged_labels(draw):
    """Truths, predictions and perhaps weights, of few examples and few classes, so that classes go missing."""
    generator = np.random.default_rng(draw(SEEDS, label="seed"))
    names = np.array(draw(st.sampled_from(NAMES), label="names"))
    n_examples = draw(st.integers(1, 13), label="n_examples")
    n_classes = draw(st.integers(1, len(names)), label="n_classes")
    truth, predicted = names[generator.integers(0, n_classes, (2, n_examples))]
    return truth, predicted, drawn_weights(draw, generator, n_examples)


@st.composite
def judged_rows(draw):
    """Several labels for each example, as rows of 0 and 1: some empty, some columns empty."""
    generator = np.random.default_rng(draw(SEEDS, label="seed"))
    n_examples, n_classes = draw(st.integers(1, 7), label="n_examples"), draw(st.integers(2, 5), label="n_classes")
    share = draw(st.sampled_from([0.0, 0.2, 0.6]), label="share")
    truth, predicted = (generator.random((2, n_examples, n_classes)) < share).astype(int)
    return truth, predicted, drawn_weights(draw, generator, n_examples)


def with_warnings(score, *arguments, **options):
    """A score, and what it warned of: the score that was 0/0, or "user" for any other warning."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        value = score(*arguments, **options)
    undefined = (metrics.UndefinedMetricWarning, TheirUndefinedMetricWarning)
    kinds = [
        str(item.message).split()[0].lower() if issubclass(item.category, undefined) else "user"
        for item in record
        if issubclass(item.category, UserWarning)
    ]
    return value, kinds


def same_as_theirs(name, *arguments, **options):
    """Hold a function against scikit-learn's of that name: values up to rounding, None, NaN, and the warnings."""
    ours, our_warnings = with_warnings(getattr(metrics, name), *arguments, **options)
    theirs, their_warnings = with_warnings(getattr(sklearn.metrics, name), *arguments, **options)
    assert our_warnings == their_warnings
    same(ours, theirs)


def same(ours, theirs):
    if isinstance(theirs, tuple):
        for part, wanted in zip(ours, theirs, strict=True):
            same(part, wanted)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for name in theirs:
            same(ours[name], theirs[name])
    elif isinstance(theirs, str):
        assert WHOLE.sub(r" \1", ours) == WHOLE.sub(r" \1", theirs)
    elif theirs is None:
        assert ours is None
    else:
        assert np.shape(ours) == np.shape(theirs)
        np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=1e-12, atol=1e-12)


def some_labels(draw, judged):
    """None, or some of the classes in another order; of single labels perhaps one that never occurs."""
    truth, predicted, _ = judged
    classes = np.unique([truth, predicted]) if truth.ndim == 1 else np.arange(truth.shape[1])
    chosen = draw(st.permutations(classes.tolist()), label="classes")[: draw(st.integers(1, 4), label="how many")]
    if truth.ndim == 1 and truth.dtype.kind in "iU" and draw(st.booleans(), label="one more"):
        chosen = [*chosen, "zebra" if truth.dtype.kind == "U" else 99]
    return draw(st.sampled_from([None, chosen]), label="labels")


ZERO_DIVISIONS = st.sampled_from(["warn", 0, 1, 0.0, 1.0, np.nan])
BETAS = st.sampled_from([0, 0.5, 1.0, 2, np.inf])


@fewer_examples
@given(st.data(), st.sampled_from([None, "micro", "macro", "weighted"]), ZERO_DIVISIONS, BETAS)
def test_precision_recall_and_f_score_are_scikit_learns(data, average, zero_division, beta):
    truth, predicted, weight = judged = data.draw(judged_labels())
    options = {"average": average, "zero_division": zero_division, "sample_weight": weight}
    options["labels"] = some_labels(data.draw, judged)
    same_as_theirs("precision_recall_fscore_support", truth, predicted, beta=beta, **options)


@fewer_examples
@given(st.data(), st.sampled_from([None, "micro", "macro", "weighted", "samples"]), ZERO_DIVISIONS, BETAS)
def test_several_labels_for_each_example_are_scored_as_by_scikit_learn(data, average, zero_division, beta):
    truth, predicted, weight = judged = data.draw(judged_rows())
    options = {"average": average, "zero_division": zero_division, "sample_weight": weight}
    options["labels"] = some_labels(data.draw, judged)
    same_as_theirs("precision_recall_fscore_support", truth, predicted, beta=beta, **options)


@fewer_examples
@given(judged_labels(), st.sampled_from(["precision_score", "recall_score", "f1_score"]), ZERO_DIVISIONS, st.booleans())
def test_a_single_score_is_scikit_learns(judged, name, zero_division, of_two):
    truth, predicted, weight = judged
    two = np.unique([truth, predicted])[:2]
    options = {"zero_division": zero_division, "sample_weight": weight}
    if of_two:
        truth, predicted = (np.where(labels == two[0], two[0], two[-1]) for labels in (truth, predicted))
        same_as_theirs(name, truth, predicted, pos_label=two[-1].item(), **options)
    else:
        same_as_theirs(name, truth, predicted, average="macro", **options)


@given(judged_labels(), BETAS)
def test_a_score_of_one_class_is_that_class_of_all(judged, beta):
    truth, predicted, weight = judged
    options = {"beta": beta, "sample_weight": weight, "zero_division": 0}
    of_all = metrics.fbeta_score(truth, predicted, average=None, **options)
    for label, score in zip(np.unique([truth, predicted]), of_all, strict=True):
        assert metrics.fbeta_score(truth, predicted, labels=[label], average="macro", **options) == score


@fewer_examples
@given(st.data(), st.sampled_from([None, "true", "pred", "all"]))
def test_the_confusion_matrix_is_scikit_learns(data, normalize):
    truth, predicted, weight = judged = data.draw(judged_labels())
    labels = some_labels(data.draw, judged)
    options = {"labels": labels, "normalize": normalize, "sample_weight": weight}
    if labels is None or np.isin(truth, labels).any():
        same_as_theirs("confusion_matrix", truth, predicted, **options)
    else:
        with pytest.raises(InputError, match="must name at least one class that occurs in y_true"):
            metrics.confusion_matrix(truth, predicted, **options)


@fewer_examples
@given(judged_labels())
def test_matthews_correlation_is_scikit_learns(judged):
    truth, predicted, weight = judged
    # Theirs also warns of a single class, by way of its confusion matrix.
    expected, _ = with_warnings(sklearn.metrics.matthews_corrcoef, truth, predicted, sample_weight=weight)
    assert metrics.matthews_corrcoef(truth, predicted, sample_weight=weight) == pytest.approx(expected, abs=1e-12)


def test_matthews_correlation_with_a_single_class_is_0_whatever_the_rounding():
    generator = np.random.default_rng(5)
    for _ in range(100):
        predicted, weight = generator.integers(0, 3, 7), generator.random(7)
        assert metrics.matthews_corrcoef(np.zeros(7, int), predicted, sample_weight=weight) == 0.0


@fewer_examples
@given(judged_labels() | judged_rows(), st.booleans())
def test_accuracy_is_scikit_learns(judged, normalize):
    truth, predicted, weight = judged
    same_as_theirs("accuracy_score", truth, predicted, normalize=normalize, sample_weight=weight)


@fewer_examples
@given(judged_labels(), st.booleans())
def test_balanced_accuracy_is_scikit_learns(judged, adjusted):
    truth, predicted, weight = judged
    several = len(np.unique(truth[slice(None) if weight is None else weight > 0])) > 1
    if several:
        same_as_theirs("balanced_accuracy_score", truth, predicted, sample_weight=weight, adjusted=adjusted)
    else:
        score, kinds = with_warnings(
            metrics.balanced_accuracy_score, truth, predicted, sample_weight=weight, adjusted=adjusted
        )
        assert np.isnan(score) if adjusted else 0 <= score <= 1
        assert ("adjusted=true" in kinds) == adjusted


@fewer_examples
@given(st.data(), st.sampled_from([0, 2, 3]), st.booleans(), ZERO_DIVISIONS)
def test_the_report_is_scikit_learns_to_the_letter(data, digits, output_dict, zero_division):
    truth, predicted, weight = judged = data.draw(judged_labels() | judged_rows())
    labels = some_labels(data.draw, judged)
    options = {"labels": labels, "sample_weight": weight, "digits": digits, "output_dict": output_dict}
    same_as_theirs("classification_report", truth, predicted, zero_division=zero_division, **options)


@pytest.mark.parametrize("names", [["low", "high"], np.array(["low", "high"])])
def test_the_report_names_classes_as_told(names):
    same_as_theirs("classification_report", [3, 5, 5], [3, 5, 3], target_names=names)
    same_as_theirs("classification_report", [3, 5, 5], [3, 5, 3], labels=[3, 5, 8], target_names=names)


# What cannot be scored.

TARGETS = [
    [0, 1, 1],
    [2, 3, 1],
    ["a", "b", "a"],
    [[2], [3], [1]],
    [0.0, 1.5, 1.0],
    [0.0, np.nan, 1.0],
    [0, 1],
    [],
    [[0, 1], [1, 0], [1, 1]],
    [[0, 2], [1, 3], [2, 3]],
    [[0.5, 2.0], [1.1, 3.0], [2.0, 3.0]],
    [(1, 2), (0, 2, 3), (1,)],
    np.array([None, "a", "b"], dtype=object),
    np.zeros((3, 2, 2), int),
]


@pytest.mark.parametrize("truth", TARGETS)
@pytest.mark.parametrize("predicted", TARGETS)
def test_what_scikit_learn_cannot_score_is_refused_and_what_it_can_is_scored(truth, predicted):
    try:
        with np.errstate(invalid="ignore"):
            expected = sklearn.metrics.accuracy_score(truth, predicted)
    except (TypeError, ValueError):
        with pytest.raises(InputError, match=r"^y_(true|pred) (has|holds) "):
            metrics.accuracy_score(truth, predicted)
    else:
        assert metrics.accuracy_score(truth, predicted) == expected


def test_a_class_that_is_never_called_is_warned_of():
    with pytest.warns(metrics.UndefinedMetricWarning, match="precision is 0/0 where nothing is predicted"):
        assert metrics.precision_score([0, 1], [0, 0]) == 0.0


TWO = ([0, 1], [0, 1])
ROWS = ([[0, 1], [1, 0]], [[0, 1], [1, 1]])


@pytest.mark.parametrize(
    ("name", "arguments", "options", "message"),
    [
        ("f1_score", ([0, 1], [0]), {}, r"y_true has shape \(2,\) and y_pred \(1,\)"),
        ("f1_score", ([], []), {}, "and some"),
        ("f1_score", (["a"], [0]), {}, "y_true holds 'a' and y_pred 0; write both as strings or both as numbers"),
        ("f1_score", ([0.5], [1.0]), {}, "y_true holds 0.5, but a label is a whole number; of scores take the argmax"),
        ("f1_score", ([0, 1, 2], [0, 1, 2]), {}, "average='binary' is for two classes, but 3 occur"),
        ("f1_score", ROWS, {}, "average='binary' is for two classes, but y_true has 2 columns"),
        ("f1_score", TWO, {"pos_label": 7}, r"pos_label=7 is not one of the classes \[0, 1\]"),
        ("f1_score", TWO, {"average": "median"}, "average='median' is not one of None, 'binary'"),
        ("f1_score", TWO, {"average": "samples"}, "average='samples' is for several labels"),
        ("f1_score", ROWS, {"average": "micro", "labels": [0, 2]}, "labels holds 2, but y_true has the columns 0 to 1"),
        ("f1_score", TWO, {"average": None, "labels": [1, 1]}, r"labels=\[1, 1\] names a class twice"),
        ("f1_score", TWO, {"average": None, "labels": []}, r"labels=\[\] must name at least one class"),
        ("f1_score", TWO, {"sample_weight": [1.0]}, "but there are 2 examples"),
        ("f1_score", TWO, {"sample_weight": [1.0, np.inf]}, "sample_weight holds inf, but a weight is finite"),
        ("f1_score", TWO, {"sample_weight": ["1", "2"]}, "sample_weight holds values of type <U1"),
        ("f1_score", TWO, {"zero_division": 0.5}, "zero_division=0.5 must be 'warn', 0, 1 or NaN"),
        ("fbeta_score", TWO, {"beta": -1.0}, "beta=-1.0 must be 0 or more"),
        ("fbeta_score", TWO, {"beta": np.nan}, "beta=nan must be 0 or more"),
        ("accuracy_score", TWO, {"sample_weight": [0, 0]}, "sample_weight sums to 0"),
        ("balanced_accuracy_score", TWO, {"sample_weight": [0, 0]}, "sample_weight sums to 0"),
        ("confusion_matrix", TWO, {"normalize": "rows"}, "normalize='rows' is not one of 'true', 'pred', 'all', None"),
        ("confusion_matrix", ROWS, {}, "judge each column by itself"),
        ("matthews_corrcoef", ROWS, {}, "judge each column by itself"),
        ("classification_report", TWO, {"target_names": ["a"]}, "target_names names 1 classes, but there are 2"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(name, arguments, options, message):
    with pytest.raises(InputError, match=message):
        getattr(metrics, name)(*arguments, **options)
