"""Laws of embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.laws.cases import distinct_sizes, dtypes, parameters_of, randomise, seeds, whole_numbers
from minitransformer.laws.tolerances import LAYER, ROUNDING, as_array, assert_close, assert_same

pytestmark = pytest.mark.usefixtures("kernels_in_use")

N_SEGMENTS = 4


@dataclass(frozen=True)
class TokensCase:
    """Tokens in a batch, each with its segment."""

    batch: int
    length: int
    vocab_size: int
    d_model: int
    dtype: torch.dtype
    seed: int

    @cached_property
    def token_ids(self) -> Tensor:
        """A word for each position."""
        return whole_numbers(self.seed, "tokens", 0, self.vocab_size, self.batch, self.length)

    @cached_property
    def segment_ids(self) -> Tensor:
        """A segment for each position."""
        return whole_numbers(self.seed, "segments", 0, N_SEGMENTS, self.batch, self.length)

    def module(self, **options: object) -> Embeddings:
        """Embeddings with numbers of their own and two positions to spare."""
        made = Embeddings(self.vocab_size, self.length + 2, N_SEGMENTS, self.d_model, **options)
        return randomise(made, self.seed, self.dtype)

    def plain(self) -> Embeddings:
        """Embeddings without the norm, so that the sum itself is seen."""
        return self.module(norm=lambda width: nn.Identity())


@st.composite
def tokens_cases(draw: st.DrawFn) -> TokensCase:
    """Batches of tokens."""
    batch, length, vocab_size, d_model = draw(distinct_sizes(4, may_be_one=(0, 1, 2)))
    return TokensCase(batch, length, vocab_size, d_model, dtype=draw(dtypes), seed=draw(seeds))


Embed = Callable[..., Tensor]


def word_position_and_segment_add_up(embed: Embed, tables: Embeddings, case: TokensCase) -> None:
    actual = embed(case.token_ids, case.segment_ids)
    for example in range(case.batch):
        for place in range(case.length):
            word = tables.word.weight[case.token_ids[example, place]]
            segment = tables.segment.weight[case.segment_ids[example, place]]
            expected = word + tables.position.weight[place] + segment
            assert_close(actual[example, place], expected, ROUNDING, 8, what="word + position + segment")


@pytest.mark.equation("embeddings")
@given(case=tokens_cases())
def test_word_position_and_segment_add_up(case: TokensCase) -> None:
    """Before the norm, each position is the sum of its word, its place counted from 0, and its segment.

    Kills: the segment forgotten; positions from 1 or 2; positions along the batch; concatenation.
    """
    word_position_and_segment_add_up(case.plain(), case.plain(), case)


@pytest.mark.equation("embeddings")
@given(case=tokens_cases())
def test_the_sum_is_normalised(case: TokensCase) -> None:
    """The sum passes through the norm that the embeddings were given."""
    module = case.module()
    plain = case.plain()
    expected = module.norm(plain(case.token_ids, case.segment_ids))
    assert_close(module(case.token_ids, case.segment_ids), expected, LAYER)


@pytest.mark.equation("embeddings")
@given(case=tokens_cases())
def test_embeddings_agree_with_the_reference(case: TokensCase) -> None:
    """Embeddings agree with the reference, with segments and without."""
    module = case.module(norm=lambda width: nn.Identity())
    parameters = parameters_of(module)
    tokens, segments = case.token_ids.numpy(), case.segment_ids.numpy()
    for ours, theirs in ((case.segment_ids, segments), (None, None)):
        expected = reference.embeddings.embeddings(parameters, tokens, theirs, norm=lambda norm, x: x)
        assert_close(module(case.token_ids, ours), expected, ROUNDING, 8)
    normalised = case.module()
    expected = reference.embeddings.embeddings(parameters_of(normalised), tokens, segments)
    spread = as_array(case.plain()(case.token_ids, case.segment_ids)).std(-1).min()
    assert_close(normalised(case.token_ids, case.segment_ids), expected, LAYER, 16 / spread)


@pytest.mark.equation("embeddings")
@given(case=tokens_cases())
def test_the_segment_is_zero_and_positions_count_from_zero_unless_given(case: TokensCase) -> None:
    """What is left out is what would be usual: segment 0, positions from 0, the words' own vectors; bit for bit."""
    module = case.module()
    usual = module(case.token_ids)
    positions = torch.arange(case.length)[None]
    assert_same(module(case.token_ids, torch.zeros_like(case.token_ids)), usual)
    assert_same(module(case.token_ids, position_ids=positions), usual)
    assert_same(module(word_vectors=module.word(case.token_ids)), usual)
    shifted = case.plain()(case.token_ids, position_ids=positions + 2)
    expected = case.plain()(case.token_ids) - case.plain().position(positions) + case.plain().position(positions + 2)
    assert_close(shifted, expected, ROUNDING, 8)


@pytest.mark.equation("embeddings")
def test_padding_takes_no_part_in_learning() -> None:
    """The vector of the padding word has no gradient."""
    module = Embeddings(vocab_size=5, max_positions=3, n_segments=2, d_model=4, padding_id=0)
    module(torch.tensor([[1, 0, 2]])).square().sum().backward()
    assert module.word.weight.grad is not None
    assert not module.word.weight.grad[0].any()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"token_ids": [[1, 9]]},
            r"input_ids holds 9, but ids must lie from 0 to 4 \(vocab_size=5\); do tokenizer and",
        ),
        ({"token_ids": [[1, -1]]}, r"input_ids holds -1, but ids must lie from 0 to 4"),
        ({"token_ids": [[1]], "segment_ids": [[2]]}, r"token_type_ids holds 2, .* from 0 to 1 \(type_vocab_size=2\)"),
        ({"token_ids": [[1]], "position_ids": [[3]]}, r"position_ids holds 3, .* to 2 \(max_position_embeddings=3\)"),
        ({"token_ids": [[1, 1, 1, 1]]}, r"the sequence has 4 tokens, but max_position_embeddings=3; truncate it"),
        ({}, "give either input_ids or inputs_embeds, and not both"),
    ],
)
def test_what_has_no_place_in_a_table_is_refused(inputs: dict[str, list[list[int]]], message: str) -> None:
    """The message names the argument, the number found, and the table's size."""
    module = Embeddings(vocab_size=5, max_positions=3, n_segments=2, d_model=4)
    with pytest.raises(InputError, match=message):
        module(**{name: torch.tensor(ids) for name, ids in inputs.items()})


def test_words_and_their_vectors_together_are_refused() -> None:
    module = Embeddings(vocab_size=5, max_positions=3, n_segments=2, d_model=4)
    with pytest.raises(InputError, match="give either input_ids or inputs_embeds, and not both"):
        module(torch.tensor([[1]]), word_vectors=torch.zeros(1, 1, 4))
