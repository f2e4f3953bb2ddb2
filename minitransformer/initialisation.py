"""How a model begins: where a small one learns fast."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from minitransformer.attention import MultiHeadAttention
from minitransformer.blocks import Encoder
from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.positions import sinusoids

NEIGHBOURS = (-1, 1, -2, 2)
STRIDE = 2
QUIET = 0.1
"""What is left of the numbers drawn at random, where a matrix begins with a purpose."""


def start_with_a_purpose(embeddings: Embeddings, encoder: Encoder) -> None:
    """Give the heads of the first block something to do: the first few read neighbours, the others compare segments.

    A quarter of the columns, 32 at most, says where a token stands, and the last one which segment it is in. Nothing
    here has seen a text.
    """
    columns = position_columns(embeddings.word.embedding_dim)
    start_by_reading_neighbours(embeddings, encoder, columns=columns)
    start_by_comparing_segments(embeddings, encoder, first_column=columns)


def position_columns(d_model: int) -> int:
    """How many columns say where a token stands: at most half, so that words have room of their own.

    >>> position_columns(128), position_columns(8)
    (32, 4)
    """
    return min(32, d_model // 4 * 2)


def start_by_reading_neighbours(
    embeddings: Embeddings,
    encoder: Encoder,
    offsets: Sequence[int] = NEIGHBOURS,
    columns: int = 32,
    sharpness: float = 4.0,
) -> None:
    """Let each head of the first block begin by reading the token at a fixed distance.

    Equation eq:neighbour-score:
        score(i, j) = c² / √d_k · Σ_p cos(ω_p (j − i − offset))

    A shift by k positions turns each pair of a sinusoid by a fixed angle, so a query turned by its head's offset fits
    the key at that distance best. A model whose positions are drawn at random has to find this out, and a small one
    spends most of its training on it. All of it can be unlearned: only the start is chosen, not the architecture.

    Source: Vaswani et al. 2017, §3.5 has the linear map between positions; to begin with it is ours.

    Raises: InputError if the columns are odd in number, fewer than two, or leave none to the words.
    """
    d_model = embeddings.word.embedding_dim
    if not 2 <= columns < d_model or columns % 2:
        raise InputError(f"columns={columns} must be even, at least 2 and below the width {d_model}")
    keep_variance(encoder)
    give_columns_to_positions(embeddings, columns)
    for block in list(encoder.blocks)[:1]:
        turn_heads(block.attention, embeddings, offsets, columns, sharpness)  # type: ignore[arg-type]


def keep_variance(encoder: Encoder) -> None:
    """Draw every matrix from N(0, 1 / d_in), so that each layer speaks as loud as its input.

    BERT's N(0, 0.02²) does so at a width of 2,500; at 128 a block says next to nothing at first.

    Source: LeCun et al. 1998, §4.6, Eq. 16.
    """
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))


@torch.no_grad()
def give_columns_to_positions(embeddings: Embeddings, columns: int) -> None:
    """Put sinusoids into the first columns, where words and segments begin at 0, and zeros into the others.

    Every second row of the table is taken: neighbours then differ more.
    """
    loudness = math.sqrt(2) * embeddings.word.weight[:, columns:].std()
    n_positions = embeddings.position.num_embeddings
    embeddings.word.weight[:, :columns] = 0.0
    embeddings.segment.weight[:, :columns] = 0.0
    embeddings.position.weight.zero_()
    embeddings.position.weight[:, :columns] = loudness * sinusoids(STRIDE * n_positions, columns)[::STRIDE]


@torch.no_grad()
def turn_heads(
    attention: MultiHeadAttention, embeddings: Embeddings, offsets: Sequence[int], columns: int, sharpness: float
) -> None:
    """Make each head's key a copy of the positions' columns, and its query a copy turned by the head's offset."""
    width = attention.query.out_features // attention.n_heads
    frequency = telling_frequencies(embeddings.position.num_embeddings, columns, width)
    used = 2 * len(frequency)
    scale = scale_for(sharpness, frequency, width, position_energy(embeddings))
    for head, offset in enumerate(offsets[: attention.n_heads]):
        rows = slice(head * width, (head + 1) * width)
        for projection, angles in ((attention.query, offset * frequency), (attention.key, 0 * frequency)):
            projection.weight[rows] *= QUIET
            projection.weight[rows][:used, :used] += scale * rotation(angles)


def telling_frequencies(n_positions: int, columns: int, width: int) -> torch.Tensor:
    """The frequencies whose waves are shorter than the table: slower ones hardly tell two positions apart."""
    frequency = STRIDE * 10_000 ** (-torch.arange(0, min(columns, width), 2) / columns)
    return frequency[frequency >= min(2 * math.pi / n_positions, float(frequency[0]))]


def scale_for(sharpness: float, frequency: torch.Tensor, width: int, energy: float) -> float:
    """The scale c with which the key at the right distance outscores the next one by `sharpness`."""
    lead = energy * (1 - frequency.cos()).sum() / math.sqrt(width)
    return math.sqrt(sharpness / lead)


@torch.no_grad()
def position_energy(embeddings: Embeddings) -> float:
    """The mean square length of a sinusoid's pair once the embeddings are normalised."""
    n_words = min(embeddings.word.num_embeddings, 1000)
    positions = torch.arange(n_words) % embeddings.position.num_embeddings
    normalised = embeddings.norm(embeddings.word.weight[:n_words] + embeddings.position.weight[positions])
    return float(normalised[:, :2].square().sum(-1).mean())


