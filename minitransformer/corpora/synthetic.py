"""A small generated language whose best possible losses are known exactly: they tell a broken model from hard text."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minitransformer.corpora.documents import Document, LabelledTexts
from minitransformer.errors import InputError

SLOTS = ("determiner", "adjective", "noun", "verb", "possessive", "object")
DETERMINERS = (("this", "that"), ("these", "those"))
POSSESSIVES = (("its",), ("their",))

# topic: adjectives; nouns; verbs; objects. Every word appears once, so that a word tells its topic.
TOPICS = {
    "sea": "salty brave wet; sailor pirate captain; steer sink paint; boat raft ship",
    "farm": "muddy patient early; farmer shepherd miller; plant plough water; field barn orchard",
    "kitchen": "hungry greasy careful; baker waiter butcher; stir roast taste; soup bread pastry",
    "music": "loud gifted gentle; drummer singer fiddler; tune practise hum; song waltz drum",
    "school": "clever curious tired; teacher pupil scholar; read copy learn; lesson book poem",
    "space": "distant weightless bold; pilot robot stargazer; launch orbit repair; rocket planet comet",
}
SPELLED_PLURAL = {"copy": "copies", "launch": "launches", "practise": "practises"}


def plural_or_third_person(word: str) -> str:
    """Add the `s` of a plural noun, or of a verb with a singular subject.

    >>> plural_or_third_person("copy"), plural_or_third_person("sailor")
    ('copies', 'sailors')
    """
    return SPELLED_PLURAL.get(word, word + "s")


@dataclass(frozen=True)
class SyntheticLanguage:
    """Sentences of six words such as `these salty sailors steer their boat`, in documents that keep to one topic.

    How a document is drawn: its topic, evenly from `topics`; then for each sentence its number (singular or plural),
    evenly; then each of the six words, evenly from the `K` words that fit its slot:

        slot          must agree with      K
        determiner    number               2
        adjective     topic                words
        noun          topic and number     words
        verb          topic and number     words
        possessive    number               1
        object        topic                words

    Why the optimum is known. Take one training example of the shortest kind: a pair of one sentence each, twelve
    words, nothing cut (`max_length=15`, no short pairs). `objectives.masked_lm` selects 15 % of them: 1.8, so one or
    two, at most one besides the word to be guessed. The topic is written on four words of the sentence (adjective,
    noun, verb, object) and so is the number (determiner, noun, verb, possessive): besides the word to be guessed at
    least three say the true topic and three the true number, and at most one of these three is changed. Two that agree
    outvote one, and no other topic or number could have led to this sentence by changing one word. So the topic and
    number are certain, and what remains is which of the K fitting words stood there, all equally likely before looking
    at the word shown in their place.

    Raises: InputError if there are fewer than two topics or two words, or more than the language has.
    """

    topics: int = len(TOPICS)
    words: int = 3

    def __post_init__(self) -> None:
        if not 2 <= self.topics <= len(TOPICS):
            raise InputError(f"topics={self.topics} must lie between 2 and {len(TOPICS)}")
        if not 2 <= self.words <= 3:
            raise InputError(f"words={self.words} must be 2 or 3: the words a topic has for each slot")

    @property
    def topic_names(self) -> tuple[str, ...]:
        """The topics in use.

        >>> SyntheticLanguage(topics=2).topic_names
        ('sea', 'farm')
        """
        return tuple(TOPICS)[: self.topics]

    def fitting_words(self, topic: int, plural: bool) -> list[tuple[str, ...]]:
        """List for each slot the words that fit the topic and number.

        >>> SyntheticLanguage(words=2).fitting_words(0, plural=True)[2:4]
        [('sailors', 'pirates'), ('steer', 'sink')]
        """
        columns = [column.split()[: self.words] for column in TOPICS[self.topic_names[topic]].split(";")]
        adjectives, nouns, verbs, objects = columns
        if plural:
            nouns = [plural_or_third_person(noun) for noun in nouns]
        else:
            verbs = [plural_or_third_person(verb) for verb in verbs]
        slots = [DETERMINERS[plural], adjectives, nouns, verbs, POSSESSIVES[plural], objects]
        return [tuple(slot) for slot in slots]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word of the language, once.

        >>> len(SyntheticLanguage().vocabulary)
        114
        """
        settings = [(topic, plural) for topic in range(self.topics) for plural in (False, True)]
        return tuple(
            dict.fromkeys(word for setting in settings for slot in self.fitting_words(*setting) for word in slot)
        )

    def sentence(self, topic: int, generator: np.random.Generator) -> str:
        """Draw one sentence of a topic."""
        slots = self.fitting_words(topic, plural=bool(generator.integers(2)))
        return " ".join(slot[generator.integers(len(slot))] for slot in slots)

    def documents(self, count: int, seed: int, sentences: int = 12) -> Iterator[Document]:
        """Draw `count` documents of `sentences` sentences each; the topic of each is even and independent.

        >>> [len(document) for document in SyntheticLanguage().documents(2, seed=0, sentences=5)]
        [5, 5]
        """
        generator = np.random.default_rng(seed)
        for _ in range(count):
            topic = int(generator.integers(self.topics))
            yield [self.sentence(topic, generator) for _ in range(sentences)]

    def labelled(self, count: int, seed: int) -> LabelledTexts:
        """Draw `count` single sentences, each labelled with its topic.

        >>> len(SyntheticLanguage().labelled(5, seed=0))
        5
        """
        generator = np.random.default_rng(seed)
        labels = [int(topic) for topic in generator.integers(self.topics, size=count)]
        texts = [self.sentence(topic, generator) for topic in labels]
        return LabelledTexts(texts, labels, self.topic_names, list(range(count)))

    def unigram_entropy(self) -> float:
        """Give the entropy in nats of a word without any context: the loss of a model that only counts words.

        No word serves two slots, and within a slot all words are equally frequent, so it is the entropy of the slot
        plus the mean over slots of the logarithm of how many words the slot has in all.

        >>> round(SyntheticLanguage().unigram_entropy(), 3)
        4.296
        """
        settings = [self.fitting_words(topic, plural) for topic in range(self.topics) for plural in (False, True)]
        sizes = [len({word for slots in settings for word in slots[slot]}) for slot in range(len(SLOTS))]
        return math.log(len(SLOTS)) + math.fsum(map(math.log, sizes)) / len(SLOTS)

    def bayes_masked_word_loss(
        self, replacements: int | None = None, mask_share: float = 0.8, random_share: float = 0.1
    ) -> float:
        """Give the lowest possible mean masked-word loss in nats at the selected positions.

        `replacements` is R, how many tokens a random replacement is drawn from: the tokenizer's vocabulary without the
        specials; without it, the words of the language. At a selected word with K candidates one sees

            [MASK]: all K are equally likely, and the loss is log K. Likewise if
            a word that doesn't fit: it must be a random one, which says nothing of the word it replaced.
            a word y that fits: kept, or random. Each candidate x has a prior 1/K, the likelihood of y is
                keep + random/R   if x = y,   random/R   if not;   normalised over the K candidates.

        Exact for pairs of one sentence each; for longer rows a lower bound, since more words may be changed at once.

        Raises: InputError if `replacements` is smaller than the vocabulary.

        >>> language = SyntheticLanguage()
        >>> round(language.bayes_masked_word_loss(mask_share=1.0, random_share=0.0), 3)  # (4 log 3 + log 2) / 6
        0.848
        """
        replacements = len(self.vocabulary) if replacements is None else replacements
        if replacements < len(self.vocabulary):
            raise InputError(f"replacements={replacements} must count at least the {len(self.vocabulary)} words")
        losses = [
            selected_word_loss(len(slot), replacements, mask_share, random_share)
            for slot in self.fitting_words(0, plural=False)
        ]
        return math.fsum(losses) / len(losses)

    def bayes_next_sentence_accuracy(self) -> float:
        """Give the highest possible accuracy at telling a next sentence from one of another document.

        The topics of both sentences are certain. If they differ, the second isn't the next. If they agree, the best
        answer is "next", and wrong when the other document has the same topic by chance, one time in `topics`. Half of
        the pairs are true ones, so

            accuracy = 1/2 + 1/2 · (1 − 1/topics)

        Exact on whole sentences. If words are masked as well, all of it still holds unless two random replacements
        agree on one wrong topic, about once in 100,000 pairs.

        >>> SyntheticLanguage(topics=5).bayes_next_sentence_accuracy()
        0.9
        """
        return 1 / 2 + 1 / 2 * (1 - 1 / self.topics)


def selected_word_loss(candidates: int, replacements: int, mask_share: float, random_share: float) -> float:
    """Give the expected Bayes loss at a selected word that could be any of `candidates` words.

    >>> selected_word_loss(1, replacements=100, mask_share=0.8, random_share=0.1)  # nothing to guess
    0.0
    """
    to_one_word = random_share / replacements  # the probability that the replacement is drawn and is a given word
    kept = 1 - mask_share - random_share + to_one_word
    other_candidates = (candidates - 1) * to_one_word
    no_trace = mask_share + (replacements - candidates) * to_one_word
    loss = no_trace * math.log(candidates)
    if kept:
        loss += kept * math.log((kept + other_candidates) / kept)
    if other_candidates:
        loss += other_candidates * math.log((kept + other_candidates) / to_one_word)
    return loss
