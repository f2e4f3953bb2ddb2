"""PyTorch's blocks, and those of courses, before the laws: each law holds, or the exception has a reason."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minitransformer.laws import adapters, check
from minitransformer.laws.modules import Parameters

pytestmark = [
    pytest.mark.usefixtures("without_shape_checks", "imported_before_forking"),
    pytest.mark.filterwarnings("ignore:enable_nested_tensor"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]

FEW = {"max_examples": 12, "seconds": 60.0}
NAMES = {
    "attention": "self_attn",
    "cross_attention": "multihead_attn",
    "inner": "linear1",
    "outer": "linear2",
    "output": "out_proj",
    "gain": "weight",
}
NORMS = {
    False: {"attention_residual": "norm1", "feed_forward_residual": "norm2"},
    True: {"attention_residual": "norm1", "cross_attention_residual": "norm2", "feed_forward_residual": "norm3"},
}


def block_in_torch(parameters: Parameters) -> dict[str, Tensor]:
    """The parameters of a block as PyTorch's layers call them: three projections in one matrix, norms by number."""
    norms = NORMS[any(name.startswith("cross_attention") for name in parameters)]
    named: dict[str, Tensor] = {}
    for name, tensor in parameters.items():
        part, *others, last = name.split(".")
        if others[-1] in ("query", "key", "value"):
            packed = f"{NAMES[part]}.in_proj_{last}"
            named[packed] = torch.cat([named[packed], tensor]) if packed in named else tensor
        elif part in norms:
            named[f"{norms[part]}.{NAMES.get(last, last)}"] = tensor
        else:
            owner = f"{NAMES[part]}." if part in NAMES else ""
            named[f"{owner}{NAMES[others[-1]]}.{last}"] = tensor
    return named


def stack_in_torch(parameters: Parameters) -> dict[str, Tensor]:
    """The parameters of a stack as PyTorch's stacks call them."""
    count = len({name.split(".")[1] for name in parameters if name.startswith("blocks.")})
    named = {}
    for index in range(count):
        prefix = f"blocks.{index}."
        block = {name.removeprefix(prefix): each for name, each in parameters.items() if name.startswith(prefix)}
        named |= {f"layers.{index}.{name}": each for name, each in block_in_torch(block).items()}
    closing = {"norm.weight": "norm.gain", "norm.bias": "norm.bias"}
    return named | {theirs: parameters[ours] for theirs, ours in closing.items() if ours in parameters}


def hidden_for(rule: Tensor | None, batch: int, n_heads: int, length: int, memory_length: int) -> Tensor | None:
    """A rule as PyTorch takes it: True hides, and there is one for each example and head."""
    if rule is None:
        return None
    return ~rule.expand(batch, n_heads, length, memory_length).reshape(-1, length, memory_length)


def call_encoder(
    module: nn.Module, x: Tensor, may_attend: Tensor | None = None, *, heads_of: Callable[[nn.Module], int]
) -> Tensor:
    """Ask an encoder of PyTorch."""
    batch, length, _ = x.shape
    return module(x, hidden_for(may_attend, batch, heads_of(module), length, length))


def call_decoder(
    module: nn.Module,
    x: Tensor,
    memory: Tensor,
    may_attend: Tensor | None = None,
    may_attend_memory: Tensor | None = None,
    *,
    heads_of: Callable[[nn.Module], int],
) -> Tensor:
    """Ask a decoder of PyTorch, which has no causal rule of its own."""
    batch, length, _ = x.shape
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    rule = earlier if may_attend is None else earlier & may_attend
    hidden = hidden_for(rule, batch, heads_of(module), length, length)
    hidden_memory = hidden_for(may_attend_memory, batch, heads_of(module), length, memory.shape[1])
    return module(x, memory, hidden, hidden_memory)


def heads_of_layer(module: nn.Module) -> int:
    """How many heads a layer of PyTorch has."""
    return module.self_attn.num_heads


def heads_of_stack(module: nn.Module) -> int:
    """How many heads a stack of PyTorch has."""
    return heads_of_layer(module.layers[0])


def torch_layer(layer: type[nn.Module], normalises_first: bool, *sizes: int) -> nn.Module:
    """A layer of PyTorch with BERT's eps."""
    options = {"batch_first": True, "norm_first": normalises_first, "layer_norm_eps": 1e-12}
    return layer(*sizes, dropout=0.0, **options)


