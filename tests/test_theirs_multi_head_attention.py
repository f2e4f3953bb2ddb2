"""Several heads as others write them, before the same laws: each law holds, or the exception has a reason."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.laws import Report, adapters, check, check_file

pytestmark = pytest.mark.usefixtures("without_shape_checks", "imported_before_forking")

EXAMPLES = 12


def broken(report: Report) -> set[str]:
    """The names of the broken laws."""
    return {failure.law for failure in report.failures}


# PyTorch's own module: three matrices one under the other, and True hides.


def torch_names(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters under the names of `nn.MultiheadAttention`, which stacks its three input matrices."""
    return {
        "in_proj_weight": torch.cat([ours["query.weight"], ours["key.weight"], ours["value.weight"]]),
        "in_proj_bias": torch.cat([ours["query.bias"], ours["key.bias"], ours["value.bias"]]),
        "out_proj.weight": ours["output.weight"],
        "out_proj.bias": ours["output.bias"],
    }


def call_torch(
    module: nn.MultiheadAttention,
    x: Tensor,
    memory: Tensor | None = None,
    may_attend: Tensor | None = None,
    need_weights: bool = True,
) -> Tensor:
    """One mask for each example and each head, and the first of two results."""
    answers, hidden = x if memory is None else memory, None
    if may_attend is not None:
        rule = may_attend.expand(len(x), module.num_heads, x.shape[1], answers.shape[1])
        hidden = ~rule.flatten(0, 1)
    return module(x, answers, answers, attn_mask=hidden, need_weights=need_weights)[0]  # type: ignore[no-any-return]


def torch_heads(d_model: int, n_heads: int) -> nn.MultiheadAttention:
    """PyTorch's module with the batch first."""
    return nn.MultiheadAttention(d_model, n_heads, batch_first=True)


# As a well-known text writes it: one function for attention, four linear maps in a list, a mask of 0 and 1.


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention with a very negative number in the place of hidden scores."""
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    return torch.matmul(scores.softmax(dim=-1), value)


class MultiHeadedAttention(nn.Module):
    """Heads first, four linear maps in a list, and one mask for all heads."""

    def __init__(self, h: int, d_model: int) -> None:
        super().__init__()
        self.h, self.d_k = h, d_model // h
        self.linears = nn.ModuleList([nn.Linear(d_model, d_model) for _ in range(4)])

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Project, attend, put side by side, project."""
        if mask is not None:
            mask = mask.unsqueeze(1)
        inputs = zip(self.linears[:3], (query, key, value), strict=True)
        heads = [linear(x).view(len(x), -1, self.h, self.d_k).transpose(1, 2) for linear, x in inputs]
        read = attend(*heads, mask).transpose(1, 2).contiguous().view(len(query), -1, self.h * self.d_k)
        return self.linears[3](read)  # type: ignore[no-any-return]


LINEARS = {"query": 0, "key": 1, "value": 2, "output": 3}


