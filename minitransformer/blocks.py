"""Blocks: attention and feed-forward, each with its residual connection; and stacks of blocks."""

from collections.abc import Callable, Iterator
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minitransformer import kernels
from minitransformer.attention import MultiHeadAttention
from minitransformer.dropout import Dropout
from minitransformer.errors import InputError
from minitransformer.feed_forward import Activation, FeedForward, relu
from minitransformer.norm import LayerNorm
from minitransformer.rows import Rows
from minitransformer.visibility import causal

Sublayer = Callable[[Tensor], Tensor]
NormFactory = Callable[[int], nn.Module]


class PostNorm(nn.Module):
    """Add what the sublayer says to its input, then normalise the sum.

    Equation eq:post-norm:
        y = Norm(x + Dropout(Sublayer(x)))

    Source: Vaswani et al. 2017, §3.1 and §5.4. BERT, RoBERTa and BART keep this order.

    >>> PostNorm(LayerNorm(2))(torch.tensor([1.0, 3.0]), lambda x: torch.zeros_like(x)).tolist()
    [-1.0, 1.0]
    """

    def __init__(self, norm: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "... D"], sublayer: Sublayer) -> Float[Tensor, "... D"]:
        """Apply eq:post-norm."""
        return self.norm(x + self.dropout(sublayer(x)))  # type: ignore[no-any-return]

    def sublayer_input(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """What the sublayer is given."""
        return x

    @staticmethod
    def closing_norm(d_model: int, norm: NormFactory) -> nn.Module:  # noqa: ARG004 - the twin below needs both
        """Nothing: the last block has normalised its output."""
        return nn.Identity()


class PreNorm(nn.Module):
    """Add to the input what the sublayer says about its normalised form.

    Equation eq:pre-norm:
        y = x + Dropout(Sublayer(Norm(x)))

    The path from input to output is a plain sum, so gradients reach the first block undiminished. The sum itself is
    never normalised, so a stack of such blocks needs one norm at its end.

    Source: Xiong et al. 2020, §3.1 and Table 1; GPT-2, T5 and ViT keep this order.

    >>> PreNorm(LayerNorm(2))(torch.tensor([1.0, 3.0]), lambda x: x).tolist()
    [0.0, 4.0]
    """

    def __init__(self, norm: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "... D"], sublayer: Sublayer) -> Float[Tensor, "... D"]:
        """Apply eq:pre-norm."""
        return x + self.dropout(sublayer(self.norm(x)))  # type: ignore[no-any-return]

    def sublayer_input(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        """What the sublayer is given."""
        return self.norm(x)  # type: ignore[no-any-return]

    @staticmethod
    def closing_norm(d_model: int, norm: NormFactory) -> nn.Module:
        """The norm that a stack of these blocks ends with."""
        return norm(d_model)


Residual = type[PostNorm] | type[PreNorm]


class EncoderBlock(nn.Module):
    """Self-attention, then the feed-forward network, each inside its residual connection.

    Equation eq:encoder-block:
        y = Residual₁(x, SelfAttention), z = Residual₂(y, FFN)

    `residual` is eq:post-norm or eq:pre-norm.

    Source: Vaswani et al. 2017, §3.1, Encoder.

    >>> EncoderBlock(d_model=6, n_heads=2, d_ff=5)(torch.zeros(1, 3, 6)).shape
    torch.Size([1, 3, 6])
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Activation = relu,
        residual: Residual = PostNorm,
        norm: NormFactory = LayerNorm,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads, attention_dropout)
        self.attention_residual = residual(norm(d_model), dropout)
        self.feed_forward = FeedForward(d_model, d_ff, activation)
        self.feed_forward_residual = residual(norm(d_model), dropout)

    def forward(
        self, x: Float[Tensor, "B L D"], may_attend: Bool[Tensor, "..."] | None = None, rows: Rows | None = None
    ) -> Float[Tensor, "B L D"]:
        """Apply eq:encoder-block, also to the tokens of all `rows` one after the other."""
        x = self.attention_residual(x, lambda asked: self.attention(asked, may_attend=may_attend, rows=rows))
        return self.feed_forward_residual(x, self.feed_forward)  # type: ignore[no-any-return]

    def answers_at(
        self,
        positions: Int[Tensor, "B P"],
        x: Float[Tensor, "_ L D"],
        may_attend: Bool[Tensor, "..."] | None = None,
        rows: Rows | None = None,
    ) -> Float[Tensor, "B P D"]:
        """What `forward` gives at some positions, which read all the others, and nothing is computed for those.

        Raises: InputError for a visibility that differs from query to query.
        """
        if may_attend is not None and may_attend.shape[-2] != 1:
            raise InputError(
                f"may_attend has shape {tuple(may_attend.shape)}, but some positions alone need one rule for all "
                "queries, as padding(attention_mask) gives"
            )
        memory = self.attention_residual.sublayer_input(x)
        y = self.attention_residual(
            vectors_at(positions, x if rows is None else rows.unpack(x)),
            lambda asked: self.attention(asked, memory, may_attend=may_attend, rows=rows),
        )
        return self.feed_forward_residual(y, self.feed_forward)  # type: ignore[no-any-return]

    def attention_weights(
        self, x: Float[Tensor, "B L D"], may_attend: Bool[Tensor, "..."] | None = None
    ) -> Float[Tensor, "B H L L"]:
        """The weights with which the block reads its input."""
        return self.attention.weights(self.attention_residual.sublayer_input(x), may_attend=may_attend)


def vectors_at(positions: Int[Tensor, "B P"], x: Float[Tensor, "B L D"]) -> Float[Tensor, "B P D"]:
    """The vectors at some positions of each sequence.

    >>> vectors_at(torch.tensor([[2, 0]]), torch.tensor([[[5.0], [6.0], [7.0]]])).tolist()
    [[[7.0], [5.0]]]
    """
    return x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the memory, then the feed-forward network.

    Equation eq:decoder-block:
        u = Residual₁(x, CausalSelfAttention), y = Residual₂(u, CrossAttention(·, memory)), z = Residual₃(y, FFN)

    Source: Vaswani et al. 2017, §3.1, Decoder, and §3.2.3.

    >>> block = DecoderBlock(d_model=6, n_heads=2, d_ff=5)
    >>> block(torch.zeros(1, 3, 6), memory=torch.zeros(1, 7, 6)).shape
    torch.Size([1, 3, 6])
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Activation = relu,
        residual: Residual = PostNorm,
        norm: NormFactory = LayerNorm,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads, attention_dropout)
        self.attention_residual = residual(norm(d_model), dropout)
        self.cross_attention = MultiHeadAttention(d_model, n_heads, attention_dropout)
        self.cross_attention_residual = residual(norm(d_model), dropout)
        self.feed_forward = FeedForward(d_model, d_ff, activation)
        self.feed_forward_residual = residual(norm(d_model), dropout)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        memory: Float[Tensor, "B M D"],
        may_attend: Bool[Tensor, "..."] | None = None,
        may_attend_memory: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Apply eq:decoder-block; what `may_attend` allows, the causal rule can still hide."""
        earlier = causal(x.shape[1], x.device)
        visible = earlier if may_attend is None else earlier & may_attend
        x = self.attention_residual(x, lambda asked: self.attention(asked, may_attend=visible))
        x = self.cross_attention_residual(x, lambda asked: self.cross_attention(asked, memory, may_attend_memory))
        return self.feed_forward_residual(x, self.feed_forward)  # type: ignore[no-any-return]


class Stack(nn.Module):
    """Blocks one after the other, which may forget on the way what they computed.

    With `recomputes`, a block keeps only its input while training, and is computed once more on the way back, with the
    same dropout: less memory for a third more time. Result and gradients are the same.

    With `compiles`, blocks are computed by code that `torch.compile` made of them while training. All blocks and all
    lengths share it.

    Source: Chen et al. 2016, §3 (there called checkpoints).
    """

    recomputes = False
    compiles = False

    def run(self, part: Callable[..., Tensor], *inputs: nn.Module | Tensor | Rows | None) -> Tensor:
        """Compute a part of the stack."""
        if self.compiles and self.training:
            part = compiled(part)
        if not (self.recomputes and self.training):
            return part(*inputs)
        return checkpoint(part_under(kernels.active(), part), *inputs, use_reentrant=False)  # type: ignore[no-any-return]


def whole(block: nn.Module, *inputs: Tensor | Rows | None) -> Tensor:
    """A block's answers at all positions."""
    return block(*inputs)  # type: ignore[no-any-return]


def at_positions(block: "EncoderBlock", *inputs: Tensor | Rows | None) -> Tensor:
    """A block's answers at some positions."""
    return block.answers_at(*inputs)  # type: ignore[arg-type]


@cache
def compiled(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What `torch.compile` makes of a part, once: a block is among its inputs, so all blocks share it."""
    return torch.compile(part, dynamic=True)


def part_under(kind: str, part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A part that is computed by the same kernels whenever it is: the way back may come after the choice has ended."""

    def computed(*inputs: nn.Module | Tensor | Rows | None) -> Tensor:
        if kernels.active() == kind:
            return part(*inputs)
        with kernels.use(kind):
            return part(*inputs)

    return computed


class Encoder(Stack):
    """A stack of encoder blocks.

    Equation eq:encoder:
        x₀ = x, xᵢ = EncoderBlockᵢ(xᵢ₋₁), Encoder(x) = ClosingNorm(x_N)

    Only blocks that normalise first need the closing norm.

    Source: Vaswani et al. 2017, §3.1; the closing norm: Xiong et al. 2020, Table 1.

    Raises: InputError for fewer blocks than none.

    >>> Encoder(n_blocks=2, d_model=6, n_heads=2, d_ff=5)(torch.zeros(1, 3, 6)).shape
    torch.Size([1, 3, 6])
    """

    def __init__(
        self,
        n_blocks: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Activation = relu,
        residual: Residual = PostNorm,
        norm: NormFactory = LayerNorm,
    ) -> None:
        super().__init__()
        require_blocks(n_blocks)
        self.blocks = nn.ModuleList(
            EncoderBlock(d_model, n_heads, d_ff, dropout, attention_dropout, activation, residual, norm)
            for _ in range(n_blocks)
        )
        self.norm = residual.closing_norm(d_model, norm)

    def forward(
        self, x: Float[Tensor, "B L D"], may_attend: Bool[Tensor, "..."] | None = None, rows: Rows | None = None
    ) -> Float[Tensor, "B L D"]:
        """Apply eq:encoder, also to the tokens of all `rows` one after the other."""
        for block in self.blocks:
            x = self.run(whole, block, x, may_attend, rows)
        return self.norm(x)  # type: ignore[no-any-return]

    def answers_at(
        self,
        positions: Int[Tensor, "B P"],
        x: Float[Tensor, "_ L D"],
        may_attend: Bool[Tensor, "..."] | None = None,
        rows: Rows | None = None,
    ) -> Float[Tensor, "B P D"]:
        """What `forward` gives at some positions: the last block, whose other answers nobody reads, leaves them out."""
        if not self.blocks:
            return self.norm(vectors_at(positions, x if rows is None else rows.unpack(x)))  # type: ignore[no-any-return]
        *earlier, last = self.blocks
        for block in earlier:
            x = self.run(whole, block, x, may_attend, rows)
        return self.norm(self.run(at_positions, last, positions, x, may_attend, rows))  # type: ignore[no-any-return]

    def hidden_states(
        self, x: Float[Tensor, "B L D"], may_attend: Bool[Tensor, "..."] | None = None
    ) -> Iterator[Float[Tensor, "B L D"]]:
        """The input, then what each block makes of it; the last one stands after the closing norm."""
        for block in self.blocks:
            yield x
            x = self.run(whole, block, x, may_attend)
        yield self.norm(x)


class Decoder(Stack):
    """A stack of decoder blocks.

    Equation eq:decoder:
        x₀ = x, xᵢ = DecoderBlockᵢ(xᵢ₋₁, memory), Decoder(x, memory) = ClosingNorm(x_N)

    Source: Vaswani et al. 2017, §3.1; the closing norm: Xiong et al. 2020, Table 1.

    Raises: InputError for fewer blocks than none.

    >>> decoder = Decoder(n_blocks=2, d_model=6, n_heads=2, d_ff=5)
    >>> decoder(torch.zeros(1, 3, 6), memory=torch.zeros(1, 7, 6)).shape
    torch.Size([1, 3, 6])
    """

    def __init__(
        self,
        n_blocks: int,
        d_model: int,
        n_heads: int,
        d_ff: int,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Activation = relu,
        residual: Residual = PostNorm,
        norm: NormFactory = LayerNorm,
    ) -> None:
        super().__init__()
        require_blocks(n_blocks)
        self.blocks = nn.ModuleList(
            DecoderBlock(d_model, n_heads, d_ff, dropout, attention_dropout, activation, residual, norm)
            for _ in range(n_blocks)
        )
        self.norm = residual.closing_norm(d_model, norm)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        memory: Float[Tensor, "B M D"],
        may_attend: Bool[Tensor, "..."] | None = None,
        may_attend_memory: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Apply eq:decoder."""
        for block in self.blocks:
            x = self.run(whole, block, x, memory, may_attend, may_attend_memory)
        return self.norm(x)  # type: ignore[no-any-return]


def require_blocks(n_blocks: int) -> None:
    """Refuse a negative number of blocks.

    >>> require_blocks(-1)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: n_blocks=-1 must be 0 or more
    """
    if n_blocks < 0:
        raise InputError(f"n_blocks={n_blocks} must be 0 or more")
