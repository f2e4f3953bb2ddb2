"""Embeddings beyond the laws of what they compute: what may be left out or given in another form, and errors."""

import pytest
import torch
from hypothesis import given
from torch import nn

from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.laws.cases import randomise
from minitransformer.laws.embeddings import TokensCase, tokens_cases
from minitransformer.laws.tolerances import ROUNDING, assert_close, assert_same

pytestmark = pytest.mark.usefixtures("kernels_in_use")

ordinary_tables = tokens_cases(tables=("ordinary",))


def module_of(case: TokensCase, **options: object) -> Embeddings:
    """Embeddings with numbers of their own and two positions to spare."""
    made = Embeddings(case.vocab_size, case.length + 2, case.n_segments, case.d_model, **options)
    return randomise(made, case.seed, case.dtype)


@pytest.mark.equation("embeddings")
@given(case=ordinary_tables)
def test_positions_count_from_zero_and_words_are_looked_up_unless_given(case: TokensCase) -> None:
    """What is left out is what would be usual: positions from 0, the words' own vectors; bit for bit."""
    module = module_of(case)
    usual = module(case.token_ids)
    assert_same(module(case.token_ids, position_ids=torch.arange(case.length)[None]), usual)
    assert_same(module(word_vectors=module.word(case.token_ids)), usual)


@pytest.mark.equation("embeddings")
@given(case=ordinary_tables)
def test_the_norm_is_the_one_given(case: TokensCase) -> None:
    """With a norm that changes nothing, the sum itself is seen, at the positions given."""
    module = module_of(case, norm=lambda width: nn.Identity())
    positions = torch.arange(case.length)[None] + 2
    expected = module.word(case.token_ids) + module.position(positions) + module.segment(case.segment_ids)
    assert_close(module(case.token_ids, case.segment_ids, positions), expected, ROUNDING, 8)


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
