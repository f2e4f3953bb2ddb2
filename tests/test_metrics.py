"""Metrics: scikit-learn's values, in its edge cases too."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import metrics
from minitransformer.errors import InputError


@st.composite
def judged_labels(draw):
    """Truths, predictions and perhaps weights, of few examples and few classes, so that classes go missing."""
    n_examples = draw(st.integers(1, 13), label="n_examples")
    n_classes = draw(st.integers(1, 5), label="n_classes")
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    truth, predicted = generator.integers(0, n_classes, (2, n_examples))
    weight = generator.random(n_examples) + 0.1 if draw(st.booleans(), label="weighted") else None
    return truth, predicted, weight


def same(actual, expected):
    """Equal up to rounding, undefined in the same places, and None where None is."""
    for ours, theirs in zip(actual, expected, strict=True):
        if theirs is None:
            assert ours is None
        else:
            np.testing.assert_allclose(np.asarray(ours, float), np.asarray(theirs, float), rtol=1e-12, atol=1e-12)


@given(
    judged_labels(),
    st.sampled_from([None, "micro", "macro", "weighted"]),
    st.sampled_from([0.0, 1.0, np.nan]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, np.inf]),
)
def test_precision_recall_and_f_score_are_scikit_learns(judged, average, zero_division, beta):
    truth, predicted, weight = judged
    options = {"average": average, "zero_division": zero_division, "beta": beta, "sample_weight": weight}
    same(
        metrics.precision_recall_fscore_support(truth, predicted, **options),
        sklearn.metrics.precision_recall_fscore_support(truth, predicted, **options),
    )


@given(judged_labels(), st.sampled_from([None, "true", "pred", "all"]))
def test_the_confusion_matrix_is_scikit_learns(judged, normalize):
    truth, predicted, weight = judged
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn.metrics.confusion_matrix(truth, predicted, normalize=normalize, sample_weight=weight)
    same([metrics.confusion_matrix(truth, predicted, normalize=normalize, sample_weight=weight)], [expected])


@given(judged_labels())
def test_accuracy_and_matthews_correlation_are_scikit_learns(judged):
    truth, predicted, weight = judged
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn.metrics.matthews_corrcoef(truth, predicted, sample_weight=weight)
    assert metrics.matthews_corrcoef(truth, predicted, sample_weight=weight) == pytest.approx(expected, abs=1e-12)
    for normalize in (True, False):
        options = {"normalize": normalize, "sample_weight": weight}
        assert metrics.accuracy_score(truth, predicted, **options) == pytest.approx(
            sklearn.metrics.accuracy_score(truth, predicted, **options)
        )


@pytest.mark.parametrize("name", ["precision_score", "recall_score", "f1_score"])
def test_a_single_score_is_its_part_of_the_whole(name):
    truth, predicted = [0, 1, 1, 0, 1], [1, 1, 0, 0, 1]
    assert getattr(metrics, name)(truth, predicted) == pytest.approx(getattr(sklearn.metrics, name)(truth, predicted))
    words = [["ham", "spam"][label] for label in truth], [["ham", "spam"][label] for label in predicted]
    assert getattr(metrics, name)(*words, pos_label="spam") == pytest.approx(
        getattr(sklearn.metrics, name)(*words, pos_label="spam")
    )


def test_labels_choose_and_order_the_rows_of_the_confusion_matrix():
    truth, predicted = [2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2]
    expected = sklearn.metrics.confusion_matrix(truth, predicted, labels=[2, 0])
    assert metrics.confusion_matrix(truth, predicted, labels=[2, 0]).tolist() == expected.tolist()


def test_a_class_that_is_never_called_is_warned_of():
    with pytest.warns(UserWarning, match="precision is 0/0"):
        assert metrics.precision_score([0, 1], [0, 0]) == 0.0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1], [0]), {}, r"y_true has shape \(2,\) and y_pred \(1,\)"),
        (([], []), {}, "and some"),
        (([0, 1, 2], [0, 1, 2]), {}, "average='binary' is for two classes, but 3 occur"),
        (([0, 1], [0, 1]), {"pos_label": 7}, "pos_label=7 is not one of the classes"),
        (([0, 1], [0, 1]), {"average": "median"}, "average='median' is not one of"),
        (([0, 1], [0, 1]), {"sample_weight": [1.0]}, "but there are 2 examples"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        metrics.f1_score(*arguments, **options)
