"""Metrics of text: perplexity, and the two scores of answers, by the rules that were published with SQuAD."""

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import metrics
from minitransformer.errors import InputError
from minitransformer.metrics.answers import normalized_answer

# Perplexity.


@given(st.lists(st.floats(0, 20), min_size=1, max_size=13), st.integers(1, 13))
def test_perplexity_does_not_see_how_words_were_batched(losses, size):
    batches = [losses[i : i + size] for i in range(0, len(losses), size)]
    means, counts = [np.mean(batch) for batch in batches], [len(batch) for batch in batches]
    assert metrics.perplexity(means, counts) == pytest.approx(metrics.perplexity(losses))
    assert metrics.perplexity(np.mean(losses)) == pytest.approx(metrics.perplexity(losses))


@pytest.mark.parametrize("n_words", [1, 2, 30_522])
def test_a_blind_guess_is_as_perplexed_as_there_are_words(n_words):
    assert metrics.perplexity(-np.log(1 / n_words)) == pytest.approx(n_words)


def test_a_perplexity_that_no_float_holds_is_infinite():
    assert metrics.perplexity(1e4) == np.inf
    assert metrics.perplexity(np.inf) == np.inf


@pytest.mark.parametrize(
    ("loss", "counts", "message"),
    [
        (-0.5, None, "loss holds -0.5, but −ln p is 0 or more; turn the sign of ln p"),
        ([1.0, np.nan], None, "loss holds nan"),
        ([], None, r"loss has shape \(0,\) and counts \(0,\); give as many of both, and some"),
        ([1.0, 2.0], [1], r"loss has shape \(2,\) and counts \(1,\)"),
        ([1.0, 2.0], [0, 0], "counts holds 0.0 and sums to 0.0; say of how many words each loss is"),
        ([1.0, 2.0], [3, -1], "counts holds -1.0 and sums to 2.0"),
    ],
)
def test_what_is_no_loss_has_no_perplexity(loss, counts, message):
    with pytest.raises(InputError, match=message):
        metrics.perplexity(loss, counts)


# Answers.


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos", "The Denver Broncos"], 1, 1),
        ("the  DENVER broncos!", ["Denver Broncos"], 1, 1),
        ("Broncos", ["Denver Broncos"], 0, 2 / 3),
        ("Broncos Denver", ["Denver Broncos"], 0, 1),
        ("gold gold", ["gold"], 0, 2 / 3),
        ("Carolina Panthers", ["Denver Broncos"], 0, 0),
        ("in the city of Santa Clara", ["Santa Clara", "Santa Clara, California"], 0, 4 / 7),
        ("twenty-four", ["twenty four"], 0, 0),
        ("the", ["a"], 1, 1),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("an", [""], 1, 1),
        ("", ["the", "Paris"], 0, 0),
        ("anthem", ["them"], 0, 0),
        ("été", ["ÉTÉ."], 1, 1),
    ],
)
def test_answers_are_scored_by_the_published_rules(prediction, answers, exact, f1):
    assert metrics.exact_match_score(prediction, answers) == exact
    assert metrics.token_f1_score(prediction, answers) == pytest.approx(f1)


WORDS = st.lists(
    st.sampled_from(["The", "the", "A", "an", "gold", "Gold", "gold!", "(", "Bowl", "bowl,", "50"]), max_size=6
)
TEXTS = st.tuples(WORDS, st.sampled_from([" ", "  ", "\n"])).map(lambda drawn: drawn[1].join(drawn[0]))


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_an_exact_match_overlaps_fully_and_an_f1_of_0_is_no_match(prediction, answers):
    exact, f1 = metrics.exact_match_score(prediction, answers), metrics.token_f1_score(prediction, answers)
    assert exact in (0, 1)
    assert exact <= f1 <= 1


@given(TEXTS, st.lists(TEXTS, max_size=3), TEXTS)
def test_one_more_answer_never_lowers_a_score_if_there_was_one(prediction, answers, another):
    if any(normalized_answer(answer) for answer in answers):
        for score in (metrics.exact_match_score, metrics.token_f1_score):
            assert score(prediction, [*answers, another]) >= score(prediction, answers)


@given(TEXTS, TEXTS)
def test_f1_is_the_harmonic_mean_of_the_words_precision_and_recall(prediction, answer):
    predicted, truth = normalized_answer(prediction).split(), normalized_answer(answer).split()
    left = list(truth)
    for word in predicted:
        if word in left:
            left.remove(word)
    hits = len(truth) - len(left)
    if hits:
        precision, recall = hits / len(predicted), hits / len(truth)
        assert metrics.token_f1_score(prediction, [answer]) == pytest.approx(
            2 * precision * recall / (precision + recall)
        )
    else:
        assert metrics.token_f1_score(prediction, [answer]) == (predicted == truth)


@given(st.text(max_size=20))
def test_a_normalized_answer_is_bare_and_stays_as_it_is(text):
    bare = normalized_answer(text)
    assert not set(bare) & set(string.punctuation)
    assert not {"a", "an", "the"} & set(bare.split())
    assert normalized_answer(bare) == bare


def test_answers_that_are_a_string_are_refused():
    for score in (metrics.exact_match_score, metrics.token_f1_score):
        with pytest.raises(InputError, match=r"answers='Paris' must be a list of answers; write answers=\['Paris'\]"):
            score("Paris", "Paris")
