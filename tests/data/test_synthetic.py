"""The synthetic language: its known optima against enumeration, and against simulation through the whole pipeline."""

import functools
import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from minitransformer.batches import MaskedLanguageCollator, NextSentencePairs
from minitransformer.corpora import SyntheticLanguage
from minitransformer.corpora.synthetic import SLOTS, TOPICS, selected_word_loss
from minitransformer.errors import InputError
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer

WORDS = 12  # in a pair of one sentence each
SIX_SIGMA = 6.1  # a normal variable is farther out once in a billion


def slot_likelihoods(language, vocabulary, seen):
    """For every topic and number: the chance of each word seen at its slot, if shown as it is, and if selected.

    `seen` holds numbers of words, or -1 for [MASK]; the result has the axes topic and number, example, word.
    """
    size = len(vocabulary)
    shown, selected = [], []
    for topic, plural in itertools.product(range(language.topics), (False, True)):
        prior = np.zeros((len(SLOTS), size + 1))  # the last column stands for [MASK]
        for slot, words in enumerate(language.fitting_words(topic, plural)):
            prior[slot, [vocabulary.index(word) for word in words]] = 1 / len(words)
        channel = 0.1 * prior + 0.1 / size
        channel[:, -1] = 0.8
        slots = np.arange(WORDS) % len(SLOTS)
        shown.append(prior[slots, seen])
        selected.append(channel[slots, seen])
    return np.array(shown), np.array(selected)


def topic_prior(language):
    """The chance of two topics in a pair: the same in true pairs, any in false ones."""
    topics = language.topics
    return 0.5 * np.eye(topics) / topics + 0.5 / topics**2


def evidence(language, vocabulary, seen, position):
    """For every topic and number of the first sentence: the chance of all words seen but the one at `position`.

    Nothing is assumed here: it sums over which words were selected (that one alone, or one more: 1.8 of 12 are), over
    both topics and both numbers, and over what stood at the changed words.
    """
    shown, selected = slot_likelihoods(language, vocabulary, seen)
    others = [other for other in range(WORDS) if other != position]
    total = 0.0
    for changed, chance in [(None, 0.2 / 12), *((other, 0.8 / 66) for other in others)]:
        factors = np.where(np.arange(WORDS) == changed, selected, shown)
        factors[:, :, position] = 1.0
        first = factors[:, :, :6].prod(axis=2).reshape(language.topics, 2, -1)
        second = factors[:, :, 6:].prod(axis=2).reshape(language.topics, 2, -1).mean(axis=1)
        total = total + chance * first / 2 * np.einsum("tu,ue->te", topic_prior(language), second)[:, None]
    return total


def enumerated_loss(language, position, second_topic):
    """The expected loss at a selected position of a pair, over every way to select and change its words."""
    vocabulary = list(language.vocabulary)
    size = len(vocabulary)
    truth = [words[0] for topic in (0, second_topic) for words in language.fitting_words(topic, plural=False)]
    truth = np.array([vocabulary.index(word) for word in truth])
    shown_as = np.arange(-1, size)
    chance_of = np.where(shown_as == -1, 0.8, 0.1 / size)
    seen, weights = [], []
    for other in range(WORDS):
        for other_shown, other_chance in (
            [(None, 0.2 / 12)] if other == position else zip(shown_as, chance_of, strict=True)
        ):
            rows = np.repeat(truth[None], size + 1, axis=0)
            rows[:, position] = shown_as
            weight = chance_of + 0.1 * (shown_as == truth[position])
            if other != position:
                rows[:, other] = other_shown
                weight = weight * (other_chance + 0.1 * (other_shown == truth[other])) * 0.8 / 66
            else:
                weight = weight * other_chance
            seen.append(rows)
            weights.append(weight)
    seen, weights = np.concatenate(seen), np.concatenate(weights)
    settings = evidence(language, vocabulary, seen, position).reshape(2 * language.topics, -1)
    posterior = np.zeros((size, len(seen)))
    for setting, (topic, plural) in zip(
        settings, itertools.product(range(language.topics), (False, True)), strict=True
    ):
        words = language.fitting_words(topic, plural)[position]
        for word in words:
            number = vocabulary.index(word)
            said = seen[:, position]
            likelihood = np.where(said == -1, 0.8, 0.1 / size + 0.1 * (said == number))
            posterior[number] += setting / len(words) * likelihood
    right = posterior[truth[position]] / posterior.sum(axis=0)
    return float(-(weights * np.log(right)).sum() / weights.sum())


@pytest.mark.parametrize("second_topic", [0, 1])
def test_the_masked_word_optimum_is_the_enumerated_one(second_topic):
    """Kills: a Bayes loss that forgets kept or random words, or that the topic is not always certain."""
    language = SyntheticLanguage(topics=2, words=2)
    losses = [enumerated_loss(language, position, second_topic) for position in range(len(SLOTS))]
    assert math.fsum(losses) / len(losses) == pytest.approx(language.bayes_masked_word_loss(), rel=1e-12)


def test_a_word_of_which_nothing_can_be_known_costs_its_entropy():
    assert selected_word_loss(3, 50, mask_share=1.0, random_share=0.0) == pytest.approx(math.log(3))
    assert selected_word_loss(3, 3, mask_share=0.0, random_share=1.0) == pytest.approx(math.log(3))
    assert selected_word_loss(3, 50, mask_share=0.0, random_share=0.0) == 0.0


