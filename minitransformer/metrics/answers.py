"""How well an answer in words fits the answers that people gave: the two scores of SQuAD."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from minitransformer.errors import InputError

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match_score(prediction: str, answers: Sequence[str]) -> float:
    """1 if the prediction is one of the answers, up to case, punctuation, articles and white space; else 0.

    Formula: max over answers a of [n(prediction) = n(a)], with n as `normalized_answer`.

    No answers, or only such of which nothing is left, mean that the question has none: then only a prediction of which
    nothing is left is right. The score of a data set is the mean over its questions, mostly given in percent.

    Source: Rajpurkar et al. 2016, §6.1; questions without an answer: Rajpurkar et al. 2018.

    Raises: InputError if the answers are a string.

    >>> exact_match_score("The Seine.", ["Seine", "the river Seine"])
    1.0
    >>> exact_match_score("Seine", [])
    0.0
    """
    return best_over(answers, lambda answer: float(normalized_answer(prediction) == answer))


def token_f1_score(prediction: str, answers: Sequence[str]) -> float:
    """How much the words of the prediction overlap with those of the answer that fits best.

    Formula: max over answers of 2 P R / (P + R) = 2 h / (p + a), with h words in common, each as often as in both, p
    words predicted and a words in the answer, after `normalized_answer`.

    Where nothing is left of the prediction or the answer, 1 if nothing is left of both, else 0. So a question without
    an answer is scored as by `exact_match_score`.

    Source: Rajpurkar et al. 2016, §6.1; questions without an answer: Rajpurkar et al. 2018.

    Raises: InputError if the answers are a string.

    >>> token_f1_score("the river Seine", ["Seine", "Loire"])
    0.6666666666666666
    >>> token_f1_score("", [])
    1.0
    """
    return best_over(answers, lambda answer: overlap(normalized_answer(prediction).split(), answer.split()))


def best_over(answers: Sequence[str], score: Callable[[str], float]) -> float:
    """The best score over the answers of which something is left; over the empty one if there are none.

    Raises: InputError if the answers are a string, whose letters would count as answers.
    """
    if isinstance(answers, str):
        raise InputError(f"answers={answers!r} must be a list of answers; write answers=[{answers!r}]")
    normalized = [normalized_answer(answer) for answer in answers]
    return max(score(answer) for answer in [answer for answer in normalized if answer] or [""])


def overlap(predicted: Sequence[str], truth: Sequence[str]) -> float:
    """F1 of the words of a prediction, taken as bags: order does not count, repetition does.

    >>> overlap(["big", "big", "boat"], ["big", "boat"])
    0.8
    """
    if not predicted or not truth:
        return float(predicted == truth)
    common = Counter(predicted) & Counter(truth)
    return 2 * common.total() / (len(predicted) + len(truth))


def normalized_answer(text: str) -> str:
    """Lower-case words without ASCII punctuation and English articles, one space apart.

    Source: Rajpurkar et al. 2016, §6.1, names punctuation and articles; lower case, white space and the order of the
    steps are of the evaluation script published with it.

    >>> normalized_answer("The  U.S.A. (an ally)")
    'usa ally'
    """
    bare = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())
