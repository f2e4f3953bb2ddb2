"""Laws of masked words: which are asked for, and what stands in their place.

Exact laws hold of every text. Laws about chances count what happens to many rows that are alike, and call a function
wrong only where the count can't be an accident.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer.laws.cases import coins, seeds, whole_numbers
from minitransformer.laws.law import law
from minitransformer.laws.rates import assert_rate
from minitransformer.laws.tolerances import assert_same

Function = Callable[..., tuple[Tensor, Tensor]]

CLS, SEP, MASK = 2, 3, 4
N_SPECIAL = 5
VOCABULARY = 31
IGNORED = -100
"""The label of a token that is not asked for."""


@dataclass(frozen=True)
class MaskingCase:
    """A few rows of any tokens; special ones, padding at the end and some others may not be asked for.

    The sizes stand together, so that nobody makes one of them smaller than the laws about chances allow.
    """

    shape: tuple[int, int]
    probability: float
    seed: int

    @property
    def batch(self) -> int:
        """How many rows there are."""
        return self.shape[0]

    @property
    def length(self) -> int:
        """How many tokens a row has."""
        return self.shape[1]

    @cached_property
    def input_ids(self) -> Tensor:
        """Tokens of the whole vocabulary, special ones among them."""
        return whole_numbers(self.seed, "ids", 0, VOCABULARY, self.batch, self.length)

    @cached_property
    def maskable(self) -> Tensor:
        """Which tokens may be asked for: in some rows only a few, in others none."""
        n_tokens = whole_numbers(self.seed, "lengths", 0, self.length + 1, self.batch, 1)
        is_text = torch.arange(self.length) < n_tokens
        is_left_out = whole_numbers(self.seed, "left out", 0, 4, self.batch, self.length) == 0
        return (self.input_ids >= N_SPECIAL) & is_text & ~is_left_out

    @cached_property
    def continues_word(self) -> Tensor:
        """Which tokens belong to the word of the one before."""
        return self.maskable & coins(self.seed, "continues", self.batch, self.length)

    @cached_property
    def replacements(self) -> Tensor:
        """All tokens that aren't special."""
        return torch.arange(N_SPECIAL, VOCABULARY)

    def generator(self, name: str = "") -> torch.Generator:
        """A new source of chance, always in the same state."""
        return torch.Generator().manual_seed(int(whole_numbers(self.seed, "generator" + name, 0, 2**31)))