def rotation(angles: torch.Tensor) -> torch.Tensor:
    """The matrix that turns each pair of columns (sine, cosine) by its angle.

    >>> rotation(torch.tensor([0.0])).int().tolist()
    [[1, 0], [0, 1]]
    """
    turned = angles.new_zeros(2 * len(angles), 2 * len(angles))
    sine, cosine = 2 * torch.arange(len(angles)), 2 * torch.arange(len(angles)) + 1
    turned[sine, sine] = turned[cosine, cosine] = angles.cos()
    turned[sine, cosine] = angles.sin()
    turned[cosine, sine] = -angles.sin()
    return turned


def start_by_comparing_segments(
    embeddings: Embeddings, encoder: Encoder, first_column: int, sharpness: float = 4.0
) -> None:
    """Let pairs of heads of the first block begin by reading how a token's own segment differs from the other one.

    Equation eq:segment-score:
        score(i, j) = ± c² / √d_k · s_i s_j,  with s = +1 in the first segment and −1 in the second

    The head with + reads the mean of the token's own segment, the one with − that of the other segment, and what the
    second says is subtracted. Whether the second segment is the next one is a question about this difference, and a
    model from random heads spends thousands of updates before it looks there. The first heads, which read neighbours,
    are left alone; so are all, if fewer than two remain.

    Source: ours.
    """
    for block in list(encoder.blocks)[:1]:
        attention: MultiHeadAttention = block.attention  # type: ignore[assignment]
        pairs = pairs_of_heads(attention, first_column)
        if pairs:
            give_a_column_to_segments(embeddings, first_column)
            compare_segments(attention, embeddings, pairs, first_column, sharpness)


def pairs_of_heads(attention: MultiHeadAttention, first_column: int) -> list[tuple[int, int]]:
    """Pair the heads that read no neighbours, as many as have columns of words to speak about.

    >>> pairs_of_heads(MultiHeadAttention(d_model=24, n_heads=8), first_column=12)
    [(4, 6), (5, 7)]
    """
    d_model, free_heads = attention.query.out_features, max(0, attention.n_heads - len(NEIGHBOURS))
    n_pairs = min(free_heads // 2, (d_model - 1 - first_column) * attention.n_heads // d_model)
    return [(len(NEIGHBOURS) + pair, len(NEIGHBOURS) + n_pairs + pair) for pair in range(n_pairs)]


@torch.no_grad()
def give_a_column_to_segments(embeddings: Embeddings, first_column: int) -> None:
    """Put + and − into the last column, where words begin at 0, and zeros into the other columns of the segments."""
    loudness = math.sqrt(2) * embeddings.word.weight[:, first_column:].std()
    embeddings.word.weight[:, -1] = 0.0
    embeddings.segment.weight.zero_()
    embeddings.segment.weight[0, -1] = loudness
    embeddings.segment.weight[1:, -1] = -loudness


@torch.no_grad()
def compare_segments(
    attention: MultiHeadAttention,
    embeddings: Embeddings,
    pairs: list[tuple[int, int]],
    first_column: int,
    sharpness: float,
) -> None:
    """Make both heads of each pair read the same columns of words, one of its own segment and one of the other.

    The mean of n vectors is √n times fainter than one of them, and spoken so much louder.
    """
    width = attention.query.out_features // attention.n_heads
    c = math.sqrt(sharpness * math.sqrt(width) / (2 * segment_energy(embeddings)))
    gain = math.sqrt(embeddings.position.num_embeddings)
    for pair, heads in enumerate(pairs):
        columns = slice(first_column + pair * width, first_column + (pair + 1) * width)
        for head, sign in zip(heads, (1.0, -1.0), strict=True):
            rows = slice(head * width, (head + 1) * width)
            for projection in (attention.query, attention.key, attention.value):
                projection.weight[rows] *= QUIET
            attention.output.weight[:, rows] *= QUIET
            attention.query.weight[rows.start, -1] = sign * c
            attention.key.weight[rows.start, -1] = c
            attention.value.weight[rows, columns] += torch.eye(width)
            attention.output.weight[columns, rows] += sign * gain * torch.eye(width)


@torch.no_grad()
def segment_energy(embeddings: Embeddings) -> float:
    """The mean square of the segments' column once the embeddings are normalised."""
    n_words = min(embeddings.word.num_embeddings, 1000)
    positions = torch.arange(n_words) % embeddings.position.num_embeddings
    total = embeddings.word.weight[:n_words] + embeddings.position.weight[positions] + embeddings.segment.weight[0]
    return float(embeddings.norm(total)[:, -1].square().mean())


@torch.no_grad()
def start_from_word_vectors(
    embeddings: Embeddings, vectors: Float[Tensor, "V _"], first_column: int, special_ids: Sequence[int]
) -> None:
    """Put word vectors into the columns of the words, as loud as what was drawn there; special tokens keep theirs."""
    words = torch.ones(len(vectors), dtype=torch.bool)
    words[list(special_ids)] = False
    columns = slice(first_column, first_column + vectors.shape[1])
    drawn = embeddings.word.weight[words, columns]
    embeddings.word.weight[words, columns] = vectors[words] * (drawn.std() / vectors[words].std())
