"""What PyTorch and transformers offer, before the same laws: each law holds, or the exception has a reason."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.laws import adapters, check

pytestmark = pytest.mark.usefixtures("without_shape_checks", "imported_before_forking")
transformers = pytest.importorskip("transformers", reason="transformers is judged here: pip install transformers")


def torch_attention(
    query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """PyTorch's own attention."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=may_attend, scale=scale)


def flat(x: Tensor) -> Tensor:
    """All leading axes as one."""
    return x.reshape(-1, *x.shape[-2:])


def torch_module_attention(query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """`nn.MultiheadAttention` with one head, and projections that change nothing; narrow vectors are filled with 0."""
    d_k, d_v, leading = query.shape[-1], value.shape[-1], query.shape[:-2]
    width = max(d_k, d_v)
    module = nn.MultiheadAttention(width, num_heads=1, bias=False, batch_first=True, dtype=query.dtype)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.eye(width).repeat(3, 1))
        module.out_proj.weight.copy_(torch.eye(width))
    wide = [F.pad(x, (0, width - x.shape[-1])) for x in (query * math.sqrt(width / d_k), key, value)]
    hidden = None if may_attend is None else flat(~may_attend.expand(*leading, query.shape[-2], key.shape[-2]))
    read, _ = module(*(flat(x) for x in wide), attn_mask=hidden)
    return read.reshape(*leading, *read.shape[-2:])[..., :d_v]  # type: ignore[no-any-return]


class BertLayer(nn.Module):
    """What transformers' attention asks of the module that it stands in."""

    training = False
    num_key_value_groups = 1


def transformers_attention(query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """The attention that transformers calls eager, with the least float for a hidden score."""
    from transformers.models.bert.modeling_bert import eager_attention_forward

    leading, mask = query.shape[:-2], None
    if may_attend is not None:
        visible = flat(may_attend.expand(*leading, query.shape[-2], key.shape[-2]))[:, None]
        mask = torch.zeros(visible.shape, dtype=query.dtype).masked_fill(~visible, torch.finfo(query.dtype).min)
    inputs = (flat(x)[:, None] for x in (query, key, value))
    read, _ = eager_attention_forward(BertLayer(), *inputs, mask, scaling=query.shape[-1] ** -0.5)
    return read.transpose(1, 2).reshape(*leading, query.shape[-2], value.shape[-1])  # type: ignore[no-any-return]


def torch_layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """`nn.LayerNorm` with a gain and a bias."""
    module = nn.LayerNorm(x.shape[-1], eps=eps, dtype=x.dtype)
    return torch.func.functional_call(module, {"weight": gain, "bias": bias}, (x,))  # type: ignore[no-any-return]


def t5_norm(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """T5's norm of transformers."""
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    return torch.func.functional_call(T5LayerNorm(x.shape[-1], eps=eps), {"weight": gain}, (x,))  # type: ignore[no-any-return]


THEIRS: dict[str, tuple[str, Callable[..., Any]]] = {
    "torch.softmax": ("softmax", lambda x, axis=-1: torch.softmax(x, axis)),
    "torch.log_softmax": ("log-softmax", lambda x, axis=-1: torch.log_softmax(x, axis)),
    "F.scaled_dot_product_attention": ("attention", torch_attention),
    "nn.MultiheadAttention": ("attention", torch_module_attention),
    "transformers, eager": ("attention", transformers_attention),
    "nn.LayerNorm": ("layer-norm", torch_layer_norm),
    "F.rms_norm": ("rms-norm", lambda x, gain, eps=1e-6: F.rms_norm(x, gain.shape, gain, eps)),
    "transformers, T5LayerNorm": ("rms-norm", t5_norm),
    "F.gelu": ("gelu", F.gelu),
    "F.gelu, tanh": ("gelu-tanh", lambda x: F.gelu(x, approximate="tanh")),
    "transformers, gelu_new": ("gelu-tanh", transformers.activations.ACT2FN["gelu_new"]),
    "F.relu": ("relu", F.relu),
    "F.cross_entropy": ("cross-entropy", adapters.classes_second(F.cross_entropy)),
    "F.cross_entropy, masked words": ("masked-lm-loss", adapters.classes_second(F.cross_entropy)),
    "F.cross_entropy, next sentence": ("next-sentence-loss", F.cross_entropy),
    "F.binary_cross_entropy_with_logits": ("binary-cross-entropy", F.binary_cross_entropy_with_logits),
    "F.mse_loss": ("mean-squared-error", F.mse_loss),
}

BLIND = {"a_query_that_sees_nothing_reads_zeros", "a_query_that_sees_nothing_passes_no_gradient"}
EXCEPTIONS: dict[str, tuple[set[str], str]] = {
    "nn.MultiheadAttention": (BLIND, "a query that may read nothing reads NaN, for its softmax divides 0 by 0"),
    "transformers, eager": (BLIND, "a query that may read nothing reads the mean: all its scores are the least float"),
    "transformers, T5LayerNorm": (
        {
            "the_mean_square_is_what_eps_leaves",
            "rms_norm_of_the_centred_position_is_layer_norm",
            "rms_norm_agrees_with_the_reference",
            "the_gradient_of_rms_norm_is_the_one_derived_by_hand",
        },
        "its mean square is taken in float32 whatever the input is, so float64 keeps seven digits",
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_their_function_keeps_every_law_but_those_with_a_reason(name: str) -> None:
    claim, function = THEIRS[name]
    report = check(function, claim, max_examples=40)
    expected, reason = EXCEPTIONS.get(name, (set(), "every law holds"))
    assert {failure.law for failure in report.failures} == expected, f"{reason}\n{report}"
    assert {finding.message for finding in report.not_judged} <= {
        "it takes (query, key, value, may_attend=None): too many positional arguments"
    }