@dataclass(frozen=True)
class Crowd(MaskingCase):
    """Many rows that are alike, to count chances with: [CLS], text, [SEP] and a place of padding.

    The text has none of the replacements, so that one can tell a random replacement from a token that was kept.
    """

    @cached_property
    def row(self) -> Tensor:
        """One row."""
        text = whole_numbers(self.seed, "text", N_SPECIAL, VOCABULARY // 2, self.length - 3)
        return torch.cat([torch.tensor([CLS]), text, torch.tensor([SEP, 0])])

    @cached_property
    def input_ids(self) -> Tensor:
        """The same row again and again."""
        return self.row.repeat(self.batch, 1)

    @cached_property
    def maskable(self) -> Tensor:
        """All text may be asked for."""
        return self.input_ids >= N_SPECIAL

    @cached_property
    def replacements(self) -> Tensor:
        """The second half of the vocabulary."""
        return torch.arange(VOCABULARY // 2, VOCABULARY)


cases = st.builds(
    MaskingCase,
    shape=st.tuples(st.sampled_from([1, 2, 5]), st.sampled_from([1, 3, 7, 13])),
    probability=st.sampled_from([0.15, 0.01, 0.5, 1.0]),
    seed=seeds,
)
# A few large counts say more than many small ones. Hypothesis stops when it has seen all combinations.
few_seeds = st.integers(0, 2)
crowds = st.builds(
    Crowd,
    shape=st.sampled_from([(9001, 13), (1501, 64)]),
    probability=st.sampled_from([0.15, 0.4]),
    seed=few_seeds,
)


def hide(mask_tokens: Function, case: MaskingCase, *shares: float, **options: Any) -> tuple[Tensor, Tensor]:
    """The masked ids and the labels, with a generator in the state of the case unless there is another."""
    probability, *fates = shares or (case.probability,)
    options = {"generator": case.generator(), **options}
    found = mask_tokens(case.input_ids, case.maskable, MASK, case.replacements, probability, *fates, **options)
    is_pair = isinstance(found, tuple | list) and len(found) == 2
    assert is_pair, "there should be two tensors: masked ids and labels"
    masked_ids, labels = found
    shape = tuple(case.input_ids.shape)
    for name, tensor in (("masked ids", masked_ids), ("labels", labels)):
        assert tuple(tensor.shape) == shape, f"the {name} should have the shape {shape} of the ids"
    return masked_ids, labels


# What holds of every text


@law("masking", given=cases, equations=())
def what_may_not_be_asked_for_is_untouched(mask_tokens: Function, case: MaskingCase) -> None:
    """Special tokens, padding and whatever else may not be asked for keep their id and have the label −100.

    Kills: [CLS], [SEP] or [PAD] selected like any other token; `maskable` ignored; the label 0 where nothing is asked.
    Hint: Hide 100 % of a row that ends with padding. Which of its places should have changed?
    """
    masked_ids, labels = hide(mask_tokens, case)
    excluded = ~case.maskable
    expected = case.input_ids[excluded]
    assert_same(masked_ids[excluded], expected, what="the ids of what may not be asked for")
    assert_same(labels[excluded], torch.full_like(expected, IGNORED), what="the labels of what may not be asked for")


@law("masking", given=cases, equations=())
def a_label_is_the_original_id_or_nothing(mask_tokens: Function, case: MaskingCase) -> None:
    """Each label is the id that stood there before, or −100.

    Kills: labels taken from the masked ids; 0 or [PAD] as the label of what is not asked for; labels that are 0 and 1.
    Hint: What does the model have to guess at a place that shows [MASK]? Is it still there when you write the label?
    """
    _, labels = hide(mask_tokens, case)
    asked = labels != IGNORED
    assert_same(labels[asked], case.input_ids[asked], what="the labels of what is asked for")


@law("masking", given=cases, equations=())
def putting_the_labels_back_restores_the_text(mask_tokens: Function, case: MaskingCase) -> None:
    """Where the labels are put back in place of what is asked for, the original text stands again.

    Kills: tokens changed without being asked for; labels of the masked ids; two draws, one for ids and one for labels.
    Hint: Are the tokens that you change and the tokens that you label selected by one and the same draw?
    """
    masked_ids, labels = hide(mask_tokens, case)
    restored = torch.where(labels == IGNORED, masked_ids, labels)
    assert_same(restored, case.input_ids, what="the text with its labels put back")


@law("masking", given=cases, equations=())
def what_is_asked_for_shows_the_mask_a_replacement_or_itself(mask_tokens: Function, case: MaskingCase) -> None:
    """Where a token is asked for stands [MASK], one of the replacements, or the token itself.

    Kills: replacements drawn from the whole vocabulary, [PAD] and [CLS] included; positions in place of ids.
    Hint: List the tokens that you draw replacements from. Would you read any of them in a sentence?
    """
    masked_ids, labels = hide(mask_tokens, case, case.probability, 0.4, 0.4)
    shown = masked_ids[labels != IGNORED]
    original = case.input_ids[labels != IGNORED]
    is_allowed = (shown == MASK) | torch.isin(shown, case.replacements) | (shown == original)
    strangers = sorted(set(shown[~is_allowed].tolist()))
    assert not strangers, (
        f"ids {strangers} stand in place of a token, but are neither [MASK] nor among the replacements"
    )


@law("masking", given=cases, equations=())
def each_row_is_asked_for_its_share(mask_tokens: Function, case: MaskingCase) -> None:
    """Of each row its share is asked for, rounded up or down, and at least one token if there is any.

    Kills: selection with replacement, which asks for too few; a coin for each token, so that some rows are never asked;
    labels on all tokens; a crash or division by zero where nothing may be asked for.
    Hint: Count the labels of each row of a batch with short rows. Does one of them teach nothing, and should it?
    """
    _, labels = hide(mask_tokens, case)
    counts = (labels != IGNORED).sum(1).tolist()
    for row, (asked, possible) in enumerate(zip(counts, case.maskable.sum(1).tolist(), strict=True)):
        share = round(case.probability * possible, 9)
        low = min(possible, max(1, math.floor(share)))
        high = max(low, math.ceil(share))
        assert low <= asked <= high, f"row {row} is asked for {asked} of its {possible} tokens, not {low} to {high}"


@law("masking", given=cases, equations=())
def the_batch_of_the_caller_stays_as_it_was(mask_tokens: Function, case: MaskingCase) -> None:
    """The ids that were given are not changed: the text is whole again in the next epoch.

    Kills: masking in place, so that every epoch hides more and [MASK] becomes a label.
    Hint: Print the batch that you passed in, after the call. Whose tensor did you write to?
    """
    given_ids = case.input_ids.clone()
    options = {"generator": case.generator()}
    mask_tokens(given_ids, case.maskable, MASK, case.replacements, case.probability, 1.0, 0.0, **options)
    assert_same(given_ids, case.input_ids, what="the batch of the caller after the call")


@law("masking", given=cases, equations=())
def words_are_asked_for_as_a_whole(mask_tokens: Function, case: MaskingCase) -> None:
    """With whole words, a piece that continues a word is asked for if and only if the piece before it is.

    Kills: pieces of a word selected apart; `continues_word` ignored; words that reach across a token left out.
    Hint: Hide one piece of "trans ##form ##er". How hard is it to guess from the others?
    """
    _, labels = hide(mask_tokens, case, continues_word=case.continues_word)
    asked = labels != IGNORED
    are_one_word = case.continues_word[:, 1:] & case.maskable[:, :-1]
    differ = are_one_word & (asked[:, 1:] != asked[:, :-1])
    assert not differ.any(), f"in {int(differ.sum())} places a piece is asked for without the rest of its word"


# What holds of chances


@law("masking", given=crowds, equations=())
def as_many_are_asked_for_as_wanted_whatever_the_length(mask_tokens: Function, case: Crowd) -> None:
    """Over many rows, the share of tokens asked for is the probability, whatever the length of a row.

    Kills: a fixed rounding, which asks for 20 % of ten tokens; 12 % instead of 15 %; selection with replacement.
    Hint: How many of ten tokens are 15 %? What do you do with the half, in the long run?
    """
    _, labels = hide(mask_tokens, case)
    asked = int((labels != IGNORED).sum())
    assert_rate(asked, int(case.maskable.sum()), case.probability, "tokens asked for")


@law("masking", given=crowds, equations=())
def each_token_has_the_same_chance_to_be_asked_for(mask_tokens: Function, case: Crowd) -> None:
    """Each token that may be asked for is asked for equally often, wherever it stands.

    Kills: the first or last token never selected, by an off-by-one in the ranking; the same words each time.
    Hint: Count, for each place of a thousand equal rows, how often it has a label. Look at both ends.
    """
    _, labels = hide(mask_tokens, case)
    counts = (labels != IGNORED).sum(0).tolist()
    for position in range(1, case.length - 2):
        assert_rate(counts[position], case.batch, case.probability, f"rows that ask for position {position}")


@law("masking", given=st.tuples(crowds, st.sampled_from([(0.8, 0.1), (0.5, 0.3)])), equations=())
def what_is_asked_for_is_masked_replaced_and_kept_in_the_shares_given(
    mask_tokens: Function, case: tuple[Crowd, tuple[float, float]]
) -> None:
    """Of the tokens asked for 80 % show [MASK], 10 % a random token, and 10 % stay, or whatever shares are given.

    Kills: `p < p * 0.8`, which gives 0/0/100; two overlapping draws, 81/10/9; replaced and kept exchanged.
    Hint: Draw the line from 0 to 1 and mark where each fate begins and ends. Does one draw fall into exactly one part?
    """
    crowd, (mask_share, random_share) = case
    masked_ids, labels = hide(mask_tokens, crowd, 1.0, mask_share, random_share)
    asked = labels != IGNORED
    total = int(asked.sum())
    masked = int((masked_ids[asked] == MASK).sum())
    kept = int((masked_ids[asked] == crowd.input_ids[asked]).sum())
    assert_rate(masked, total, mask_share, "tokens that show [MASK]")
    assert_rate(kept, total, 1 - mask_share - random_share, "tokens that stay")
    assert_rate(total - masked - kept, total, random_share, "tokens that show another")


@law("masking", given=crowds, equations=())
def each_replacement_is_as_likely_as_any_other(mask_tokens: Function, case: Crowd) -> None:
    """Each of the replacements is drawn as often as any other, and no other token ever is.

    Kills: replacements from the whole vocabulary, [PAD] and [MASK] included; the last id never drawn; one for all.
    Hint: Which ends does your random integer include? Replace 100 % of many tokens and count what you see.
    """
    masked_ids, labels = hide(mask_tokens, case, 1.0, 0.0, 1.0)
    shown = masked_ids[labels != IGNORED]
    counts = torch.bincount(shown.clamp(0, VOCABULARY - 1), minlength=VOCABULARY).tolist()
    expected = [0.0] * VOCABULARY
    for token in case.replacements.tolist():
        expected[token] = 1 / len(case.replacements)
    for token, count in enumerate(counts):
        assert_rate(count, len(shown), expected[token], f"replacements by token {token}")


@law("masking", given=crowds, equations=())
def the_fates_of_two_tokens_are_independent(mask_tokens: Function, case: Crowd) -> None:
    """Two tokens that are asked for both show [MASK] in 80 % of 80 %, side by side and from row to row.

    Kills: one draw for the whole row, so that all its tokens share a fate; one draw for the whole batch.
    Hint: How many random numbers do you draw for a batch, and what shape have they?
    """
    masked_ids, _ = hide(mask_tokens, case, 1.0, 0.8, 0.1)
    masked = (masked_ids == MASK)[:, 1:-2]
    # Every other pair of neighbours, so that no token is in two of them.
    side_by_side = masked[:, :-1:2] & masked[:, 1::2]
    above_each_other = masked[:-1:2] & masked[1::2]
    for where, both in (("side by side", side_by_side), ("above each other", above_each_other)):
        assert_rate(int(both.sum()), both.numel(), 0.8**2, f"pairs of tokens {where} that are both hidden")


@law("masking", given=crowds, equations=())
def the_same_text_is_hidden_differently_each_time(mask_tokens: Function, case: Crowd) -> None:
    """Rows that are alike are asked for different words, and so is the same batch with another generator.

    Kills: static masking where dynamic is claimed; a seed set inside; one selection for all rows.
    Hint: Ask twice, with two generators. Where does your function take its random numbers from?
    """
    _, labels = hide(mask_tokens, case)
    assert (labels != labels[:1]).any(), "all rows are asked for the same places"
    _, others = hide(mask_tokens, case, generator=case.generator("another"))
    assert (labels != others).any(), "another generator hides the same words"


@law("masking", given=crowds, equations=())
def the_same_state_of_the_generator_hides_the_same_words(mask_tokens: Function, case: Crowd) -> None:
    """All chance comes from the generator: in the same state it hides the same words by the same tokens.

    Kills: randomness from global state, for one of the draws or for all; the generator not passed on.
    Hint: Look at each call that draws a number. Which of them knows your generator?
    """
    first, second = hide(mask_tokens, case), hide(mask_tokens, case)
    assert_same(second[1], first[1], what="the labels, with the generator in the same state,")
    assert_same(second[0], first[0], what="the masked ids, with the generator in the same state,")


@law("masking", given=few_seeds, equations=())
def each_word_has_the_same_chance_whatever_its_pieces(mask_tokens: Function, case: int) -> None:
    """With whole words, a word of three pieces is asked for as often as a word of one.

    Kills: pieces drawn, and their words added, so that long words are asked for more often; first pieces only.
    Hint: What do you draw from: the pieces, or the words? Count how often a short and a long word are asked for.
    """
    crowd = Crowd(shape=(9001, 10), probability=0.15, seed=case)
    continues_word = torch.tensor([[False, False, True, False, False, True, True, False, False, False]])
    _, labels = hide(mask_tokens, crowd, continues_word=continues_word.repeat(crowd.batch, 1))
    counts = (labels != IGNORED).sum(0).tolist()
    # Four words: 15 % of them are less than one, and one is always asked for.
    for position in range(1, crowd.length - 2):
        assert_rate(counts[position], crowd.batch, 1 / 4, f"rows that ask for position {position}")
