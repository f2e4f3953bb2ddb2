"""The guard around a function under judgement: what it lets through, and what it calls bad manners."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from minitransformer.feed_forward import relu
from minitransformer.laws import check
from minitransformer.laws.guarding import Guarded, NotOfferedError
from minitransformer.optimizer import clip_global_norm, global_norm
from minitransformer.schedules import linear_warmup
from minitransformer.word_vectors import word_vectors

Function = Callable[..., object]
pytestmark = pytest.mark.usefixtures("without_shape_checks")


def gradients() -> list[Tensor]:
    """Two gradients of norm 5 together."""
    return [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]


def test_numbers_are_an_answer_where_ours_is_a_number() -> None:
    assert Guarded(linear_warmup, linear_warmup)(1, 2, 6) == 0.5
    assert Guarded(lambda step, warmup, total: 1, linear_warmup)(2, 2, 6) == 1
    assert Guarded(lambda step, warmup, total: torch.tensor(0.5), linear_warmup)(1, 2, 6) == 0.5
    assert Guarded(lambda step, warmup, total: np.float64(0.5), linear_warmup)(1, 2, 6) == 0.5


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "returned NoneType, but a number was expected"),
        (torch.zeros(1), "returned Tensor, but a number was expected"),
        (math.nan, "returned NaN in 1 of 1 places"),
        ([0.5], "returned list, but a number was expected"),
    ],
)
def test_what_is_no_number_is_found(answer: object, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        Guarded(lambda step, warmup, total: answer, linear_warmup)(1, 2, 6)


def test_lists_of_tensors_come_and_go() -> None:
    halves = Guarded(lambda gradients, bound: tuple(gradient / 5 for gradient in gradients), clip_global_norm)
    assert [clipped.tolist() for clipped in halves(gradients(), 1.0)] == [
        pytest.approx([0.6, 0.0]),
        pytest.approx([0.8]),
    ]
    given = halves.calls[0].arguments["gradients"]
    assert [gradient.tolist() for gradient in given] == [[3.0, 0.0], [4.0]]


def halved_in_place(gradients: list[Tensor], bound: float) -> list[Tensor]:
    """Changes what it was given."""
    return [gradient.mul_(0.5) for gradient in gradients]


BAD_LISTS: dict[str, Function] = {
    "changed its argument gradients in place": halved_in_place,
    "returned Tensor, but a list was expected": lambda gradients, bound: gradients[0],
    "returned a list of length 1, but 2 was expected": lambda gradients, bound: gradients[:1],
    r"returned shape \(2,\) in place 1, but \(1,\) was expected": lambda gradients, bound: [gradients[0]] * 2,
    "returned NaN in 1 of 1 places in place 1": lambda gradients, bound: [gradients[0], gradients[1] * math.nan],
    "returned float in place 0, but a tensor was expected": lambda gradients, bound: [1.0, 2.0],
    "gave two answers": lambda gradients, bound: [gradient + torch.rand(()) for gradient in gradients],
}


@pytest.mark.parametrize("message", BAD_LISTS)
def test_bad_manners_with_lists_are_found(message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        Guarded(BAD_LISTS[message], clip_global_norm)(gradients(), 1.0)


def clipped_arrays(gradients: list[np.ndarray], max_norm: float) -> list[np.ndarray]:
    """Clipping as one writes it in NumPy; a tensor has no `astype`."""
    norm = np.sqrt(sum(np.square(gradient.astype(np.float64)).sum() for gradient in gradients))
    return [gradient * (max_norm / max(norm, max_norm)) for gradient in gradients]


def test_lists_are_translated_for_numpy() -> None:
    clip = Guarded(clipped_arrays, clip_global_norm)
    clipped = clip(gradients(), 1.0)
    assert clip.speaks_numpy
    assert [part.dtype for part in clipped] == [torch.float32, torch.float32]
    assert [part.tolist() for part in clipped] == [pytest.approx([0.6, 0.0]), pytest.approx([0.8])]


@pytest.mark.parametrize("root", [np.sqrt, math.sqrt])
def test_a_number_that_comes_of_arrays_is_a_tensor(root: Callable[[float], float]) -> None:
    norm = Guarded(lambda gradients: root(sum((part.astype(float) ** 2).sum() for part in gradients)), global_norm)
    assert norm(gradients()).item() == 5.0


def test_a_function_that_may_draw_may_answer_in_other_words() -> None:
    association = torch.eye(3)
    drawn = lambda association, n_columns: torch.rand(3, n_columns)  # noqa: E731 # one line says it
    assert Guarded(drawn, word_vectors, may_draw=True)(association, 2).shape == (3, 2)
    with pytest.raises(AssertionError, match="two answers"):
        Guarded(drawn, word_vectors)(association, 2)


def share_of_the_largest(x: Tensor) -> Tensor:
    """A function in PyTorch that takes a detour through NumPy."""
    return torch.from_numpy(x.numpy() / x.numpy().max())


def tanh(x: np.ndarray) -> np.ndarray:
    """A function in NumPy, as its code tells."""
    return np.tanh(x)


NUMPY_ALONE: dict[str, Function] = {
    "by its code": tanh,
    "by what it can take": lambda x: 1 / (1 + x.astype(float)),
    "by what it returns": lambda x: x.clip(0) if isinstance(x, np.ndarray) else x.no_such_method(),
}


@pytest.mark.parametrize("way", NUMPY_ALONE)
def test_numpy_is_not_judged_in_a_type_that_it_lacks(way: str) -> None:
    for _ in range(2):
        with pytest.raises(NotOfferedError, match="NumPy has no bfloat16"):
            Guarded(NUMPY_ALONE[way], relu)(torch.ones(3).bfloat16())
    assert Guarded(NUMPY_ALONE[way], relu)(torch.ones(3)).dtype == torch.float32


def test_a_function_in_pytorch_that_raises_in_bfloat16_is_found() -> None:
    assert Guarded(share_of_the_largest, relu)(torch.ones(3)).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(AssertionError, match="the function, given bfloat16, raised TypeError: Got unsupported"):
        Guarded(share_of_the_largest, relu)(torch.ones(3).bfloat16())


def refuses_halves(x: Tensor) -> Tensor:
    """A function in PyTorch alone."""
    if x.dtype == torch.bfloat16:
        raise ValueError("no halves here")
    return x.clamp(min=0)


def test_what_a_function_says_about_bfloat16_is_told() -> None:
    with pytest.raises(AssertionError, match="the function, given bfloat16, raised ValueError: no halves here"):
        Guarded(refuses_halves, relu)(torch.ones(3).bfloat16())


def test_laws_in_bfloat16_speak_about_pytorch_alone() -> None:
    report = check(lambda x: np.maximum(x, 0), "relu", max_examples=20)
    reasons = {finding.law: finding.message for finding in report.not_judged}
    assert reasons["in_bfloat16_relu_agrees_with_the_reference"] == "NumPy has no bfloat16"
    assert report.passed
    broken = {failure.law: failure.message for failure in check(refuses_halves, "relu", max_examples=20).failures}
    assert set(broken) == {name for name in reasons if "in_bfloat16" in name}
    assert all("given bfloat16, raised ValueError" in message for message in broken.values())