@pytest.fixture(scope="module")
def shards(language, word_tokenizer, tmp_path_factory):
    documents = language.documents(701, seed=3)
    return Shards.build(tmp_path_factory.mktemp("synthetic") / "shards", documents, word_tokenizer)


@functools.cache
def places_of_words(language):
    """The slot of each word, and the last topic and number it fits."""
    return {
        word: (slot, topic, plural)
        for topic in range(language.topics)
        for plural in (False, True)
        for slot, words in enumerate(language.fitting_words(topic, plural))
        for word in words
    }


def settings_of(language, words):
    """The topic and number that most of a sentence's words agree on: the optimal reading of the class's argument."""
    places = places_of_words(language)
    votes = [places[word] for slot, word in enumerate(words) if places.get(word, (None,))[0] == slot]
    topics = Counter(topic for slot, topic, _ in votes if slot in (1, 2, 3, 5))
    numbers = Counter(plural for slot, _, plural in votes if slot in (0, 2, 3, 4))
    return topics.most_common(1)[0][0], numbers.most_common(1)[0][0]


def oracle_loss(language, tokens, position, truth, replacements):
    """The loss of the optimal guess at one selected word, from the words shown."""
    start = position - position % 6
    sentence = list(tokens[start : start + 6])
    said, sentence[position % 6] = sentence[position % 6], "[MASK]"
    fitting = language.fitting_words(*settings_of(language, sentence))[position % 6]
    weights = {word: (1.0 if said not in fitting else 0.1 / replacements + 0.1 * (word == said)) for word in fitting}
    return -math.log(weights[truth] / sum(weights.values()))


def test_the_optimum_is_what_an_optimal_reader_reaches_through_the_pipeline(language, word_tokenizer, shards):
    """Kills: a pipeline that leaks the label, masks another share, or puts other words than the language's."""
    pairs = NextSentencePairs(shards, max_length=15, seed=1, short_probability=0.0)
    collate = MaskedLanguageCollator(word_tokenizer, generator=torch.Generator().manual_seed(2))
    batch = collate(pairs.__getitems__(range(3001)))
    names, losses = word_tokenizer.tokens, []
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        words, asked = ids[1:7] + ids[8:14], labels[1:7] + labels[8:14]
        tokens = [names[word] for word in words]
        for position, label in enumerate(asked):
            if label != -100:
                losses.append(oracle_loss(language, tokens, position, names[label], len(language.vocabulary)))
    error = float(np.std(losses) / math.sqrt(len(losses)))
    assert abs(float(np.mean(losses)) - language.bayes_masked_word_loss()) < SIX_SIGMA * error


def test_the_next_sentence_optimum_is_what_comparing_topics_reaches(language, word_tokenizer, shards, assert_rate):
    """Kills: true continuations labelled false; topics that can't be told; labels that aren't half and half."""
    pairs = NextSentencePairs(shards, max_length=15, seed=1, short_probability=0.0)
    names, right = word_tokenizer.tokens, 0
    for pair in pairs.__getitems__(range(len(pairs))):
        ids, label = pair["input_ids"].tolist(), int(pair["next_sentence_label"])
        first, second = ([names[word] for word in ids[start : start + 6]] for start in (1, 8))
        same_topic = settings_of(language, first)[0] == settings_of(language, second)[0]
        right += same_topic == (label == 0)
    assert_rate(right, len(pairs), language.bayes_next_sentence_accuracy())


def test_the_unigram_entropy_is_that_of_the_word_counts(language):
    """Kills: an entropy in bits, or of the vocabulary's size."""
    counts = Counter(
        word for document in language.documents(1009, seed=5) for text in document for word in text.split()
    )
    total = counts.total()
    empirical = -sum(count / total * math.log(count / total) for count in counts.values())
    assert empirical == pytest.approx(language.unigram_entropy(), abs=0.01)
    assert empirical < math.log(len(language.vocabulary))


def test_no_word_serves_twice(language):
    """Kills: a word in two topics or slots, which the closed forms rule out."""
    place_of = {}
    for topic in range(language.topics):
        for plural in (False, True):
            for slot, words in enumerate(language.fitting_words(topic, plural)):
                for word in words:
                    agrees = (slot in (1, 2, 3, 5) and topic, slot in (0, 2, 3, 4) and plural)
                    assert place_of.setdefault(word, (slot, agrees)) == (slot, agrees), word
    assert len(place_of) == len(language.vocabulary)


def test_documents_keep_to_a_topic_and_depend_on_the_seed(language):
    first, again, other = (list(language.documents(7, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    for document in first:
        assert len({settings_of(language, sentence.split())[0] for sentence in document}) == 1


def test_labelled_sentences_have_the_topic_of_their_words(language):
    labelled = language.labelled(53, seed=0)
    for text, label in zip(labelled.texts, labelled.labels, strict=True):
        assert settings_of(language, text.split())[0] == label


@pytest.mark.parametrize("options", [{"topics": 1}, {"topics": len(TOPICS) + 1}, {"words": 1}, {"words": 4}])
def test_a_language_that_cannot_be_is_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"{name}={value} must"):
        SyntheticLanguage(**options)


def test_too_few_replacements_are_refused(language):
    with pytest.raises(InputError, match="replacements=5 must count at least the 114 words"):
        language.bayes_masked_word_loss(replacements=5)


def test_a_trained_tokenizer_keeps_the_words_whole(language):
    """The optima count words, so every word must be one token."""
    tokenizer = Tokenizer.train(language.documents(300, seed=0), vocab_size=400)
    assert all(tokenizer.tokenize(word) == [word] for word in language.vocabulary)
