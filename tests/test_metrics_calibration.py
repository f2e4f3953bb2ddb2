"""Metrics of probabilities: scikit-learn's log loss, and the calibration error as it was published."""

import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import metrics
from minitransformer.errors import InputError


@st.composite
def judged_probabilities(draw, type_of_number=np.float64):
    """True columns, their probabilities, and perhaps weights."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n_examples, n_classes = draw(st.integers(1, 11), label="n_examples"), draw(st.integers(2, 5), label="n_classes")
    scores = np.exp(
        draw(st.sampled_from([0.1, 3.0, 60.0]), label="scale") * generator.normal(size=(n_examples, n_classes))
    )
    weight = generator.integers(1, 5, n_examples) / 8 if draw(st.booleans(), label="weighted") else None
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(type_of_number)
    return generator.integers(0, n_classes, n_examples), probabilities, weight


@pytest.mark.parametrize("type_of_number", [np.float64, np.float32])
@given(st.data(), st.booleans(), st.booleans())
def test_log_loss_is_scikit_learns(type_of_number, data, normalize, in_words):
    truth, probabilities, weight = data.draw(judged_probabilities(type_of_number))
    labels = np.arange(probabilities.shape[1])
    if in_words:
        truth, labels = np.array(list("abcde"))[truth], np.array(list("abcde"))[labels]
    options = {"labels": labels, "sample_weight": weight, "normalize": normalize}
    expected = sklearn.metrics.log_loss(truth, probabilities, **options)
    # Theirs computes in the type of the probabilities, ours in float64.
    rtol = 1e-12 if type_of_number is np.float64 else 1e-5
    assert metrics.log_loss(truth, probabilities, **options) == pytest.approx(expected, rel=rtol, abs=1e-6)


@given(judged_probabilities())
def test_one_probability_is_of_the_second_of_two_classes(judged):
    truth, probabilities, _ = judged
    second = probabilities[:, 1]
    both = np.stack([1 - second, second], axis=1)
    for metric in (
        lambda p: metrics.log_loss(truth > 0, p, labels=[False, True]),
        lambda p: metrics.expected_calibration_error(truth > 0, p),
    ):
        assert metric(second) == metric(second[:, None]) == metric(both)


def published_calibration_error(truth, probabilities, n_bins):
    """Guo et al. 2017, Eq. 3, as it stands there: the bins one by one."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    error = 0.0
    for m in range(1, n_bins + 1):
        in_bin = ((m - 1) / n_bins < confidence) & (confidence <= m / n_bins)
        if in_bin.any():
            error += in_bin.sum() / len(truth) * abs(right[in_bin].mean() - confidence[in_bin].mean())
    return error


@given(judged_probabilities(), st.sampled_from([1, 2, 7, 15]))
def test_the_calibration_error_is_the_published_one(judged, n_bins):
    truth, probabilities, _ = judged
    expected = published_calibration_error(truth, probabilities, n_bins)
    assert metrics.expected_calibration_error(truth, probabilities, n_bins) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 30), st.data())
def test_a_border_belongs_to_the_bin_below_it(n_bins, data):
    border = data.draw(st.integers(n_bins // 2 + 1, n_bins), label="border") / n_bins
    probabilities = np.array([[border, 1 - border], [np.nextafter(border, 0), 1 - border]])
    # In one bin, one right and one wrong answer make up for each other; in two bins they cannot.
    together = metrics.expected_calibration_error([0, 1], probabilities, n_bins)
    assert together == pytest.approx(abs(0.5 - border))
    if border < 1:
        probabilities[1, 0] = np.nextafter(border, 1)
        apart = metrics.expected_calibration_error([0, 1], probabilities, n_bins)
        assert apart == pytest.approx((1 - border + border) / 2)


def test_a_model_that_is_as_right_as_it_is_sure_has_no_calibration_error():
    probabilities = np.tile([0.75, 0.25], (8, 1))
    assert metrics.expected_calibration_error([0, 0, 0, 1] * 2, probabilities) == 0.0


def test_rows_that_do_not_sum_to_one_are_warned_of():
    with pytest.warns(UserWarning, match="rows that do not sum to 1"):
        assert metrics.log_loss([0, 1], [[0.5, 0.4], [0.5, 0.5]]) == pytest.approx(math.log(2))


def test_labels_out_of_order_are_warned_of():
    with pytest.warns(UserWarning, match=r"labels=\['b', 'a'\] is out of order; the columns are read as \['a', 'b'\]"):
        assert metrics.log_loss(["a", "b"], [[1.0, 0.0], [0.0, 1.0]], labels=["b", "a"]) == pytest.approx(0)


HALVES = [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1, 1], HALVES), {}, r"y_proba has shape \(2, 2\), but y_true holds 3 labels"),
        (([0, 1], [[1.5, -0.5], [0.5, 0.5]]), {}, "y_proba holds 1.5, but a probability lies from 0 to 1"),
        (([0, 1], [np.nan, 0.5]), {}, "y_proba holds nan, but a probability lies from 0 to 1"),
        (([2, 2], HALVES), {}, r"y_proba has 2 columns for the 1 classes \[2\]; name each class in labels"),
        (([0, 1], HALVES), {"labels": [0, 1, 2]}, r"2 columns for the 3 classes \[0, 1, 2\]"),
        (([0, 5], HALVES), {"labels": [0, 1]}, r"y_true holds 5, which labels=\[0, 1\] does not"),
        (([0, 1], HALVES), {"sample_weight": [0, 0]}, "sample_weight sums to 0"),
        (([0, 1], HALVES), {"sample_weight": [1]}, "but there are 2 examples"),
    ],
)
def test_probabilities_that_cannot_be_judged_are_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        metrics.log_loss(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 2], HALVES), "y_true holds 2, but must number the true columns, from 0 to 1"),
        ((["a", "b"], HALVES), "y_true holds 'a', but must number"),
        (([0, 1], HALVES, 0), "n_bins=0 must be at least 1"),
        (([0, 1], [3.0, -1.0]), "probabilities holds 3.0, but a probability lies from 0 to 1; take the softmax"),
    ],
)
def test_what_has_no_calibration_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        metrics.expected_calibration_error(*arguments)
