"""The gradients derived by hand, against central differences; laws compare them with autograd."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from torch import Tensor, nn

from minitransformer import attention, feed_forward, kernels, losses, norm, reference
from minitransformer.attention import MultiHeadAttention
from minitransformer.feed_forward import FeedForward
from minitransformer.laws.cases import (
    AttentionCase,
    LossCase,
    SequenceCase,
    VectorsCase,
    attention_cases,
    coins,
    few_examples,
    loss_cases,
    numbers,
    parameters_of,
    randomise,
    seeds,
    sequence_cases,
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


def test_a_central_difference_finds_a_slope() -> None:
    found = central_difference(lambda x: x**3, [np.array([2.0, -1.0])], np.array([1.0, 10.0]), 0)
    assert_close(found, np.array([12.0, 30.0]), LAYER, 1 / DIFFERENCE_STEP)


# Linear


@pytest.mark.equation("feed-forward")
@few_examples
@given(case=vectors_cases(kinds=("ordinary",), types=float64))
def test_the_slopes_of_a_linear_map(case: VectorsCase) -> None:
    """The gradient of a linear map agrees with central differences."""
    x, weight = as_array(case.x)[:2, :3], as_array(numbers(case.seed, "weight", 4, case.width))
    inputs, upstream = (x, weight, np.zeros(4)), as_array(numbers(case.seed, "upstream", *x.shape[:2], 4))
    gradients = reference.feed_forward.linear_gradient(upstream, x, weight)
    assert_slopes(gradients, reference.feed_forward.linear, inputs, upstream)


def parameters_and_inputs(module: nn.Module, case: SequenceCase, **inputs: Tensor) -> dict[str, np.ndarray]:
    """What a module and its inputs hold, for the first example, by name."""
    parameters = parameters_of(randomise(module, case.seed))
    return {**parameters, **{name: as_array(tensor)[0, :3] for name, tensor in inputs.items()}}


@pytest.mark.equation("feed-forward")
@few_examples
@given(case=sequence_cases(visibilities=("all",), types=float64))
def test_the_slopes_of_the_network(case: SequenceCase) -> None:
    """The gradient of the feed-forward network agrees with central differences, where no unit is about to open."""
    named = parameters_and_inputs(FeedForward(case.d_model, case.d_ff), case, x=case.x)
    upstream = as_array(numbers(case.seed, "upstream", *named["x"].shape))
    units = reference.feed_forward.linear(named["x"], named["inner.weight"], named["inner.bias"])
    assume(np.abs(units).min() > 1e-3)
    gradients = reference.feed_forward.feed_forward_gradient(upstream, named, named["x"])
    assert_slopes(
        [gradients[name] for name in named],
        lambda *moved: reference.feed_forward.feed_forward(dict(zip(named, moved, strict=True)), moved[-1]),
        list(named.values()),
        upstream,
    )


# Norms


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


@pytest.mark.equation("rms-norm")
@few_examples
@given(case=vectors_cases(kinds=("ordinary",), types=float64))
def test_the_slopes_of_rms_norm(case: VectorsCase) -> None:
    """The gradient of RMS norm agrees with central differences."""
    inputs = as_array(case.x)[:2, :3], as_array(case.gain)
    eps = max(case.eps, 1e-2)
    upstream = as_array(numbers(case.seed, "upstream", *inputs[0].shape))
    gradients = reference.norm.rms_norm_gradient(upstream, *inputs, eps)
    steepness = 1 / (np.mean(inputs[0] ** 2, axis=-1).min() + eps)
    assert_slopes(gradients, lambda *moved: reference.norm.rms_norm(*moved, eps), inputs, upstream, steepness)


# Activations

ACTIVATIONS = {
    "gelu": (reference.feed_forward.gelu, reference.feed_forward.gelu_gradient),
    "gelu_tanh": (reference.feed_forward.gelu_tanh, reference.feed_forward.gelu_tanh_gradient),
    "relu": (reference.feed_forward.relu, reference.feed_forward.relu_gradient),
}


@pytest.mark.equation("gelu", "gelu-tanh", "relu")
@pytest.mark.parametrize("name", ACTIVATIONS)
@few_examples
@given(case=vectors_cases(kinds=("ordinary", "small"), types=float64))
def test_the_slopes_of_activations(name: str, case: VectorsCase) -> None:
    """The gradient of every activation agrees with central differences."""
    function, gradient = ACTIVATIONS[name]
    x = as_array(case.x)[:2, :3]
    # A step must not lead across the kink of the ReLU.
    x = np.where(np.abs(x) < 2 * DIFFERENCE_STEP * max(1.0, float(np.abs(x).max())), 1.0, x)
    upstream = as_array(numbers(case.seed, "upstream", *x.shape))
    assert_slopes([gradient(upstream, x)], function, [x], upstream)


# Attention

SHARES = {
    "softmax": (reference.attention.softmax, reference.attention.softmax_gradient),
    "log_softmax": (reference.attention.log_softmax, reference.attention.log_softmax_gradient),
}


@pytest.mark.equation("softmax", "log-softmax")
@pytest.mark.parametrize("name", SHARES)
@few_examples
@given(case=vectors_cases(kinds=("ordinary", "small", "equal"), types=float64))
def test_the_slopes_of_shares_and_their_logarithms(name: str, case: VectorsCase) -> None:
    """The gradients of the softmax and of its logarithm agree with central differences along every axis."""
    function, gradient = SHARES[name]
    x = as_array(case.x)[:2, :3]
    upstream = as_array(numbers(case.seed, "upstream", *x.shape))
    for axis in (0, 1, -1):
        assert_slopes([gradient(upstream, x, axis)], lambda moved, axis=axis: function(moved, axis), [x], upstream)


@pytest.mark.equation("attention-weights")
@few_examples
@given(case=attention_cases(scores=("ordinary",), types=float64))
def test_the_slopes_of_attention_weights(case: AttentionCase) -> None:
    """The gradient of the weights agrees with central differences, hidden keys and blind queries included."""
    inputs = [as_array(tensor)[0] for tensor in (case.query[:, :3], case.key)]
    may_attend = case.visible[0, :3].numpy()
    upstream = as_array(numbers(case.seed, "upstream", *may_attend.shape))
    gradients = reference.attention.attention_weights_gradient(upstream, *inputs, may_attend)
    assert not gradients[0][~may_attend.any(-1)].any(), "a query that sees nothing should have a gradient of zero"
    function = lambda *moved: reference.attention.attention_weights(*moved, may_attend)  # noqa: E731 - a curve
    assert_slopes(gradients, function, inputs, upstream)


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


@pytest.mark.equation("multi-head-attention")
@few_examples
@given(case=sequence_cases(types=float64))
def test_the_slopes_of_multi_head_attention(case: SequenceCase) -> None:
    """The gradient of multi-head attention agrees with central differences, blind positions included."""
    case = replace(case, d_k=min(case.d_k, 2), n_heads=min(case.n_heads, 2))
    module = MultiHeadAttention(case.d_model, case.n_heads)
    named = parameters_and_inputs(module, case, x=case.x, memory=case.memory)
    rule = None if case.may_attend_memory is None else case.may_attend_memory[0, :, :3, :3].numpy()
    upstream = as_array(numbers(case.seed, "upstream", *named["x"].shape))

    def attend(*moved: np.ndarray) -> np.ndarray:
        moved_by_name = dict(zip(named, moved, strict=True))
        return reference.attention.multi_head_attention(moved_by_name, case.n_heads, *moved[-2:], rule)

    gradients = reference.attention.multi_head_attention_gradient(
        upstream, named, case.n_heads, named["x"], named["memory"], rule
    )
    assert_slopes([gradients[name] for name in named], attend, list(named.values()), upstream)


# Losses


@pytest.mark.equation("token-cross-entropy")
@few_examples
@given(case=loss_cases(scores=("ordinary", "equal"), types=float64))
def test_the_slopes_of_token_cross_entropy(case: LossCase) -> None:
    """The gradient of the surprise at each token agrees with central differences, with smoothing too."""
    logits, target, smoothing = as_array(case.logits)[:2], case.classes.numpy()[:2], case.label_smoothing
    upstream = as_array(numbers(case.seed, "upstream", *target.shape))
    gradient = reference.losses.token_cross_entropy_gradient(upstream, logits, target, smoothing)
    assert_slopes(
        [gradient],
        lambda moved: reference.losses.token_cross_entropy(moved, target, smoothing),
        [logits],
        upstream,
    )


@pytest.mark.equation("mean-squared-error")
@few_examples
@given(case=loss_cases(scores=("ordinary", "equal"), types=float64))
def test_the_slopes_of_the_squared_error(case: LossCase) -> None:
    """The gradient of the mean squared error agrees with central differences."""
    prediction = as_array(case.logits)[:2]
    target = as_array(numbers(case.seed, "target", *prediction.shape))
    gradient = reference.losses.mean_squared_error_gradient(prediction, target)
    function = lambda moved: reference.losses.mean_squared_error(moved, target)  # noqa: E731 - a curve
    assert_slopes([gradient], function, [prediction], np.ones(()), (1 + float(np.abs(prediction - target).max())) ** 2)


@pytest.mark.equation("masked-lm-loss")
@few_examples
@given(case=loss_cases(scores=("ordinary", "equal"), types=float64))
def test_the_slopes_of_the_masked_word_loss(case: LossCase) -> None:
    """The gradient of the masked-word loss agrees with central differences, and is 0 where nothing was selected."""
    logits, labels = as_array(case.logits)[:2, :3], case.target.numpy()[:2, :3]
    labels[0, 0] = case.classes[0, 0]
    gradient = reference.losses.masked_lm_loss_gradient(logits, labels)
    assert not gradient[labels == -100].any(), "a word that was not selected should have a gradient of zero"
    function = lambda moved: reference.losses.masked_lm_loss(moved, labels)  # noqa: E731 - a curve
    assert_slopes([gradient], function, [logits], np.ones(()))


@pytest.mark.equation("next-sentence-loss")
@few_examples
@given(seed=seeds)
def test_the_slopes_of_the_next_sentence_loss(seed: int) -> None:
    """The gradient of the next-sentence loss agrees with central differences."""
    logits, labels = as_array(numbers(seed, "pair", 5, 2)), coins(seed, "next", 5).long().numpy()
    gradient = reference.losses.next_sentence_loss_gradient(logits, labels)
    function = lambda moved: reference.losses.next_sentence_loss(moved, labels)  # noqa: E731 - a curve
    assert_slopes([gradient], function, [logits], np.ones(()))


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
