"""The guard around a function under judgement: what it lets through, and what it calls bad manners."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from minitransformer.laws.guarding import Guarded
from minitransformer.optimizer import clip_global_norm, global_norm, linear_warmup
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
