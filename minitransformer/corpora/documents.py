"""What a corpus is: documents made of sentences, and texts with labels; both are split without sharing a document."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from minitransformer.errors import InputError

Document = list[str]
Item = TypeVar("Item")

CLOSING = "\"'”’)\\]』」》）"
SENTENCE_END = re.compile(rf"[.!?]+[{CLOSING}]*(?=\s)|[。！？…]+[{CLOSING}]*")
ABBREVIATIONS = " mr mrs ms dr st sr jr prof rev hon capt col gen lt vs e.g i.e cf "


def split_sentences(paragraph: str) -> Document:
    """Split a running paragraph where a full stop, a question or an exclamation mark ends a sentence.

    Simple on purpose: known abbreviations, initials and a lower-case continuation don't end a sentence, and a Chinese
    full stop needs no space after it. BERT only needs units shorter than a span, not perfect grammar.

    >>> split_sentences("Mr. Darcy smiled. Did she? Never!")
    ['Mr. Darcy smiled.', 'Did she?', 'Never!']
    >>> split_sentences("天下大势，分久必合。合久必分。")
    ['天下大势，分久必合。', '合久必分。']
    """
    sentences, start = [], 0
    for match in SENTENCE_END.finditer(paragraph):
        if ends_sentence(paragraph, match):
            sentences.append(paragraph[start : match.end()].strip())
            start = match.end()
    sentences.append(paragraph[start:].strip())
    return [sentence for sentence in sentences if sentence]


def ends_sentence(paragraph: str, match: re.Match[str]) -> bool:
    """Say whether the punctuation found really ends a sentence.

    >>> ends_sentence("St. Paul", SENTENCE_END.search("St. Paul"))
    False
    """
    if match.group()[0] in "。！？…":
        return True
    following = paragraph[match.end() : match.end() + 20].lstrip(" \t\n\"'“‘([")
    if following[:1].islower():
        return False
    if match.group() != ".":
        return True
    word = re.split(r"[\s(\"'“‘]", paragraph[max(0, match.start() - 20) : match.start()])[-1]
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return not is_initial and f" {word.lower()} " not in ABBREVIATIONS


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, one class each, and the document each text came from.

    Raises: InputError if the columns differ in length or a label has no name.

    >>> texts = LabelledTexts(["win cash now", "see you"], [1, 0], ("ham", "spam"), [0, 1])
    >>> len(texts), texts.label_names[texts.labels[0]]
    (2, 'spam')
    """

    texts: list[str]
    labels: list[int]
    label_names: tuple[str, ...]
    document_ids: list[int]

    def __post_init__(self) -> None:
        sizes = (len(self.texts), len(self.labels), len(self.document_ids))
        if len(set(sizes)) != 1:
            raise InputError(f"texts, labels and document_ids have lengths {sizes}; give one of each for every text")
        for label in self.labels:
            if not 0 <= label < len(self.label_names):
                raise InputError(f"label {label} has no name among {len(self.label_names)}; use 0 to n-1")

    def __len__(self) -> int:
        return len(self.texts)

    def select(self, indices: Iterable[int]) -> "LabelledTexts":
        """Keep the texts at these indices, in this order.

        >>> LabelledTexts(["a", "b"], [0, 0], ("x",), [0, 1]).select([1]).texts
        ['b']
        """
        kept = list(indices)
        return LabelledTexts(
            texts=[self.texts[index] for index in kept],
            labels=[self.labels[index] for index in kept],
            label_names=self.label_names,
            document_ids=[self.document_ids[index] for index in kept],
        )


def split_documents(documents: Sequence[Item], held_out: float = 0.1, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """Split documents into training and held-out ones, both in their first order.

    Raises: InputError if there are fewer than two documents, or `held_out` isn't between 0 and 1.

    >>> [len(part) for part in split_documents(["a", "b", "c", "d", "e"], held_out=0.4)]
    [3, 2]
    """
    is_held_out = choose_held_out(len(documents), held_out, seed)
    training = [document for document, held in zip(documents, is_held_out, strict=True) if not held]
    return training, [document for document, held in zip(documents, is_held_out, strict=True) if held]


def split_labelled(
    labelled: LabelledTexts, held_out: float = 0.1, seed: int = 0
) -> tuple[LabelledTexts, LabelledTexts]:
    """Split labelled texts so that all texts of a document fall on the same side.

    The same seed holds out the same documents as `split_documents`, if each of those has a labelled text: the held-out
    verses of `kjv-testament` come from the held-out chapters of `kjv`.

    Raises: InputError if there are fewer than two documents, or `held_out` isn't between 0 and 1.

    >>> texts = LabelledTexts(["a", "b", "c"], [0, 0, 0], ("x",), [7, 8, 7])
    >>> sorted(len(part) for part in split_labelled(texts, held_out=0.5))
    [1, 2]
    """
    document_ids, document_of_text = np.unique(labelled.document_ids, return_inverse=True)
    text_is_held_out = choose_held_out(len(document_ids), held_out, seed)[document_of_text]
    training, aside = np.flatnonzero(~text_is_held_out), np.flatnonzero(text_is_held_out)
    return labelled.select(training.tolist()), labelled.select(aside.tolist())


def choose_held_out(document_count: int, held_out: float, seed: int) -> np.ndarray:
    """Draw which of `document_count` documents are held out: at least one, and never all.

    >>> int(choose_held_out(10, 0.3, seed=0).sum())
    3
    """
    if not 0 < held_out < 1:
        raise InputError(f"held_out={held_out} must lie between 0 and 1; it is the share of documents kept aside")
    if document_count < 2:
        raise InputError(f"{document_count} document(s) can't be split; separate documents by a blank line")
    held_out_count = min(max(1, round(held_out * document_count)), document_count - 1)
    is_held_out = np.zeros(document_count, dtype=bool)
    is_held_out[np.random.default_rng(seed).permutation(document_count)[:held_out_count]] = True
    return is_held_out


def first_of_each(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield each different text once, with its first index: a text seen twice would leak across a split.

    >>> list(first_of_each(["a", "b", "a"]))
    [(0, 'a'), (1, 'b')]
    """
    seen: set[str] = set()
    for index, text in enumerate(texts):
        if text not in seen:
            seen.add(text)
            yield index, text
