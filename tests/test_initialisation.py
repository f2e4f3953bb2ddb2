"""Laws of the start that reads its neighbours, compares segments, and knows which words go together."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minitransformer import reference
from minitransformer.blocks import Encoder
from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.initialisation import (
    NEIGHBOURS,
    compare_segments,
    pairs_of_heads,
    position_columns,
    rotation,
    segment_energy,
    start_by_comparing_segments,
    start_by_reading_neighbours,
    start_from_word_vectors,
    start_with_a_purpose,
)
from minitransformer.laws.tolerances import ROUNDING, SUM, assert_close, assert_same
from minitransformer.laws.training_functions import neighbour_score


@pytest.mark.equation("neighbour-score", "sinusoids")
@given(length=st.integers(1, 13), offset=st.integers(-5, 5), half_width=st.integers(1, 8), c=st.floats(0.1, 4.0))
def test_the_sinusoids_of_the_table_have_these_scores(length: int, offset: int, half_width: int, c: float) -> None:
    """Sinusoids turned by an offset have the score of their frequencies."""
    frequency = 10_000.0 ** (-torch.arange(half_width, dtype=torch.float64) / half_width)
    waves = c * torch.from_numpy(reference.positions.sinusoids(length, 2 * half_width))
    score = waves @ rotation(offset * frequency).T @ waves.T / math.sqrt(2 * half_width)
    expected = neighbour_score(length, offset, frequency, c, d_k=2 * half_width)
    assert_close(score, expected, SUM, 2 * c**2 * half_width, what="the score of two positions")


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


# Segments.

LENGTH, CUT = 23, 9


def two_segments(n_texts: int) -> torch.Tensor:
    """The numbers of the segments of texts that are parted at one place."""
    return (torch.arange(LENGTH) >= CUT).long().expand(n_texts, LENGTH)


def purposeful(n_heads: int = 8, d_model: int = 64) -> tuple[Embeddings, Encoder]:
    """Embeddings and an encoder with the start that pretraining uses."""
    embeddings = Embeddings(vocab_size=50, max_positions=LENGTH, n_segments=2, d_model=d_model)
    encoder = Encoder(n_blocks=2, d_model=d_model, n_heads=n_heads, d_ff=32)
    start_with_a_purpose(embeddings, encoder)
    return embeddings, encoder


@given(sharpness=st.floats(0.5, 8.0))
def test_the_own_segment_outscores_the_other_by_the_sharpness(sharpness: float) -> None:
    """Kills: the energy of the segments' column left out; the width for its root."""
    embeddings, encoder = purposeful()
    attention = encoder.blocks[0].attention
    compare_segments(attention, embeddings, pairs_of_heads(attention, 32), first_column=32, sharpness=sharpness)
    c = float(attention.key.weight[32:, -1].detach().max())
    gap = 2 * c**2 / math.sqrt(8) * segment_energy(embeddings)
    assert_close(torch.tensor(gap), sharpness, SUM, what="how far the own segment outscores the other")


@pytest.mark.equation("segment-score", "attention-weights")
@pytest.mark.usefixtures("kernels_in_use")
@pytest.mark.parametrize("seed", range(3))
def test_one_head_of_a_pair_begins_by_reading_its_own_segment_and_one_the_other(seed: int) -> None:
    """Before any training, heads 4 and 5 read the segment that a token is in, and heads 6 and 7 the other one.

    Kills: both heads at the same segment; the first segment for all tokens; a start that is too faint to be read.
    """
    torch.manual_seed(seed)
    embeddings, encoder = purposeful()
    segments = two_segments(100)
    weights = encoder.blocks[0].attention_weights(embeddings(torch.randint(50, segments.shape), segments)).mean(0)
    same = segments[0][:, None] == segments[0][None, :]
    own = (weights * same).sum(-1)
    assert (own[[4, 5]] > 0.9).all(), "these heads should read their own segment"
    assert (own[[6, 7]] < 0.1).all(), "these heads should read the other segment"


@pytest.mark.equation("segment-score", "multi-head-attention")
@pytest.mark.usefixtures("kernels_in_use")
@pytest.mark.parametrize("seed", range(3))
def test_attention_begins_by_telling_in_what_two_segments_differ(seed: int) -> None:
    """If both segments say the same, [CLS] reads next to nothing; the more they differ, the more it reads.

    Kills: sums in place of differences; the two heads of a pair speaking about other columns; the sign of the second.
    """
    torch.manual_seed(seed)
    embeddings, encoder = purposeful()
    attention = encoder.blocks[0].attention
    columns = slice(32, 32 + 2 * 8)
    with torch.no_grad():  # segments of one word each, so that there is one difference and no chance
        alike, other = torch.full((1, LENGTH), 7), torch.full((1, LENGTH), 7)
        other[:, CUT:] = 8
        read = {
            name: attention(embeddings(ids, two_segments(1)))[0, 0, columns].norm()
            for name, ids in (("alike", alike), ("other", other))
        }
    assert read["other"] > 4 * read["alike"], f"a difference should be louder than none: {read}"


@pytest.mark.parametrize(("n_heads", "pairs"), [(1, 0), (4, 0), (5, 0), (6, 1), (8, 2), (12, 3)])
def test_only_heads_that_read_no_neighbour_are_paired(n_heads: int, pairs: int) -> None:
    attention = Encoder(n_blocks=1, d_model=120, n_heads=n_heads, d_ff=8).blocks[0].attention
    found = pairs_of_heads(attention, first_column=82)
    assert len(found) == pairs
    assert all(head >= len(NEIGHBOURS) for pair in found for head in pair)
    assert len({head for pair in found for head in pair}) == 2 * pairs


def test_without_a_free_pair_of_heads_the_segments_stay_as_they_were() -> None:
    embeddings = Embeddings(vocab_size=9, max_positions=12, n_segments=2, d_model=24)
    encoder = Encoder(n_blocks=1, d_model=24, n_heads=4, d_ff=8)
    before = embeddings.segment.weight.clone()
    start_by_comparing_segments(embeddings, encoder, first_column=12)
    assert_same(embeddings.segment.weight, before)


@pytest.mark.parametrize("n_segments", [1, 2, 3])
def test_any_number_of_segments_can_start(n_segments: int) -> None:
    embeddings = Embeddings(vocab_size=9, max_positions=12, n_segments=n_segments, d_model=64)
    start_with_a_purpose(embeddings, Encoder(n_blocks=1, d_model=64, n_heads=8, d_ff=8))
    assert embeddings.segment.weight.isfinite().all()


# Words.


def test_word_vectors_are_put_in_as_loud_as_what_was_drawn() -> None:
    """Kills: special tokens overwritten; columns of the positions or the segments overwritten; another loudness."""
    embeddings, _ = purposeful()
    before = embeddings.word.weight.detach().clone()
    first = position_columns(64)
    vectors = 100 * torch.randn(50, 64 - 1 - first)
    start_from_word_vectors(embeddings, vectors, first, special_ids=(0, 3))
    after = embeddings.word.weight
    assert_same(after[[0, 3]], before[[0, 3]], "the special tokens")
    assert_same(after[:, :first], before[:, :first], "the columns of the positions")
    assert_same(after[:, -1], before[:, -1], "the column of the segments")
    words = [row for row in range(50) if row not in (0, 3)]
    assert_close(after[words, first:-1].std(), before[words, first:-1].std().item(), SUM, what="the loudness")
    cosine = torch.nn.functional.cosine_similarity(after[words, first:-1], vectors[words])
    assert_close(cosine, torch.ones(48), SUM, what="the likeness to the vectors given")
