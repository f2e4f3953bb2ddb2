"""Embeddings: what a token is, where it stands, and which sentence it belongs to, added up."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.dropout import Dropout
from minitransformer.errors import InputError
from minitransformer.norm import LayerNorm


class Embeddings(nn.Module):
    """The sum of a word, a position and a segment vector, normalised.

    Equation eq:embeddings:
        x_l = LayerNorm(word[token_l] + segment[s_l] + position[l])

    Source: Devlin et al. 2019, §3 and Figure 2. The norm and the dropout stand only in the published code.

    Raises: InputError for ids outside their tables and for sequences longer than the positions.

    >>> embeddings = Embeddings(vocab_size=7, max_positions=5, n_segments=2, d_model=3)
    >>> embeddings(torch.tensor([[1, 2, 6, 0]])).shape
    torch.Size([1, 4, 3])
    """

    def __init__(
        self,
        vocab_size: int,
        max_positions: int,
        n_segments: int,
        d_model: int,
        dropout: float = 0.0,
        norm: Callable[[int], nn.Module] = LayerNorm,
        padding_id: int | None = None,
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocab_size, d_model, padding_idx=padding_id)
        self.position = nn.Embedding(max_positions, d_model)
        self.segment = nn.Embedding(n_segments, d_model)
        self.norm = norm(d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self,
        token_ids: Int[Tensor, "B L"] | None = None,
        segment_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        word_vectors: Float[Tensor, "B L D"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Embed ids, or word vectors in their place; positions count from 0 and the segment is 0 unless given."""
        word_BLD = self.look_up_words(token_ids, word_vectors)
        if position_ids is None:
            position_ids = self.count_positions(word_BLD.shape[1], word_BLD.device)
        if segment_ids is None:
            segment_ids = torch.zeros_like(position_ids)
        require_ids("position_ids", position_ids, self.position.num_embeddings, "max_position_embeddings")
        require_ids("token_type_ids", segment_ids, self.segment.num_embeddings, "type_vocab_size")
        total = word_BLD + self.segment(segment_ids) + self.position(position_ids)
        return self.dropout(self.norm(total))  # type: ignore[no-any-return]

    def look_up_words(
        self, token_ids: Int[Tensor, "B L"] | None, word_vectors: Float[Tensor, "B L D"] | None
    ) -> Float[Tensor, "B L D"]:
        """The vector of each token, unless the vectors themselves were given."""
        if token_ids is None and word_vectors is not None:
            return word_vectors
        if token_ids is not None and word_vectors is None:
            require_ids("input_ids", token_ids, self.word.num_embeddings, "vocab_size")
            return self.word(token_ids)  # type: ignore[no-any-return]
        raise InputError("give either input_ids or inputs_embeds, and not both")

    def count_positions(self, length: int, device: torch.device) -> Int[Tensor, "1 L"]:
        """Number the positions from 0."""
        if length > self.position.num_embeddings:
            raise InputError(
                f"the sequence has {length} tokens, but max_position_embeddings={self.position.num_embeddings}; "
                "truncate it, or build the model with more positions"
            )
        return torch.arange(length, device=device)[None]


def require_ids(name: str, ids: Tensor, limit: int, limit_name: str) -> None:
    """Refuse ids outside their table before the table is read.

    On an accelerator the check would wait for the device at every step, so there the table's own one has to do.

    Raises: InputError naming the id found.

    >>> require_ids("input_ids", torch.tensor([3, 9]), 5, "vocab_size")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: input_ids holds 9, but ids must lie from 0 to 4 (vocab_size=5); \
do tokenizer and model belong together?
    """
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or ids.numel() == 0:
        return
    lowest, highest = (int(extreme) for extreme in ids.aminmax())
    if lowest < 0 or highest >= limit:
        found = lowest if lowest < 0 else highest
        raise InputError(
            f"{name} holds {found}, but ids must lie from 0 to {limit - 1} ({limit_name}={limit}); "
            "do tokenizer and model belong together?"
        )
