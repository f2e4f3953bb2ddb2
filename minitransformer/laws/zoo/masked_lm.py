"""Mutants of masking.

Most are ours with one part exchanged. The part is what one reads: what is selected, or what becomes of it;
`mask_tokens` is built around it.
"""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import Part, mutant, part_of
from minitransformer.objectives.masked_lm import IGNORED, mask_tokens, select_tokens

Generator = torch.Generator | None


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
