"""Mutants of the objectives: of masking, and of sentence pairs.

Most are ours with one part exchanged. The part is what one reads: what is selected, what becomes of it, or where the
second span comes from; `mask_tokens` and `make_pairs` are built around it.
"""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.objectives.masked_lm import IGNORED, mask_tokens, select_tokens
from minitransformer.objectives.next_sentence import (
    IS_NEXT,
    NOT_NEXT,
    SHORTEST_PAIR,
    SPECIALS_OF_A_PAIR,
    Pair,
    Sentences,
    Span,
    make_pairs,
    pairs_of_document,
    reach,
    span_from_elsewhere,
    truncate,
)

Generator = torch.Generator | None
Part = Callable[..., Any]
Lengths = Iterable[Iterable[int]]


# Masking, with one part exchanged


def our_fates(shape: torch.Size, mask_share: float, random_share: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Which tokens show [MASK] and which a replacement, if they are selected."""
    fate = torch.rand(shape, generator=generator)
    return fate < mask_share, (fate >= mask_share) & (fate < mask_share + random_share)


def our_replacements(replacements: Tensor, shape: torch.Size, generator: Generator) -> Tensor:
    """A token for each place."""
    return replacements[torch.randint(len(replacements), shape, generator=generator)]


def masking(select: Part = select_tokens, fates: Part = our_fates, replace: Part = our_replacements) -> Part:
    """All of `mask_tokens`, from its three parts."""

    def mask(
        input_ids: Tensor,
        maskable: Tensor,
        mask_token_id: int,
        replacements: Tensor,
        probability: float = 0.15,
        mask_share: float = 0.8,
        random_share: float = 0.1,
        continues_word: Tensor | None = None,
        generator: Generator = None,
    ) -> tuple[Tensor, Tensor]:
        selected = select(maskable, probability, continues_word, generator)
        is_masked, is_random = fates(input_ids.shape, mask_share, random_share, generator)
        masked_ids = torch.where(selected & is_random, replace(replacements, input_ids.shape, generator), input_ids)
        return masked_ids.masked_fill(selected & is_masked, mask_token_id), input_ids.where(selected, IGNORED)

    return mask


def part_of(build: Callable[[Part], Part], ours: Part) -> Callable[[Part], Part]:
    """Build a whole function around a part; it has the name, the docstring and the source of the part."""

    def around(part: Part) -> Part:
        whole = wraps(part)(build(part))
        whole.__signature__ = inspect.signature(ours)  # type: ignore[attr-defined] # else it is that of the part
        return whole

    return around


def changed(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Part:
    """Our function, with something done to what it is given and to what it gives."""

    def mask(input_ids: Tensor, maskable: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        return change(*mask_tokens(input_ids, maskable, *args, **options))

    return mask


def called(part: Part) -> Part:
    """A part that is a whole already, as a function of its own."""

    def whole(*args: Any, **options: Any) -> Any:
        return part(*args, **options)

    return whole


selection = part_of(lambda part: masking(select=part), mask_tokens)
fates = part_of(lambda part: masking(fates=part), mask_tokens)
replacing = part_of(lambda part: masking(replace=part), mask_tokens)
afterwards = part_of(changed, mask_tokens)
whole_masking = part_of(called, mask_tokens)

# Masking: what is selected


@mutant(
    "masking",
    symptom="The loss is lower than it should be: [CLS], [SEP] and padding are easy to guess.",
    source="huggingface/transformers#1395",
    difficulty="easy",
)
@selection
def special_tokens_selected_too(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """Special tokens and padding are selected like any other: `maskable` is taken and never used."""
    return select_tokens(torch.ones_like(maskable), probability, continues_word, generator)


@mutant(
    "masking",
    symptom="Every token counts in the loss, most of which are shown: it falls quickly, and little is learned.",
    source="lucidrains/mlm-pytorch#2",
    difficulty="easy",
)
@afterwards
def tokens_that_are_shown_asked_for_too(masked_ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Every token has a label, also where nothing was hidden."""
    return masked_ids, labels.where(labels != IGNORED, masked_ids)


@mutant(
    "masking",
    symptom="A fifth of the short rows asks for nothing, and the size of a step depends on luck.",
    difficulty="hard",
)
@selection
def a_coin_for_each_token(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """Each token is selected by a coin of its own, so that some rows have none and others many."""
    return maskable & (torch.rand(maskable.shape, generator=generator) < probability)


@mutant(
    "masking",
    symptom="Fewer tokens are asked for than were ordered, so that training takes longer.",
    source="facebookresearch/fairseq#752",
    difficulty="hard",
)
@selection
def drawn_with_replacement(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """Places are drawn with replacement, and one that is drawn twice counts once."""
    selected = torch.zeros_like(maskable)
    for row, places in enumerate(maskable):
        count = round(probability * int(places.sum()))
        if count:
            selected[row, places.double().multinomial(count, replacement=True, generator=generator)] = True
    return selected


@mutant("masking", symptom="Short rows are hidden more than long ones: 20 % of ten tokens.", difficulty="hard")
@selection
def share_always_rounded_up(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """The share is always rounded up, so that more are asked for in the long run."""
    draws = torch.rand(maskable.shape, generator=generator).masked_fill(~maskable, 2.0)
    rank = draws.argsort(1).argsort(1)
    return maskable & (rank < (probability * maskable.sum(1, keepdim=True)).ceil())


@mutant("masking", symptom="The program ends with an error at a batch that has an empty line in it.")
@selection
def no_row_without_text_expected(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """A place is drawn from each row, and a row may have nothing to draw from."""
    first = maskable.double().multinomial(1, generator=generator)
    return select_tokens(maskable, probability, continues_word, generator).scatter(1, first, 1)


@mutant("masking", symptom="The first word of a sentence is never learned.", difficulty="hard")
@selection
def never_the_first(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """The ranking begins one too late: the first token is never selected."""
    is_first = maskable.cumsum(1) == 1
    return select_tokens(maskable & ~is_first, probability, continues_word, generator)


@mutant(
    "masking",
    symptom="A piece of a word is guessed from its other pieces: the loss is low, and the vectors are no better.",
)
@selection
def pieces_for_words(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """Pieces are selected where whole words were asked for: `continues_word` is never used."""
    return select_tokens(maskable, probability, None, generator)


@mutant("masking", symptom="Long words are hidden more often than short ones, and more tokens than ordered.")
@selection
def words_of_selected_pieces(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """Pieces are selected, and then their whole words with them, so that long words come up more often."""
    selected = select_tokens(maskable, probability, None, generator)
    if continues_word is None:
        return selected
    word = (~continues_word).cumsum(1)
    is_selected = torch.zeros(word.shape[0], word.shape[1] + 1).scatter_reduce(1, word, selected.float(), "amax")
    return is_selected.gather(1, word).bool() & maskable


@mutant("masking", symptom="All examples of a batch teach the same places, and the loss is noisy.")
@selection
def one_selection_for_all_rows(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """One row of places is drawn, and serves for the whole batch."""
    return maskable & (torch.rand(maskable.shape[1], generator=generator) < probability)


@mutant("masking", symptom="Dynamic masking brings nothing: each epoch hides the same words.", difficulty="medium")
@selection
def a_seed_of_its_own(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """A seed is set inside, so that the same places are selected at every call: the masking is static."""
    return select_tokens(maskable, probability, continues_word, torch.Generator().manual_seed(0))


@mutant("masking", symptom="Two runs with one seed differ, and nobody finds out why.")
@selection
def generator_not_handed_on(
    maskable: Tensor, probability: float, continues_word: Tensor | None, generator: Generator
) -> Tensor:
    """The generator is not handed on: what is selected comes from global state."""
    return select_tokens(maskable, probability, continues_word)


# Masking: what becomes of it


@mutant(
    "masking",
    symptom="[MASK] is never seen in training: the loss is near 0 at once, as each token is its own answer.",
    source="codertimo/BERT-pytorch#13",
    difficulty="hard",
)
@fates
def compared_with_a_product(
    shape: torch.Size, mask_share: float, random_share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The draw is compared with itself times the share, which it never lies below."""
    fate = torch.rand(shape, generator=generator)
    return fate < fate * mask_share, fate < fate * random_share


@mutant(
    "masking",
    symptom="Nothing in the loss: 81 % are masked, 10 % replaced and 9 % kept.",
    source="codertimo/BERT-pytorch#29",
    difficulty="hard",
)
@fates
def draws_that_overlap(
    shape: torch.Size, mask_share: float, random_share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """What is replaced and what is kept are drawn apart, and some of what should be kept is replaced."""
    is_random = torch.rand(shape, generator=generator) < random_share
    is_kept = torch.rand(shape, generator=generator) < 1 - mask_share - random_share
    return ~is_random & ~is_kept, is_random


@mutant("masking", symptom="Hardly a token is replaced, and nearly twice as many are kept.", difficulty="hard")
@fates
def a_second_draw_for_the_rest(
    shape: torch.Size, mask_share: float, random_share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """What isn't masked is drawn for anew, with the share of all: 2 % are replaced, where 10 % are meant."""
    is_masked = torch.rand(shape, generator=generator) < mask_share
    return is_masked, ~is_masked & (torch.rand(shape, generator=generator) < random_share)


@mutant("masking", symptom="Nothing at equal shares, as in BERT; other shares do the opposite.", difficulty="hard")
@fates
def replaced_and_kept_exchanged(
    shape: torch.Size, mask_share: float, random_share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """What lies above both shares is replaced, and what should be replaced is kept."""
    fate = torch.rand(shape, generator=generator)
    return fate < mask_share, fate >= mask_share + random_share


@mutant("masking", symptom="Some rows are masked throughout and others not at all; the loss jumps from batch to batch.")
@fates
def one_fate_for_a_row(
    shape: torch.Size, mask_share: float, random_share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """One number is drawn for each row, so that all its tokens share a fate."""
    is_masked, is_random = our_fates(torch.Size((shape[0], 1)), mask_share, random_share, generator)
    return is_masked.expand(shape), is_random.expand(shape)


# Masking: what is shown and asked


@mutant(
    "masking",
    symptom="Here and there a sentence has [PAD] or [CLS] in its middle, and the model learns to expect it.",
    source="huggingface/transformers#15342",
)
@replacing
def any_id_as_a_replacement(replacements: Tensor, shape: torch.Size, generator: Generator) -> Tensor:
    """Replacements are drawn from the whole vocabulary, [PAD], [CLS] and [MASK] included."""
    return torch.randint(int(replacements.max()) + 1, shape, generator=generator)


@mutant(
    "masking",
    symptom="The last word of the vocabulary is never a replacement, which nobody notices.",
    difficulty="hard",
)
@replacing
def last_replacement_never_drawn(replacements: Tensor, shape: torch.Size, generator: Generator) -> Tensor:
    """The end of the range is taken for included, and the last one is never drawn."""
    return replacements[torch.randint(max(1, len(replacements) - 1), shape, generator=generator)]


@mutant("masking", symptom="In each batch one word stands for many: the model learns to distrust it.")
@replacing
def one_replacement_for_all(replacements: Tensor, shape: torch.Size, generator: Generator) -> Tensor:
    """One replacement is drawn, and serves for the whole batch."""
    return replacements[torch.randint(len(replacements), (1,), generator=generator)].expand(shape)


@mutant(
    "masking",
    symptom="The loss is soon 0: the model says [MASK] where it sees [MASK].",
    difficulty="easy",
)
@afterwards
def labels_of_what_is_shown(masked_ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The labels are taken from the ids after masking, and ask for what is shown."""
    return masked_ids, masked_ids.where(labels != IGNORED, labels)


@mutant("masking", symptom="The model learns to say [PAD] everywhere, at a loss near 0.", difficulty="easy")
@afterwards
def asks_for_padding_elsewhere(masked_ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where nothing is asked for the label is 0, the id of [PAD], which the loss does not ignore."""
    return masked_ids, labels.where(labels != IGNORED, 0)


@mutant("masking", symptom="The loss is that of a model that only copies: what is asked for is rarely what is hidden.")
@whole_masking
def hidden_and_asked_by_two_draws(
    input_ids: Tensor, maskable: Tensor, *args: Any, **options: Any
) -> tuple[Tensor, Tensor]:
    """Masked ids come from one draw and labels from another, so that they are about different tokens."""
    _, labels = mask_tokens(input_ids, maskable, *args, **options)
    masked_ids, _ = mask_tokens(input_ids, maskable, *args, **options)
    return masked_ids, labels


@mutant("masking", symptom="Each epoch hides more than the one before, until only [MASK] is left and asked for.")
@whole_masking
def masked_in_place(input_ids: Tensor, maskable: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """The batch of the caller is written to, so that its text is lost."""
    masked_ids, labels = mask_tokens(input_ids, maskable, *args, **options)
    return input_ids.copy_(masked_ids), labels


# Sentence pairs, with one part exchanged


def our_target(room: int, short_probability: float, generator: np.random.Generator) -> int:
    """How many tokens a pair aims at."""
    if generator.random() < short_probability:
        return int(generator.integers(SHORTEST_PAIR, room + 1))
    return room


def our_middle(first: int, stop: int, generator: np.random.Generator) -> int:
    """The sentence that the second span begins with, of those from `first` to `stop`."""
    return int(generator.integers(first + 1, stop))


def our_next_first(is_next: bool, middle: int, stop: int) -> int:
    """The sentence that the next pair begins with: what a false pair did not use is put back."""
    return stop if is_next else middle


def pairing(
    target_of: Part = our_target,
    part: Part = our_middle,
    elsewhere: Part = span_from_elsewhere,
    cut: Part = truncate,
    go_on: Part = our_next_first,
) -> Part:
    """All of `make_pairs`, from its parts."""

    def pairs(
        sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
    ) -> Iterator[Pair]:
        sentences = Sentences.from_lengths(sentence_lengths)
        room, owed = max_length - SPECIALS_OF_A_PAIR, 0
        for place, document in enumerate(sentences.with_text):
            starts, first = sentences.starts[document], 0
            while first < len(starts) - 1:
                target = target_of(room, short_probability, generator)
                stop = min(len(starts) - 1, max(first + 2, reach(starts, first, target)))
                is_lone = stop == first + 1
                is_next = not is_lone and (owed > 0 or generator.random() < 0.5)
                owed += is_lone - (is_next and owed > 0)
                middle = stop if is_lone else part(first, stop, generator)
                a, b = Span(document, starts[first], starts[middle]), Span(document, starts[middle], starts[stop])
                if not is_next:
                    b = elsewhere(sentences, place, target - a.length, generator)
                a, b = cut(a, b, room, generator)
                yield Pair(a, b, IS_NEXT if is_next else NOT_NEXT)
                first = go_on(is_next, middle, stop)

    return pairs


def pairs_changed(change: Callable[[Pair], Pair]) -> Part:
    """Our function, with something done to each of its pairs."""

    def pairs(
        sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
    ) -> Iterator[Pair]:
        return map(change, make_pairs(sentence_lengths, max_length, generator, short_probability))

    return pairs


def beginning(span: Span, length: int) -> Span:
    """The first tokens of a span."""
    return span._replace(stop=span.start + length)


def ending(span: Span, length: int) -> Span:
    """The last tokens of a span."""
    return span._replace(start=span.stop - length)


aiming = part_of(lambda part: pairing(target_of=part), make_pairs)
parting = part_of(lambda part: pairing(part=part), make_pairs)
second_span = part_of(lambda part: pairing(elsewhere=part), make_pairs)
cutting = part_of(lambda part: pairing(cut=part), make_pairs)
going_on = part_of(lambda part: pairing(go_on=part), make_pairs)
each_pair = part_of(pairs_changed, make_pairs)

# Sentence pairs: the label and the negatives


@mutant(
    "next-sentence-pairs",
    symptom="Trains as well; but published weights say the opposite of what they mean.",
    source="google-research/bert#125",
    difficulty="hard",
)
@each_pair
def one_for_true(pair: Pair) -> Pair:
    """The label is 1 for a true pair and 0 for a false one: the polarity is reversed."""
    return pair._replace(label=1 - pair.label)


@mutant(
    "next-sentence-pairs",
    symptom="On a corpus of few documents the accuracy stays low, however long it trains.",
    source="codertimo/BERT-pytorch#110",
)
@second_span
def own_document_drawn_as_well(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The second span of a false pair comes from any document, its own among them, and may be the true one."""
    document = sentences.with_text[int(generator.integers(len(sentences.with_text)))]
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs",
    symptom="With few long documents many false pairs read on perfectly well, and nothing can be learned from them.",
    source="NVIDIA/DeepLearningExamples#421",
)
@second_span
def negative_from_the_same_document(
    sentences: Sentences, place: int, target: int, generator: np.random.Generator
) -> Span:
    """The second span of a false pair comes from its own document."""
    document = sentences.with_text[place]
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs", symptom="The same two documents meet again and again; their subjects are learned by heart."
)
@second_span
def always_the_next_document(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The second span of a false pair always comes from the document after."""
    document = sentences.with_text[(place + 1) % len(sentences.with_text)]
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs",
    symptom="A suspiciously high accuracy: openings are told by their style, without reading the first span.",
)
@second_span
def negatives_are_openings(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The second span of a false pair always begins where its document does."""
    elsewhere = span_from_elsewhere(sentences, place, target, generator)
    starts = sentences.starts[elsewhere.document]
    return Span(elsewhere.document, 0, starts[reach(starts, 0, target)])


@mutant("next-sentence-pairs", symptom="The program ends with ValueError at a file with two blank lines in a row.")
@second_span
def empty_documents_drawn_too(sentences: Sentences, place: int, target: int, generator: np.random.Generator) -> Span:
    """The other document is drawn from all, empty ones among them, and an empty one has no sentence to begin with."""
    own = sentences.with_text[place]
    document = int(generator.integers(len(sentences.starts) - 1))
    document += document >= own
    starts = sentences.starts[document]
    first = int(generator.integers(len(starts) - 1))
    return Span(document, starts[first], starts[reach(starts, first, target)])


@mutant(
    "next-sentence-pairs",
    symptom="Two in three pairs of short documents are false, and a model that always says so looks good.",
    difficulty="hard",
)
def lone_sentences_tip_the_balance(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A document's last sentence, which nothing follows, makes a false pair, and no true one makes up for it."""
    sentences = Sentences.from_lengths(sentence_lengths)
    for place in range(len(sentences.with_text)):
        room, owed = max_length - SPECIALS_OF_A_PAIR, 0
        yield from pairs_of_document(sentences, place, room, short_probability, owed, generator)


# Sentence pairs: how much text


@mutant("next-sentence-pairs", symptom="A row now and then is one token too long, and the model refuses it.")
def two_special_tokens_counted(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """Room is left for two special tokens, where [CLS] A [SEP] B [SEP] has three."""
    return make_pairs(sentence_lengths, max_length + 1, generator, short_probability)


@mutant("next-sentence-pairs", symptom="Most of each row is padding: training is slow, and long texts stay unknown.")
def two_single_sentences(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A pair is two single sentences, as the name says, where it should fill its room."""
    pairs: Iterator[Pair] = pairing(target_of=lambda *_: SHORTEST_PAIR)(sentence_lengths, max_length, generator)
    return pairs


@mutant("next-sentence-pairs", symptom="Long texts are fine; short ones, as in most tasks, have never been seen.")
@aiming
def never_short(room: int, short_probability: float, generator: np.random.Generator) -> int:
    """All pairs aim at the whole room: the one in ten that should be shorter is forgotten."""
    return room


@mutant("next-sentence-pairs", symptom="Short texts are known in one length only.", difficulty="medium")
@aiming
def half_the_room_for_all_short(room: int, short_probability: float, generator: np.random.Generator) -> int:
    """A pair that aims short aims at half of the room, and not at a random length."""
    return max(SHORTEST_PAIR, room // 2) if generator.random() < short_probability else room


@mutant("next-sentence-pairs", symptom="Some long documents are read in short pairs throughout; nine in ten never are.")
def short_once_for_all(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """Whether pairs aim short is drawn once, and holds for all of them."""
    is_short = generator.random() < short_probability
    return make_pairs(sentence_lengths, max_length, generator, 1.0 if is_short else 0.0)


@mutant("next-sentence-pairs", symptom="The model learns that both spans are equally long, and is at a loss elsewhere.")
@parting
def parted_in_the_middle(first: int, stop: int, generator: np.random.Generator) -> int:
    """What was collected is always parted in its middle."""
    return (first + stop) // 2


# Sentence pairs: where a span begins and ends


@mutant(
    "next-sentence-pairs",
    symptom="Beginnings are seen far more often than ends, which are never learned.",
    difficulty="hard",
)
@cutting
def cut_off_the_back_only(first: Span, second: Span, room: int, generator: np.random.Generator) -> tuple[Span, Span]:
    """What is too much is cut off the back alone, where each token should come off the front or the back."""
    short_first, short_second = truncate(first, second, room, generator)
    return beginning(first, short_first.length), beginning(second, short_second.length)


@mutant("next-sentence-pairs", symptom="The middle of a long sentence is never seen.", difficulty="hard")
@cutting
def one_coin_for_the_whole_cut(
    first: Span, second: Span, room: int, generator: np.random.Generator
) -> tuple[Span, Span]:
    """One coin says for all tokens whether they come off the front or the back."""
    short_first, short_second = truncate(first, second, room, generator)
    kept = beginning if generator.random() < 0.5 else ending
    return kept(first, short_first.length), kept(second, short_second.length)


@mutant(
    "next-sentence-pairs", symptom="A long first span leaves a token or none of the second: nothing can be learned."
)
@cutting
def only_the_second_span_cut(first: Span, second: Span, room: int, generator: np.random.Generator) -> list[Span]:
    """Only the second span is cut, however long the first one is."""
    return [first, second._replace(stop=min(second.stop, second.start + max(0, room - first.length)))]


@mutant(
    "next-sentence-pairs",
    symptom="Now and then a pair lacks a word between its spans; nobody notices.",
    difficulty="hard",
)
@each_pair
def a_token_lost_between_the_spans(pair: Pair) -> Pair:
    """The second span begins one token too late."""
    start = min(pair.second.start + 1, pair.second.stop - 1)
    return pair._replace(second=pair.second._replace(start=start))


@mutant("next-sentence-pairs", symptom="The first word of the next document ends this one; the last row crashes.")
@each_pair
def a_token_over_the_end(pair: Pair) -> Pair:
    """The end of the second span is taken for included: it has one token of what comes after."""
    return pair._replace(second=pair.second._replace(stop=pair.second.stop + 1))


# Sentence pairs: going on


@mutant("next-sentence-pairs", symptom="A quarter of the text is never a first span, and the corpus seems smaller.")
@going_on
def rest_of_a_false_pair_skipped(is_next: bool, middle: int, stop: int) -> int:
    """After a false pair the sentences that were collected for its second span are skipped, not put back."""
    return stop


@mutant("next-sentence-pairs", symptom="An epoch takes longer than it should, and the text is soon known by heart.")
@going_on
def second_span_read_again(is_next: bool, middle: int, stop: int) -> int:
    """After a true pair its second span is put back too, and is read again as a first one."""
    return middle


# Sentence pairs: chance


@mutant("next-sentence-pairs", symptom="Pairs are the same in every epoch and for every seed.", difficulty="easy")
def seed_set_inside(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A generator is made inside from a constant, and the one that was given is not used."""
    return make_pairs(sentence_lengths, max_length, np.random.default_rng(0), short_probability)


@mutant("next-sentence-pairs", symptom="Two runs with one seed differ, and nobody finds out why.", difficulty="medium")
def chance_from_elsewhere(
    sentence_lengths: Lengths, max_length: int, generator: np.random.Generator, short_probability: float = 0.1
) -> Iterator[Pair]:
    """A generator without a seed is made inside, and the one that was given is not used."""
    return make_pairs(sentence_lengths, max_length, np.random.default_rng(), short_probability)