def torch_stack(
    stack: type[nn.Module], layer: type[nn.Module], normalises_first: bool, n_blocks: int, *sizes: int
) -> nn.Module:
    """A stack of PyTorch, which closes with the norm that it is given."""
    closing = nn.LayerNorm(sizes[0], eps=1e-12) if normalises_first else None
    return stack(torch_layer(layer, normalises_first, *sizes), n_blocks, norm=closing)


def theirs(claim: str) -> adapters.AdaptedModule:
    """What PyTorch has for a claim."""
    first, kind = claim.startswith("pre-norm-"), claim.removeprefix("pre-norm-")
    layer = nn.TransformerEncoderLayer if kind.startswith("encoder") else nn.TransformerDecoderLayer
    ask = call_encoder if kind.startswith("encoder") else call_decoder
    if kind.endswith("block"):
        build, translate, heads_of = partial(torch_layer, layer, first), block_in_torch, heads_of_layer
    else:
        stack = nn.TransformerEncoder if kind == "encoder" else nn.TransformerDecoder
        build, translate, heads_of = partial(torch_stack, stack, layer, first), stack_in_torch, heads_of_stack
    return adapters.module(build, translate=translate, call=partial(ask, heads_of=heads_of))


BLIND = "a_position_that_may_read_nothing_reads_zeros"
CLAIMS = (
    "encoder-block",
    "pre-norm-encoder-block",
    "decoder-block",
    "pre-norm-decoder-block",
    "encoder",
    "pre-norm-encoder",
    "decoder",
    "pre-norm-decoder",
)


@pytest.mark.parametrize("claim", CLAIMS)
def test_blocks_of_torch_keep_every_law_but_that_of_blind_positions(claim: str) -> None:
    """A position that may read nothing is NaN in PyTorch, for its softmax divides 0 by 0."""
    report = check(theirs(claim), claim, **FEW)
    assert {failure.law for failure in report.failures} == {BLIND}, str(report)
    assert not report.not_judged, str(report)


class SublayerConnection(nn.Module):
    """A residual connection that normalises first, as a course on the paper writes it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.a_2, self.b_2 = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-12).sqrt()
        return x + self.dropout(sublayer(self.a_2 * normal + self.b_2))


COURSE = {"norm.gain": "a_2", "norm.bias": "b_2"}


def in_course(parameters: Parameters) -> Mapping[str, Tensor]:
    """Our names as that course has them."""
    return {COURSE[name]: tensor for name, tensor in parameters.items()}


def test_a_sublayer_connection_of_a_course_is_a_pre_norm_and_no_post_norm() -> None:
    course = adapters.module(SublayerConnection, translate=in_course)
    assert check(course, "pre-norm", **FEW).passed
    assert not check(course, "post-norm", **FEW).passed


def numpy_post_norm(
    parameters: dict[str, np.ndarray], x: np.ndarray, sublayer: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """A residual connection in NumPy."""
    total = x + sublayer(x)
    centred = total - np.mean(total, -1, keepdims=True)
    deviation = np.sqrt(np.mean(centred**2, -1, keepdims=True) + 1e-12)
    return parameters["norm.gain"] * centred / deviation + parameters["norm.bias"]


def test_a_residual_connection_in_numpy_keeps_every_law_that_needs_no_gradient() -> None:
    report = check(numpy_post_norm, "post-norm", **FEW)
    assert report.passed, str(report)
    assert {finding.message for finding in report.not_judged} == {"an array has no gradient"}


def overwritten(parameters: Parameters, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
    """The residual is taken from the normalised input."""
    x = nn.functional.layer_norm(x, x.shape[-1:], parameters["norm.gain"], parameters["norm.bias"], 1e-12)
    return x + sublayer(x)


def test_a_wrong_residual_is_told_by_few_numbers() -> None:
    report = check(overwritten, "pre-norm", **FEW)
    names = {failure.law for failure in report.failures}
    assert "the_answer_is_added_to_the_input_as_it_was" in names
    assert "the_sublayer_is_asked_once_about_the_norm_of_the_input" not in names
    (failure,) = (each for each in report.failures if each.law == "a_sublayer_that_says_nothing_leaves_the_input")
    titles = [table.title for table in failure.counterexample]
    assert "sublayer = 0 · x" in titles
    assert sum(len(row[1]) for table in failure.counterexample for row in table.rows) <= 20
