"""Laws of the start that reads its neighbours."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import ROUNDING, SUM, assert_close

from minitransformer import reference
from minitransformer.blocks import Encoder
from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.initialisation import NEIGHBOURS, rotation, start_by_reading_neighbours


@pytest.mark.equation("neighbour-score", "sinusoids")
@given(length=st.integers(1, 13), offset=st.integers(-5, 5), half_width=st.integers(1, 8), c=st.floats(0.1, 4.0))
def test_a_turned_query_fits_the_key_at_its_offset(length: int, offset: int, half_width: int, c: float) -> None:
    """Turning a query's sinusoids by an offset gives the score of the reference, greatest where j − i = offset.

    Kills: the turn in the other direction; sine and cosine swapped; the scale of d_model.
    """
    d_k = 2 * half_width
    frequency = 10_000.0 ** (-np.arange(half_width) / half_width)
    waves = c * torch.from_numpy(reference.positions.sinusoids(length, d_k))
    query = waves @ rotation(torch.from_numpy(offset * frequency)).T
    expected = reference.initialisation.neighbour_score(length, offset, frequency, c, d_k)
    assert_close(query @ waves.T / d_k**0.5, expected, SUM, c**2 * d_k, what="the score of two positions")
    for i in range(length):
        if 0 <= i + offset < length:
            assert expected[i, i + offset] == expected.max(), "the greatest score should stand at the offset"


@pytest.mark.equation("neighbour-score", "attention-weights")
@pytest.mark.usefixtures("kernels_in_use")
@pytest.mark.parametrize("seed", range(3))
def test_each_head_begins_by_reading_its_neighbour(seed: int) -> None:
    """Before any training, the mean weights of each head of the first block are greatest at the head's offset.

    Kills: one offset for all heads; queries and keys turned alike; words in the columns of the positions.
    """
    torch.manual_seed(seed)
    length, n_texts = 24, 100
    embeddings = Embeddings(vocab_size=50, max_positions=length, n_segments=2, d_model=128)
    encoder = Encoder(n_blocks=2, d_model=128, n_heads=4, d_ff=64)
    start_by_reading_neighbours(embeddings, encoder)
    read = embeddings(torch.randint(50, (n_texts, length)))
    weights = encoder.blocks[0].attention_weights(read).mean(0)
    for head, offset in enumerate(NEIGHBOURS):
        inside = torch.arange(2, length - 2)
        found = weights[head].argmax(-1)[inside] - inside
        assert (found == offset).all(), f"head {head} should look {offset:+d}, but looks {found.tolist()}"


@pytest.mark.parametrize("columns", [0, 3, 128, 130])
def test_columns_that_positions_cannot_have_are_refused(columns: int) -> None:
    embeddings = Embeddings(vocab_size=5, max_positions=3, n_segments=2, d_model=128)
    encoder = Encoder(n_blocks=1, d_model=128, n_heads=4, d_ff=8)
    with pytest.raises(InputError, match=f"columns={columns} must be even, at least 2 and below the width 128"):
        start_by_reading_neighbours(embeddings, encoder, columns=columns)


@given(angles=st.lists(st.floats(-10, 10), min_size=1, max_size=5))
def test_a_rotation_is_orthogonal_and_turns_back_by_the_opposite_angles(angles: list[float]) -> None:
    turned = rotation(torch.tensor(angles, dtype=torch.float64))
    assert_close(turned @ turned.T, torch.eye(2 * len(angles), dtype=torch.float64), ROUNDING)
    assert_close(turned.T, rotation(-torch.tensor(angles, dtype=torch.float64)), ROUNDING)


def test_words_and_segments_leave_the_columns_of_the_positions_alone() -> None:
    embeddings = Embeddings(vocab_size=9, max_positions=12, n_segments=2, d_model=24)
    start_by_reading_neighbours(embeddings, Encoder(n_blocks=1, d_model=24, n_heads=2, d_ff=8), columns=10)
    for table in (embeddings.word.weight, embeddings.segment.weight):
        assert (table[:, :10] == 0).all()
        assert (table[:, 10:] != 0).any(dim=1).all()
    assert (embeddings.position.weight[:, 10:] == 0).all()
    assert len(embeddings.position.weight.unique(dim=0)) == 12


def test_a_start_with_fewer_offsets_than_heads_leaves_the_other_heads_as_drawn() -> None:
    embeddings = Embeddings(vocab_size=9, max_positions=12, n_segments=2, d_model=24)
    encoder = Encoder(n_blocks=2, d_model=24, n_heads=2, d_ff=8)
    start_by_reading_neighbours(embeddings, encoder, offsets=(-1,), columns=10)
    for block in encoder.blocks:
        for parameter in block.parameters():
            assert parameter.isfinite().all()
    turned, other = encoder.blocks[0].attention.query.weight.chunk(2)
    assert turned[:, 10:].std() < other.std() / 3
