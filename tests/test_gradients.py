"""The gradients derived by hand, against central differences and against autograd through the PyTorch code."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from minitransformer import attention, feed_forward, kernels, losses, norm, reference
from minitransformer.laws.cases import (
    AttentionCase,
    LossCase,
    VectorsCase,
    attention_cases,
    few_examples,
    loss_cases,
    numbers,
    vectors_cases,
)
from minitransformer.laws.tolerances import DIFFERENCE_STEP, LAYER, as_array, assert_close

Arrays = Sequence[np.ndarray]
float64 = (torch.float64,)


def central_difference(function: Callable[..., object], inputs: Arrays, upstream: np.ndarray, which: int) -> np.ndarray:
    """The slope of Σ upstream · function(inputs) in each entry of one input, from two values beside it."""
    step = DIFFERENCE_STEP * max(1.0, float(np.abs(inputs[which]).max()))
    gradient = np.zeros_like(inputs[which])
    for place in np.ndindex(gradient.shape):
        totals = []
        for sign in (1, -1):
            moved = [array.copy() for array in inputs]
            moved[which][place] += sign * step
            totals.append(np.sum(upstream * np.asarray(function(*moved))))
        gradient[place] = (totals[0] - totals[1]) / (2 * step)
    return gradient


def assert_slopes(
    gradients: Arrays,
    function: Callable[..., object],
    inputs: Arrays,
    upstream: np.ndarray,
    steepness: float = 1.0,
) -> None:
    """Compare each gradient with central differences, whose own error is eps / step and step² alike."""
    for which, gradient in enumerate(gradients):
        expected = central_difference(function, inputs, upstream, which)
        scale = (1 + float(np.abs(upstream).sum())) * (1 + float(np.abs(gradient).max())) / DIFFERENCE_STEP
        assert_close(gradient, expected, LAYER, scale * max(1.0, steepness), what=f"the gradient of argument {which}")


def assert_autograd(
    gradients: Arrays, function: Callable[..., Tensor], inputs: Sequence[Tensor], upstream: Tensor | None, scale: float
) -> None:
    """Compare each gradient with autograd's, through the written equations and through the fused kernels."""
    for kind in kernels.KINDS:
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        with kernels.use(kind):
            result = function(*leaves)
            computed = torch.autograd.grad(result, leaves, upstream)
        for which, (theirs, ours) in enumerate(zip(computed, gradients, strict=True)):
            assert_close(theirs, ours, LAYER, scale, what=f"autograd's gradient of argument {which}, {kind}")


def test_a_central_difference_finds_a_slope() -> None:
    found = central_difference(lambda x: x**3, [np.array([2.0, -1.0])], np.array([1.0, 10.0]), 0)
    assert_close(found, np.array([12.0, 30.0]), LAYER, 1 / DIFFERENCE_STEP)


# Linear


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's linear map, as our modules use it."""
    return torch.nn.functional.linear(x, weight, bias)


@pytest.mark.equation("feed-forward")
@given(case=vectors_cases(kinds=("ordinary",)))
def test_the_gradient_of_a_linear_map(case: VectorsCase) -> None:
    """The gradient of a linear map, derived by hand, agrees with autograd.

    Kills: the weight not transposed; the bias counted for one position only.
    """
    width_out = 4
    weight = numbers(case.seed, "weight", width_out, case.width, dtype=case.dtype)
    inputs = (case.x, weight, numbers(case.seed, "bias", width_out, dtype=case.dtype))
    upstream = numbers(case.seed, "upstream", case.batch, case.length, width_out, dtype=case.dtype)
    gradients = reference.feed_forward.linear_gradient(as_array(upstream), as_array(case.x), as_array(weight))
    assert_autograd(gradients, linear, inputs, upstream, 100.0 * case.batch * case.length)


@pytest.mark.equation("feed-forward")
@few_examples
@given(case=vectors_cases(kinds=("ordinary",), types=float64))
def test_the_slopes_of_a_linear_map(case: VectorsCase) -> None:
    """The gradient of a linear map agrees with central differences."""
    x, weight = as_array(case.x)[:2, :3], as_array(numbers(case.seed, "weight", 4, case.width))
    inputs, upstream = (x, weight, np.zeros(4)), as_array(numbers(case.seed, "upstream", *x.shape[:2], 4))
    gradients = reference.feed_forward.linear_gradient(upstream, x, weight)
    assert_slopes(gradients, reference.feed_forward.linear, inputs, upstream)


# Layer norm


@pytest.mark.equation("layer-norm")
@few_examples
@given(case=vectors_cases(kinds=("ordinary",), types=float64))
def test_the_slopes_of_layer_norm(case: VectorsCase) -> None:
    """The gradient of layer norm agrees with central differences."""
    inputs = as_array(case.x)[:2, :3], as_array(case.gain), as_array(case.bias)
    eps = max(case.eps, 1e-2)
    upstream = as_array(numbers(case.seed, "upstream", *inputs[0].shape))
    gradients = reference.norm.layer_norm_gradient(upstream, *inputs[:2], eps)
    steepness = 1 / (inputs[0].var(-1).min() + eps)
    assert_slopes(gradients, lambda *moved: reference.norm.layer_norm(*moved, eps), inputs, upstream, steepness)


