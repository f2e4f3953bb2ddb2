"""Anyone's code before the laws: what is found, how it is told, and what cannot go wrong for us."""

import json
import math
import sys
import textwrap
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.laws import Report, adapters, check, check_file, laws_of
from minitransformer.laws.checking import names_in
from minitransformer.laws.judging import BROKEN, Table, finding_of, table_of

pytestmark = pytest.mark.usefixtures("without_shape_checks", "imported_before_forking")

FEW = {"max_examples": 25, "seconds": 30.0}


def broken(report: Report) -> set[str]:
    """The names of the broken laws."""
    return {failure.law for failure in report.failures}


# Right code is found right, whatever its conventions.


def numpy_layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, eps: float = 1e-12) -> np.ndarray:
    """Layer norm as one writes it in NumPy."""
    centred = x - x.mean(-1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) + bias


def torch_attention(query: Tensor, key: Tensor, value: Tensor, may_attend: Tensor | None = None) -> Tensor:
    """PyTorch's own attention."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=may_attend)


def added_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention with a mask that is added, and the weights as a second result."""
    score = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is None:
        return score.softmax(-1) @ value, score.softmax(-1)
    sees_nothing = mask.isneginf().all(-1, keepdim=True)
    weights = (score + mask.masked_fill(sees_nothing, 0.0)).softmax(-1).masked_fill(sees_nothing, 0.0)
    return weights @ value, weights


