"""Cases for blocks and stacks of blocks: sequences, a memory, rules for both, and parameters for every part."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.blocks import Decoder, DecoderBlock, Encoder, EncoderBlock, PostNorm, PreNorm
from minitransformer.laws.cases import Draw, SequenceCase, numbers, seeds, visibility_of
from minitransformer.laws.modules import Parameters
from minitransformer.laws.residuals import norm_scale
from minitransformer.laws.tolerances import STACK, as_array, as_arrays, assert_close
from minitransformer.visibility import causal

Function = Callable[..., Tensor]

SEEING = ("all", "some", "padding")
BLIND = ("random", "one row sees nothing", "nothing")
"""What becomes of a position that may read nothing is said by a law of its own, so that one mistake breaks few laws."""

MODULES: dict[str, Callable[..., nn.Module]] = {
    "encoder-block": EncoderBlock,
    "decoder-block": DecoderBlock,
    "encoder": Encoder,
    "decoder": Decoder,
}
REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "encoder-block": reference.blocks.encoder_block,
    "decoder-block": reference.blocks.decoder_block,
    "encoder": reference.blocks.encoder,
    "decoder": reference.blocks.decoder,
}
WIDTHS = ((2, 5, 7), (2, 7, 1), (1, 5, 7), (5, 7, 2))
"""Heads, their width and d_ff: few, for a module is built anew for each. Two columns alone would magnify rounding."""
LENGTHS = (*permutations((3, 4, 6)), (1, 3, 4), (3, 1, 4), (3, 4, 1))
"""How many examples, positions and positions of the memory: no two alike, and none like a width."""
LAST_MAPS = {"attention": "output", "cross_attention": "output", "feed_forward": "outer"}
"""The linear map that each sublayer ends with."""


@dataclass(frozen=True)
class BlockCase(SequenceCase):
    """A question to a block or a stack, which may read a memory, and may normalise first."""

    claim: str
    n_blocks: int

    @property
    def kind(self) -> str:
        """What it is, wherever its norms stand."""
        return self.claim.removeprefix("pre-norm-")

    @property
    def normalises_first(self) -> bool:
        """Whether its norms stand before the sublayers."""
        return self.kind != self.claim

    @property
    def is_stack(self) -> bool:
        """Whether there are several blocks."""
        return not self.kind.endswith("block")

    @property
    def reads_memory(self) -> bool:
        """Whether it is a decoder, which reads a memory and no later positions."""
        return self.kind.startswith("decoder")

    @cached_property
    def may_attend(self) -> Tensor | None:
        """Who of the sequence may attend to whom; where each sees some, it sees itself: later ones may be hidden."""
        rule = visibility_of(self.visibility, self.seed, self.batch, self.length, self.length)
        if self.visibility == "some" and rule is not None:
            rule = rule | torch.eye(self.length, dtype=torch.bool)
        return None if rule is None else rule[:, None]

    @property
    def reads_nothing(self) -> Tensor:
        """Which positions may read neither the sequence nor, in a decoder, the memory."""
        assert self.may_attend is not None
        if not self.reads_memory:
            return ~self.may_attend[:, 0].any(-1)
        assert self.may_attend_memory is not None
        reads_itself = (self.may_attend[:, 0] & causal(self.length)).any(-1)
        return ~reads_itself & ~self.may_attend_memory[:, 0].any(-1)

    @property
    def beside(self) -> tuple[Tensor | None, ...]:
        """What is given beside the sequence: the rule, and for a decoder the memory with its own."""
        return (self.memory, self.may_attend, self.may_attend_memory) if self.reads_memory else (self.may_attend,)

    @cached_property
    def parameters(self) -> Parameters:
        """Numbers for every part, under the names that our module uses."""
        sizes = ((self.n_blocks,) if self.is_stack else ()) + (self.d_model, self.n_heads, self.d_ff)
        shapes = shapes_of(self.kind, self.normalises_first, *sizes)
        drawn = numbers(self.seed, "parameters", sum(shape.numel() for shape in shapes.values()))
        each = torch.split(drawn, [shape.numel() for shape in shapes.values()])
        return {
            name: (1 + values / 4 if name.endswith("gain") else values / math.sqrt(shape[-1]))
            .view(shape)
            .to(self.dtype)
            for (name, shape), values in zip(shapes.items(), each, strict=True)
        }

    @property
    def sublayers(self) -> tuple[str, ...]:
        """The names of the sublayers of a block, in order."""
        return ("attention", "cross_attention", "feed_forward") if self.reads_memory else ("attention", "feed_forward")

    def other(self, name: str, values: Tensor) -> Tensor:
        """Other numbers in the shape of some."""
        return numbers(self.seed, name, *values.shape, dtype=self.dtype)


@lru_cache(maxsize=64)
def shapes_of(kind: str, normalises_first: bool, *sizes: int) -> dict[str, torch.Size]:
    """The shape of every parameter, by its name.

    >>> shapes_of("encoder-block", False, 10, 2, 7)["attention_residual.norm.gain"]
    torch.Size([10])
    """
    with torch.device("meta"):
        module = MODULES[kind](*sizes, residual=PreNorm if normalises_first else PostNorm)
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


@st.composite
def cases_of(
    draw: Draw,
    claim: str,
    visibilities: tuple[str, ...] = SEEING,
    types: tuple[torch.dtype, ...] = (torch.float64, torch.float32),
) -> BlockCase:
    """Questions to whatever claims to be this, down to a single example or position, to one block or two."""
    n_heads, d_k, d_ff = draw(st.sampled_from(WIDTHS))
    batch, length, memory_length = draw(st.sampled_from(LENGTHS))
    return BlockCase(
        batch=batch,
        length=length,
        memory_length=memory_length,
        n_heads=n_heads,
        d_k=d_k,
        d_ff=d_ff,
        visibility=draw(st.sampled_from(visibilities)),
        dtype=draw(st.sampled_from(types)),
        seed=draw(seeds),
        claim=claim,
        n_blocks=1 if claim.endswith("block") else draw(st.sampled_from((2, 1))),
    )


def answer_to(
    function: Function, case: BlockCase, parameters: Parameters | None = None, x: Tensor | None = None
) -> Tensor:
    """What a function says to a case, or to the same case with other parameters or another sequence."""
    return function(
        case.parameters if parameters is None else parameters, case.n_heads, case.x if x is None else x, *case.beside
    )


def by_reference(case: BlockCase, parameters: Parameters | None = None, x: Tensor | None = None) -> np.ndarray:
    """What the reference says to it."""
    arrays = as_arrays(parameters or case.parameters)
    inputs = [None if tensor is None else as_array(tensor) for tensor in (case.x if x is None else x, *case.beside)]
    residual = reference.blocks.pre_norm if case.normalises_first else reference.blocks.post_norm
    return REFERENCES[case.kind](arrays, case.n_heads, *inputs, residual=residual)


def assert_as_by_reference(
    actual: Tensor,
    case: BlockCase,
    parameters: Parameters | None = None,
    x: Tensor | None = None,
    what: str = "the result",
) -> None:
    """Fail unless a result is what the reference says, up to the roundings of some blocks."""
    scale = norm_scale(case.x if x is None else x)
    assert_close(actual, by_reference(case, parameters, x), STACK, scale, what=what)


def silent(parameters: Parameters, but: str = "") -> Parameters:
    """The parameters with which every sublayer answers 0, but for one: the last map of each other one is 0.

    >>> silent({"attention.output.bias": torch.ones(1), "attention.query.bias": torch.ones(1)})
    {'attention.output.bias': tensor([0.]), 'attention.query.bias': tensor([1.])}
    """

    def speaks(name: str) -> bool:
        *_, sublayer, linear, _ = ["", *name.split(".")]
        return sublayer == but or LAST_MAPS.get(sublayer) != linear

    return {name: tensor if speaks(name) else torch.zeros_like(tensor) for name, tensor in parameters.items()}


def norms_in_order(case: BlockCase) -> list[str]:
    """The names of all norms of what normalises after, in the order in which the sequence meets them."""
    blocks = [f"blocks.{index}." for index in range(case.n_blocks)] if case.is_stack else [""]
    return [f"{block}{sublayer}_residual.norm" for block in blocks for sublayer in case.sublayers]


def gradients_of(function: Function, case: BlockCase, parameters: Parameters, *inputs: Any) -> dict[str, Tensor | None]:
    """What autograd passes back to each parameter, and to the inputs as x and memory; None where nothing comes."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    x = case.x.clone().requires_grad_()
    asked = {**leaves, "x": x}
    beside = list(inputs or case.beside)
    if case.reads_memory:
        beside[0] = asked["memory"] = beside[0].clone().requires_grad_()
    result = function(leaves, case.n_heads, x, *beside)
    assert result.requires_grad, "the result should pass gradients back, but is cut off from what it came from"
    passed = torch.autograd.grad(result, list(asked.values()), upstream_of(case), allow_unused=True)
    return dict(zip(asked, passed, strict=True))


def upstream_of(case: BlockCase) -> Tensor:
    """What the loss gains for each entry of the result."""
    return case.other("upstream", case.x)
