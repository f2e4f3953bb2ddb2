"""Runs the kernels of Triton in its interpreter, in a process of its own, and writes what they give.

The interpreter has to be asked for before Triton is imported, and PyTorch may have imported it already elsewhere.
"""

import os
import sys

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
import triton.language as tl
from safetensors.torch import save_file
from torch import Tensor

from minitransformer import attention, kernels
from minitransformer.errors import InputError
from minitransformer.kernels import triton_attention
from minitransformer.laws.cases import numbers

CASES = {
    "all keys": ("float32", 21, 37, None, False),
    "padding, and an example without words": ("float32", 21, 37, [37, 0], False),
    "the past": ("float32", 35, 35, None, True),
    "the past and padding in bfloat16": ("bfloat16", 19, 19, [11, 19], True),
}
"""Type, queries, keys, how many keys of each example may be read, and whether the future is hidden."""


def given(name: str) -> tuple[list[Tensor], Tensor | None]:
    """Queries, keys, values and upstream gradients of two examples, and a row of visible keys for each."""
    dtype, n_queries, n_keys, kept, _ = CASES[name]
    shapes = {"query": (n_queries, 5), "key": (n_keys, 5), "value": (n_keys, 20), "upstream": (n_queries, 20)}
    tensors = [numbers(4, part, 2, *shape, dtype=getattr(torch, dtype)) for part, shape in shapes.items()]
    return tensors, None if kept is None else torch.arange(n_keys) < torch.tensor(kept)[:, None, None]


def what_is_read_and_passed_back(name: str) -> dict[str, Tensor]:
    """What the kernels are given in one case, with the rule written out, and what they give."""
    (*inputs, upstream), may_attend = given(name)
    leaves = [x.requires_grad_() for x in inputs]
    read = triton_attention.read_on_gpu(*leaves, may_attend, causal=CASES[name][-1])
    rule = torch.ones(2, *CASES[name][1:3], dtype=torch.bool) & (True if may_attend is None else may_attend)
    parts = {
        **dict(zip(("query", "key", "value", "upstream"), (*inputs, upstream), strict=True)),
        "rule": rule.tril() if CASES[name][-1] else rule,
        "read": read,
        **dict(zip(("for query", "for key", "for value"), torch.autograd.grad(read, leaves, upstream), strict=True)),
    }
    return {f"{name}: {part}": tensor.detach().contiguous() for part, tensor in parts.items()}


def through_the_switch() -> dict[str, Tensor]:
    """What the switch gives without leading axes, and for what the kernels leave to others."""
    (query, key, value, _), _ = given("all keys")
    some = torch.from_numpy(np.tri(21, 37, 9) > 0)
    with kernels.use("triton"):
        read = attention.scaled_dot_product_attention(query[0], key[0], value[0])
        under_a_rule = attention.scaled_dot_product_attention(query, key, value, some)
        torch.manual_seed(5)
        with_dropout = attention.scaled_dot_product_attention(query, key, value, dropout_rate=0.5)
        shares = attention.softmax(query)
    return {"one head": read, "any rule": under_a_rule, "dropout": with_dropout, "softmax": shares}


def refusal() -> str:
    """What is said of tensors on a CPU where no interpreter runs."""
    triton_attention.INTERPRETED = tl.constexpr(False)
    try:
        triton_attention.scaled_dot_product_attention(*given("all keys")[0][:3])
    except InputError as error:
        return str(error)
    return "nothing"


if __name__ == "__main__":
    triton_attention.BLOCK = 16  # so that small cases have several tiles
    found = through_the_switch()
    for name in CASES:
        found |= what_is_read_and_passed_back(name)
    save_file(found, sys.argv[1], {"refusal": refusal()})