# GELU

GELUS = {
    "gelu": (reference.feed_forward.gelu, reference.feed_forward.gelu_gradient),
    "gelu_tanh": (reference.feed_forward.gelu_tanh, reference.feed_forward.gelu_tanh_gradient),
}


@pytest.mark.equation("gelu", "gelu-tanh")
@pytest.mark.parametrize("name", GELUS)
@few_examples
@given(case=vectors_cases(kinds=("ordinary", "small"), types=float64))
def test_the_slopes_of_gelu(name: str, case: VectorsCase) -> None:
    """The gradient of both GELUs agrees with central differences."""
    function, gradient = GELUS[name]
    x = as_array(case.x)[:2, :3]
    upstream = as_array(numbers(case.seed, "upstream", *x.shape))
    assert_slopes([gradient(upstream, x)], function, [x], upstream)


# Attention


@pytest.mark.equation("attention")
@few_examples
@given(case=attention_cases(scores=("ordinary",), types=float64))
def test_the_slopes_of_attention(case: AttentionCase) -> None:
    """The gradient of attention agrees with central differences, hidden keys and blind queries included."""
    inputs = [as_array(tensor)[0] for tensor in (case.query[:, :3], case.key, case.value)]
    may_attend = case.visible[0, :3].numpy()
    upstream = as_array(numbers(case.seed, "upstream", inputs[0].shape[0], case.d_v))
    gradients = reference.attention.attention_gradient(upstream, *inputs, may_attend)
    blind = ~may_attend.any(-1)
    assert not gradients[0][blind].any(), "a query that sees nothing should have a gradient of exactly zero"
    assert_slopes(
        gradients,
        lambda *moved: reference.attention.scaled_dot_product_attention(*moved, may_attend),
        inputs,
        upstream,
    )


# Losses


@pytest.mark.equation("cross-entropy")
@few_examples
@given(case=loss_cases(scores=("ordinary", "equal"), types=float64))
def test_the_slopes_of_softmax_cross_entropy(case: LossCase) -> None:
    """The gradient of softmax cross-entropy agrees with central differences."""
    logits, target = as_array(case.logits)[:2], case.classes.numpy()[:2]
    target[0, 0] = -100 if target.size > 1 else target[0, 0]
    gradient = reference.losses.softmax_cross_entropy_gradient(logits, target, label_smoothing=case.label_smoothing)
    assert_close(gradient.sum(-1), np.zeros(gradient.shape[:-1]), LAYER, what="the sum of the gradient over classes")

    def loss(moved: np.ndarray) -> object:
        return reference.losses.cross_entropy(moved, target, label_smoothing=case.label_smoothing)

    assert_slopes([gradient], loss, [logits], np.ones(()))


@pytest.mark.equation("binary-cross-entropy")
@few_examples
@given(case=loss_cases(scores=("ordinary",), types=float64))
def test_the_slopes_of_binary_cross_entropy(case: LossCase) -> None:
    """The gradient of binary cross-entropy agrees with central differences."""
    logit, target = as_array(case.logits[..., 0]), as_array(case.classes % 2).astype(float)
    gradient = reference.losses.binary_cross_entropy_gradient(logit, target)
    assert_slopes([gradient], lambda moved: reference.losses.binary_cross_entropy(moved, target), [logit], np.ones(()))


# Autograd through the written equations, judged by PyTorch's own checker

LEAVES = numbers(1, "leaves", 3, 4).requires_grad_()
MORE = numbers(1, "more", 4).requires_grad_()
RULE = torch.tensor([[True, False, True], [False, False, False], [True, True, False]])
TARGET = torch.tensor([1, -100, 3])

WRITTEN: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "softmax": (attention.softmax, (LEAVES,)),
    "log_softmax": (attention.log_softmax, (LEAVES,)),
    "attention_weights": (lambda query, key: attention.attention_weights(query, key, RULE), (LEAVES, LEAVES)),
    "attention": (lambda *inputs: attention.scaled_dot_product_attention(*inputs, RULE), (LEAVES, LEAVES, LEAVES)),
    "layer_norm": (lambda *inputs: norm.layer_norm(*inputs, eps=1e-3), (LEAVES, MORE, MORE)),
    "rms_norm": (norm.rms_norm, (LEAVES, MORE)),
    "gelu": (feed_forward.gelu, (LEAVES,)),
    "gelu_tanh": (feed_forward.gelu_tanh, (LEAVES,)),
    "relu": (feed_forward.relu, (LEAVES,)),
    "cross_entropy": (lambda logits: losses.cross_entropy(logits, TARGET, label_smoothing=0.1), (LEAVES,)),
    "binary_cross_entropy": (lambda logit: losses.binary_cross_entropy(logit, RULE[:, :1].double()), (LEAVES[:, :1],)),
    "mean_squared_error": (lambda x: losses.mean_squared_error(x, torch.zeros(3, 4)), (LEAVES,)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_autograd_through_the_written_equations_gives_their_slopes(name: str) -> None:
    """`torch.autograd.gradcheck` finds the slopes of every written equation right."""
    function, inputs = WRITTEN[name]
    with kernels.use("equations"):
        assert torch.autograd.gradcheck(function, inputs)