RIGHT: dict[str, tuple[Callable[..., object], str]] = {
    "torch softmax": (lambda x, axis=-1: torch.softmax(x, axis), "softmax"),
    "torch layer norm": (lambda x, gain, bias, eps=1e-12: F.layer_norm(x, gain.shape, gain, bias, eps), "layer-norm"),
    "NumPy layer norm": (numpy_layer_norm, "layer-norm"),
    "torch attention": (torch_attention, "attention"),
    "a mask that is added": (adapters.mask_is_added(adapters.first_result(added_attention)), "attention"),
    "torch cross-entropy": (adapters.classes_second(F.cross_entropy), "cross-entropy"),
    "torch GELU": (F.gelu, "gelu"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_code_breaks_no_law(name: str) -> None:
    function, claim = RIGHT[name]
    report = check(function, claim, **FEW)
    assert report.passed, str(report)


def test_a_module_can_be_judged_too() -> None:
    norm = nn.LayerNorm

    def judged(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
        module = norm(x.shape[-1], eps=eps, dtype=x.dtype)
        return torch.func.functional_call(module, {"weight": gain, "bias": bias}, (x,))

    assert check(judged, "layer_norm", **FEW).passed


# Wrong code is found wrong.


def test_a_broken_law_comes_with_its_smallest_case_its_equation_and_a_question() -> None:
    def over_the_queries(query: Tensor, key: Tensor, may_attend: Tensor | None = None) -> Tensor:
        return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-2)

    report = check(over_the_queries, "attention-weights", **FEW)
    assert not report.passed
    failure = next(failure for failure in report.failures if failure.law == "rows_of_weights_sum_to_one_or_zero")
    assert failure.equation.startswith("eq:attention-weights: A = softmax(Q Kᵀ / √d_k)")
    assert failure.hint
    titles = [table.title for table in failure.counterexample]
    assert any(title.startswith("query") for title in titles)
    assert any(title.startswith("returned") for title in titles)
    text = str(report)
    assert failure.sentence in text
    assert "M 0" in text, "columns should be named by the alphabet of the shapes"
    assert "<table>" in report._repr_html_()
    assert json.loads(report.to_json())["passed"] is False


def test_an_equation_of_several_lines_is_shown_in_several_lines() -> None:
    failure = finding_of(laws_of("adamw")[0], BROKEN, "it differs")
    report = Report("mine", "adamw", [failure])
    first, second = failure.equation.splitlines()[:2]
    assert f"\n  {first}\n    {second}\n" in str(report)
    assert f"<pre>{escape(first)}\n{escape(second)}" in report._repr_html_()


def test_the_same_mistake_is_told_once_in_a_row() -> None:
    report = check(lambda x, axis=-1: torch.softmax(x * math.log(2), axis), "softmax", **FEW)
    assert len(report.failures) > 1
    assert len({failure.mutant for failure in report.failures}) == 1
    for text in (str(report), report._repr_html_()):
        assert text.count("Looks like classic mistake") == 1
        assert text.count("Looks like the same mistake.") == len(report.failures) - 1


def test_a_mistake_of_ones_own_is_told_with_the_known_ones_of_each_law() -> None:
    report = check(lambda x, axis=-1: torch.softmax(x, axis) + 0.01, "softmax", **FEW)
    assert str(report).count("Known mistakes of this kind") == len(report.failures) > 1


def test_a_single_number_is_shown_in_its_title() -> None:
    assert list(table_of("loss", torch.tensor([[0.5]]), "B L")) == [Table("loss = 0.5", [], [])]


def test_what_is_left_out_of_a_batch_is_said() -> None:
    *_, first, last = table_of("x", torch.zeros(5, 4, 10), "B L D")
    assert first.title == "x of example 1 of 5"
    assert last.title == "x: 4 more examples are not shown"


BAD_MANNERS = {
    "changed its argument x": lambda x, axis=-1: x.sub_(x.amax(axis, keepdim=True)).softmax(axis),
    "two answers to the same arguments": lambda x, axis=-1: torch.softmax(x, axis) + 1e-3 * torch.rand(()),
    "returned shape": lambda x, axis=-1: torch.softmax(x, axis)[..., :1],
    "returned NoneType": lambda x, axis=-1: None,
    "it raised ZeroDivisionError": lambda x, axis=-1: 1 / 0,
    "ended the program": lambda x, axis=-1: sys.exit(),
}


@pytest.mark.parametrize("message", BAD_MANNERS)
def test_bad_manners_are_findings(message: str) -> None:
    report = check(BAD_MANNERS[message], "softmax", **FEW)
    assert not report.passed
    assert message in report.failures[0].message, str(report)


def test_what_a_function_does_not_offer_is_not_judged() -> None:
    report = check(lambda x: torch.softmax(x, -1), "softmax", **FEW)
    assert report.passed
    assert report.not_judged, "laws on other axes should not be judged"
    assert all("it takes (x)" in finding.message for finding in report.not_judged)


def test_a_numpy_function_is_not_asked_for_a_gradient() -> None:
    report = check(numpy_layer_norm, "layer-norm", **FEW)
    assert {finding.message for finding in report.not_judged} == {"an array has no gradient", "NumPy has no bfloat16"}


# Accidents stay in the child.


def endless(x: Tensor, axis: int = -1) -> Tensor:
    """Never answers."""
    while True:
        axis = -axis


def too_large(x: Tensor, axis: int = -1) -> Tensor:
    """Asks for more memory than there is."""
    return torch.ones(2**40)[: len(x)]


def crash(x: Tensor, axis: int = -1) -> Tensor:
    """Ends its process without a word."""
    import os

    os._exit(3)


def test_an_endless_loop_is_neither_held_nor_broken() -> None:
    report = check(endless, "softmax", max_examples=5, seconds=1.0)
    assert not report.passed
    assert not report.failures
    assert "no answer within 1 seconds" in report.not_judged[0].message
    assert "not tried" in report.not_judged[-1].message


def test_too_much_memory_is_a_finding() -> None:
    report = check(too_large, "softmax", **FEW)
    assert not report.passed
    assert all("raised RuntimeError" in failure.message for failure in report.failures)


def test_a_crash_leaves_us_alone() -> None:
    report = check(crash, "softmax", **FEW)
    assert not report.passed
    assert all("its process ended with exit code 3" in finding.message for finding in report.not_judged)


# Files.


def written(folder: Path, text: str) -> Path:
    """A learner's file."""
    path = folder / "mine.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def test_the_functions_of_a_file_are_found_by_their_names(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        import torch

        def relu(x):
            return x.clamp(min=0)

        def gelu(x):
            return x * torch.sigmoid(1.702 * x)

        def helper(x):
            return x
        """,
    )
    right, wrong = check_file(path, **FEW)
    assert (right.claim, right.passed) == ("relu", True)
    assert (wrong.claim, wrong.passed) == ("gelu", False)
    assert names_in(path) == ["relu", "gelu", "helper"]


def test_a_function_of_another_name_is_checked_as_what_it_claims_to_be(tmp_path: Path) -> None:
    path = written(tmp_path, "def mine(x):\n    return x.clamp(min=0)\n")
    (report,) = check_file(path, claim="relu", name="mine", **FEW)
    assert report.passed


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("def relu(x:\n", {}, "cannot be imported: line 1: SyntaxError"),
        ("import nowhere_at_all\n", {}, "cannot be imported: line 1: ModuleNotFoundError: No module named"),
        ("raise SystemExit\n", {}, "cannot be imported: line 1: SystemExit"),
        ("import os\nos._exit(3)\n", {}, "cannot be imported: its process ended with exit code 3"),
        ("x = 1\n", {}, "has no function to check: looked for one named after a claim .* found: no function"),
        ("def mine(x): ...\n", {}, "found: mine; say --name FUNCTION --claim CLAIM"),
        ("def mine(x): ...\n", {"name": "yours"}, "has no function 'yours'; it has: mine"),
        ("def mine(x): ...\n", {"name": "mine", "claim": "atention"}, "did you mean 'attention'"),
        ("def relu(x): ...\n", {"adapters": ["upside-down"]}, "adapter 'upside-down' is not one of mask-hides"),
    ],
)
def test_a_file_that_cannot_be_checked_is_refused_in_one_line(
    tmp_path: Path, text: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        check_file(written(tmp_path, text), **options)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        check_file(tmp_path / "none.py")


@pytest.mark.parametrize(("entry", "value"), [("max_examples", 0), ("seconds", 0.0), ("seconds", math.nan)])
def test_limits_that_leave_nothing_to_judge_are_refused(tmp_path: Path, entry: str, value: float) -> None:
    path = written(tmp_path, "def relu(x):\n    return x.clamp(min=0)\n")
    with pytest.raises(InputError, match=f"{entry}={value} must be"):
        check_file(path, **{entry: value})
    with pytest.raises(InputError, match=f"{entry}={value} must be"):
        check(F.relu, "relu", **{entry: value})


def test_an_adapter_for_results_keeps_what_the_function_does_not_offer() -> None:
    report = check(adapters.first_result(lambda x: (x.softmax(-1), "more")), "softmax", **FEW)
    assert report.passed, str(report)
    assert all("it takes (x)" in finding.message for finding in report.not_judged)