def list_names(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our parameters under their numbers in the list."""
    split = {name: name.split(".") for name in ours}
    return {f"linears.{LINEARS[linear]}.{part}": ours[name] for name, (linear, part) in split.items()}


def call_with_three(
    module: nn.Module, x: Tensor, memory: Tensor | None = None, may_attend: Tensor | None = None
) -> Any:
    """Query, key and value are given apart, and the mask has no axis of heads."""
    answers = x if memory is None else memory
    return module(x, answers, answers, None if may_attend is None else may_attend[:, 0])


# As Keras has it: values before keys, the mask by name, and the heads in the third axis.


class KerasAttention(nn.Module):
    """Built from the number of heads and their width; the heads keep their place after the positions."""

    def __init__(self, num_heads: int, key_dim: int) -> None:
        super().__init__()
        self.num_heads, self.key_dim = num_heads, key_dim
        width = num_heads * key_dim
        self.query_dense, self.key_dense, self.value_dense, self.output_dense = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(
        self, query: Tensor, value: Tensor, key: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Without a key the value is the key too."""
        key = value if key is None else key
        dense = ((self.query_dense, query), (self.key_dense, key), (self.value_dense, value))
        asked, keys, values = (linear(x).unflatten(-1, (self.num_heads, self.key_dim)) for linear, x in dense)
        scores = torch.einsum("blhk,bmhk->bhlm", asked / math.sqrt(self.key_dim), keys)
        if attention_mask is not None:
            scores = scores - 1e9 * ~attention_mask[:, None]
        read = torch.einsum("bhlm,bmhk->blhk", scores.softmax(-1), values)
        return self.output_dense(read.flatten(2))  # type: ignore[no-any-return]


DENSE = {name: f"{name}_dense" for name in ("query", "key", "value", "output")}


def call_keras(module: nn.Module, x: Tensor, memory: Tensor | None = None, may_attend: Tensor | None = None) -> Any:
    """The memory is the value, and so the key."""
    mask = None if may_attend is None else may_attend[:, 0]
    return module(x, x if memory is None else memory, attention_mask=mask)


# As a first notebook has it: a sequence reads itself, and sees everything.


class SelfAttention(nn.Module):
    """Neither a memory nor a mask."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value, self.output = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Split by einsum, read, and put side by side."""
        query, key, value = (
            linear(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for linear in (self.query, self.key, self.value)
        )
        return self.output(attend(query, key, value, None).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def in_numpy(
    parameters: dict[str, np.ndarray],
    n_heads: int,
    x: np.ndarray,
    memory: np.ndarray | None = None,
    may_attend: np.ndarray | None = None,
) -> np.ndarray:
    """The reference is a NumPy function like anyone's."""
    heads = reference.attention.multi_head_attention(parameters, n_heads, np.asarray(x), memory, may_attend)
    return heads.astype(x.dtype)


BLIND = {
    "a_position_that_sees_nothing_gives_the_output_bias",
    "a_position_that_sees_nothing_passes_a_gradient_to_the_output_bias_only",
}
NOTHING: set[str] = set()

THEIRS: dict[str, tuple[Any, set[str], str]] = {
    "nn.MultiheadAttention": (
        adapters.module(torch_heads, translate=torch_names, call=call_torch),
        BLIND,
        "a position that may read nothing reads NaN, for its softmax divides 0 by 0",
    ),
    "nn.MultiheadAttention, without weights": (
        adapters.module(torch_heads, translate=torch_names, call=partial(call_torch, need_weights=False)),
        NOTHING,
        "where nobody wants its weights it reads through the fused attention, which gives zeros",
    ),
    "four linear maps in a list": (
        adapters.module(
            lambda d_model, n_heads: MultiHeadedAttention(n_heads, d_model),
            translate=list_names,
            call=call_with_three,
        ),
        BLIND,
        "a position that may read nothing reads the mean, for all its scores are -1e9",
    ),
    "Keras": (
        adapters.module(
            lambda d_model, n_heads: KerasAttention(n_heads, d_model // n_heads), names=DENSE, call=call_keras
        ),
        BLIND,
        "a position that may read nothing reads the mean, for 1e9 is taken from all its scores",
    ),
    "reads itself only": (SelfAttention, NOTHING, "every law that can be asked holds"),
    "NumPy": (in_numpy, NOTHING, "every law that can be asked holds"),
}

NOT_ASKED = {
    "reads itself only": "it takes (x): too many positional arguments",
    "NumPy": ("an array has no gradient", "NumPy has no bfloat16"),
}


@pytest.mark.parametrize("name", THEIRS)
def test_their_heads_keep_every_law_but_those_with_a_reason(name: str) -> None:
    theirs, expected, reason = THEIRS[name]
    report = check(theirs, "multi-head-attention", max_examples=EXAMPLES)
    assert report.passed or expected, str(report)
    assert broken(report) == expected, f"{reason}\n{report}"
    assert all(finding.message.startswith(NOT_ASKED.get(name, "?")) for finding in report.not_judged), str(report)
    assert bool(report.not_judged) == (name in NOT_ASKED)


class ScaledByTheWholeWidth(SelfAttention):
    """A scale of the whole width."""

    def forward(self, x: Tensor) -> Tensor:
        """The same, with a smaller scale."""
        query, key, value = (
            linear(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for linear in (self.query, self.key, self.value)
        )
        score = query @ key.mT / math.sqrt(x.shape[-1])
        return self.output((score.softmax(-1) @ value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def test_a_wrong_class_breaks_the_law_that_points_at_its_mistake_on_a_small_case() -> None:
    report = check(ScaledByTheWholeWidth, "multi-head-attention", max_examples=EXAMPLES)
    pointing = "with_projections_that_change_nothing_each_head_is_attention_on_its_columns"
    assert broken(report) == {
        pointing,
        "reading_itself_agrees_with_the_reference",
        "every_gradient_agrees_with_the_one_derived_by_hand",
    }
    failure = next(failure for failure in report.failures if failure.law == pointing)
    assert failure.equation.startswith("eq:multi-head-attention: MultiHead(X, Y) = Concat")
    titles = [table.title for table in failure.counterexample]
    assert any(title.startswith("parameters['query.weight']") for title in titles), titles
    assert any(title.startswith("n_heads = 2") for title in titles), titles


# A learner's file


MINE = """
from torch import nn

class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x):
        query, key, value = (self.split(linear(x)) for linear in (self.w_q, self.w_k, self.w_v))
        read = (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value
        return self.w_o(read.transpose(1, 2).flatten(2))

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
"""
RENAMES = ("query=w_q", "key=w_k", "value=w_v", "output=w_o")


def written(folder: Path, text: str) -> Path:
    """A learner's file."""
    path = folder / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_class_is_found_by_its_name_and_judged_under_its_own_names_of_parameters(tmp_path: Path) -> None:
    (report,) = check_file(written(tmp_path, MINE), max_examples=EXAMPLES, renames=RENAMES)
    assert (report.name, report.claim) == ("MultiHeadAttention", "multi-head-attention")
    assert report.passed, str(report)
    wrong = MINE.replace("read.transpose(1, 2).flatten(2)", "read.reshape(x.shape)")
    (report,) = check_file(written(tmp_path, wrong), max_examples=EXAMPLES, renames=RENAMES)
    assert "each_head_has_its_own_columns" in broken(report)
    assert "a_single_position_reads_its_own_value" not in broken(report)


@pytest.mark.parametrize(
    ("renames", "missing", "more"),
    [
        ((), "key.bias, key.weight, output.bias, output.weight, query.bias", "w_k.bias, w_k.weight, w_o.bias"),
        (RENAMES[:3], "output.bias, output.weight;", "w_o.bias, w_o.weight;"),
        ((*RENAMES[:3], "output=w_out"), "w_out.bias, w_out.weight;", "w_o.bias, w_o.weight;"),
    ],
)
def test_a_class_whose_parameters_have_other_names_is_told_once_which_are_missing(
    tmp_path: Path, renames: tuple[str, ...], missing: str, more: str
) -> None:
    (report,) = check_file(written(tmp_path, MINE), max_examples=EXAMPLES, renames=renames)
    assert not report.passed
    assert not report.failures
    assert f"it lacks: {missing}" in report.obstacle
    assert f"it has beside them: {more}" in report.obstacle
    assert "--rename" in report.obstacle
    assert str(report).count(report.obstacle) == 1
    assert report._repr_html_().count("it lacks: ") == 1
    assert json.loads(report.to_json())["passed"] is False


def test_a_class_without_biases_is_told_that_it_lacks_them(tmp_path: Path) -> None:
    text = MINE.replace("nn.Linear(d_model, d_model)", "nn.Linear(d_model, d_model, bias=False)")
    (report,) = check_file(written(tmp_path, text), max_examples=EXAMPLES, renames=RENAMES)
    assert "it lacks: w_k.bias, w_o.bias, w_q.bias, w_v.bias; it has beside them: none" in report.obstacle
