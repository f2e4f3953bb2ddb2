"""The feed-forward network and its activations beyond their laws: PyTorch's opinion, and every activation."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.feed_forward import FeedForward, gelu, gelu_tanh, relu
from minitransformer.laws.cases import (
    SequenceCase,
    VectorsCase,
    few_examples,
    parameters_of,
    randomise,
    sequence_cases,
    vectors_cases,
)
from minitransformer.laws.tolerances import LAYER, ROUNDING, as_array, assert_close, assert_same

pytestmark = pytest.mark.usefixtures("kernels_in_use")

Function = Callable[[Tensor], Tensor]


@pytest.mark.equation("relu")
def test_the_slope_of_relu_at_zero_is_zero() -> None:
    """The slope of ReLU at zero, which could be any number from 0 to 1, is 0."""
    x = torch.zeros(1, requires_grad=True)
    assert torch.autograd.grad(relu(x).sum(), x)[0].tolist() == [0.0]


@pytest.mark.equation("gelu", "gelu-tanh", "relu")
@given(case=vectors_cases())
def test_activations_agree_with_torch(case: VectorsCase) -> None:
    """GELU, its approximation and ReLU agree with PyTorch's own."""
    scale = 1 + float(case.x.abs().max())
    assert_close(gelu(case.x), F.gelu(case.x), ROUNDING, scale)
    assert_close(gelu_tanh(case.x), F.gelu(case.x, approximate="tanh"), ROUNDING, scale)
    assert_same(relu(case.x), F.relu(case.x))


def network(case: SequenceCase, activation: Function = relu) -> FeedForward:
    """A feed-forward network with numbers of its own."""
    return randomise(FeedForward(case.d_model, case.d_ff, activation), case.seed, case.dtype)


@pytest.mark.equation("feed-forward")
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh"])
@few_examples
@given(case=sequence_cases(visibilities=("all",)))
def test_the_network_agrees_with_the_reference_and_with_torch(activation: str, case: SequenceCase) -> None:
    """The feed-forward network agrees with the reference and with `nn.Sequential`, for each activation."""
    ours = network(case, {"relu": relu, "gelu": gelu, "gelu_tanh": gelu_tanh}[activation])
    expected = reference.feed_forward.feed_forward(
        parameters_of(ours), as_array(case.x), getattr(reference.feed_forward, activation)
    )
    assert_close(ours(case.x), expected, LAYER)
    theirs = {"relu": nn.ReLU(), "gelu": nn.GELU(), "gelu_tanh": nn.GELU(approximate="tanh")}[activation]
    assert_close(ours(case.x), nn.Sequential(ours.inner, theirs, ours.outer)(case.x), LAYER)


def test_an_inner_width_below_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"d_ff=0 must be at least 1; 4 \* d_model = 24 is usual"):
        FeedForward(d_model=6, d_ff=0)
