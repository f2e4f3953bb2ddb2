"""Laws of the feed-forward network and its activations."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from strategies import (
    SequenceCase,
    VectorsCase,
    numbers,
    parameters_of,
    randomise,
    sequence_cases,
    shuffled,
    vectors_cases,
)
from tolerances import LAYER, ROUNDING, as_array, assert_close, assert_same
from torch import Tensor, nn

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.feed_forward import FeedForward, gelu, gelu_tanh, relu

pytestmark = pytest.mark.usefixtures("kernels_in_use")

Function = Callable[[Tensor], Tensor]


def what_passes_of_a_number_and_of_its_opposite_is_the_number(activation: Function, case: VectorsCase) -> None:
    difference = activation(case.x) - activation(-case.x)
    scale = 1 + float(case.x.abs().max())
    assert_close(difference, case.x, ROUNDING, scale, what="f(x) − f(−x)")


@pytest.mark.equation("gelu", "gelu-tanh", "relu")
@pytest.mark.parametrize("activation", [gelu, gelu_tanh, relu])
@given(case=vectors_cases())
def test_what_passes_of_a_number_and_of_its_opposite_is_the_number(activation: Function, case: VectorsCase) -> None:
    """f(x) − f(−x) = x for GELU, its approximation and ReLU, because the shares that pass add up to 1.

    Kills: erf or tanh without the 1; the ½ forgotten; a leak below zero.
    """
    what_passes_of_a_number_and_of_its_opposite_is_the_number(activation, case)


def gelu_passes_the_share_of_a_normal_distribution(gelu: Function, case: VectorsCase) -> None:
    share = np.vectorize(NormalDist().cdf)(as_array(case.x))
    scale = 1 + float(case.x.abs().max())
    assert_close(gelu(case.x), as_array(case.x) * share, ROUNDING, scale, what="x · Φ(x)")


@pytest.mark.equation("gelu")
@given(case=vectors_cases())
def test_gelu_passes_the_share_of_a_normal_distribution(case: VectorsCase) -> None:
    """GELU(x) is x times the share of a normal distribution below x, as the standard library counts it.

    Kills: the tanh or the sigmoid form in place of erf; erf(x) without the √2.
    """
    gelu_passes_the_share_of_a_normal_distribution(gelu, case)


def the_approximation_is_near_the_gelu_and_is_not_it(gelu_tanh: Function) -> None:
    x = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    distance = (gelu_tanh(x) - x * torch.special.ndtr(x)).abs()
    assert distance.max() < 5e-4, "the approximation should stay within 0.0005 of the GELU"
    assert distance.max() > 4e-4, "the approximation should be the published one, which errs by 0.0004"
    assert 2.6 < x[distance.argmax()].abs() < 2.8, "the approximation should err the most near ±2.7"


@pytest.mark.equation("gelu-tanh")
def test_the_approximation_is_near_the_gelu_and_is_not_it() -> None:
    """The tanh form lies within 0.0005 of the GELU, and errs by more than 0.0004 near x = ±2.7.

    Kills: the exact form under the name of the other; the sigmoid form; 0.044715 x² for x³.
    """
    the_approximation_is_near_the_gelu_and_is_not_it(gelu_tanh)


def relu_keeps_what_is_positive(relu: Function, case: VectorsCase) -> None:
    assert (relu(case.x) >= 0).all(), "nothing negative should pass"
    assert_same(relu(relu(case.x)), relu(case.x), what="what passes twice")
    assert_same(relu(3 * case.x), 3 * relu(case.x), what="three times what passes")
    assert not (relu(case.x) * relu(-case.x)).any(), "a number and its opposite should not both pass"


@pytest.mark.equation("relu")
@given(case=vectors_cases())
def test_relu_keeps_what_is_positive(case: VectorsCase) -> None:
    """What passes is never negative, passes again unchanged, and grows in proportion.

    Kills: a leak below zero; an absolute value; a smooth activation in its place.
    """
    relu_keeps_what_is_positive(relu, case)


@pytest.mark.equation("relu")
def test_the_slope_of_relu_at_zero_is_zero() -> None:
    """The slope of ReLU is 1 above zero, and 0 at zero and below."""
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    assert torch.autograd.grad(relu(x).sum(), x)[0].tolist() == [0.0, 0.0, 1.0]


@pytest.mark.equation("gelu", "gelu-tanh", "relu")
@given(case=vectors_cases())
def test_activations_agree_with_the_reference_and_with_torch(case: VectorsCase) -> None:
    """GELU, its approximation and ReLU agree with the reference and with PyTorch's own."""
    x, scale = as_array(case.x), 1 + float(case.x.abs().max())
    assert_close(gelu(case.x), reference.feed_forward.gelu(x), ROUNDING, scale)
    assert_close(gelu(case.x), F.gelu(case.x), ROUNDING, scale)
    assert_close(gelu_tanh(case.x), reference.feed_forward.gelu_tanh(x), ROUNDING, scale)
    assert_close(gelu_tanh(case.x), F.gelu(case.x, approximate="tanh"), ROUNDING, scale)
    assert_same(relu(case.x), reference.feed_forward.relu(x))
    assert_same(relu(case.x), F.relu(case.x))


@pytest.mark.equation("gelu", "gelu-tanh", "relu")
@pytest.mark.parametrize("activation", [gelu, gelu_tanh, relu])
def test_far_from_zero_everything_or_nothing_passes(activation: Function) -> None:
    """At ±10,000 everything or nothing passes, and the slope there is 1 or 0, never NaN."""
    x = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    assert activation(x).tolist() == [0.0, 0.0, 1e4]
    slopes = torch.autograd.grad(activation(x).sum(), x)[0]
    assert slopes[[0, 2]].tolist() == [0.0, 1.0]


def network(case: SequenceCase, activation: Function = relu) -> FeedForward:
    """A feed-forward network with numbers of its own."""
    return randomise(FeedForward(case.d_model, case.d_ff, activation), case.seed, case.dtype)


def changing_other_positions_changes_nothing_here(module: nn.Module, case: SequenceCase) -> None:
    position = case.seed % case.length
    others = (torch.arange(case.length) != position)[:, None]
    changed = torch.where(others, numbers(case.seed, "other", *case.x.shape, dtype=case.dtype), case.x)
    assert_same(module(changed)[:, position], module(case.x)[:, position], what="the only unchanged position")


@pytest.mark.equation("feed-forward")
@given(case=sequence_cases(visibilities=("all",)))
def test_changing_other_positions_changes_nothing_here(case: SequenceCase) -> None:
    """Each position is mapped without a look at the others, bit for bit.

    Kills: a linear map over the length.
    """
    changing_other_positions_changes_nothing_here(network(case), case)


def inner_units_have_no_order(module: FeedForward, case: SequenceCase) -> None:
    before = module(case.x)
    order = shuffled(case.seed, "order", case.d_ff)
    with torch.no_grad():
        module.inner.weight.copy_(module.inner.weight[order])
        module.inner.bias.copy_(module.inner.bias[order])
        module.outer.weight.copy_(module.outer.weight[:, order])
    assert_close(module(case.x), before, LAYER, what="the output with the inner units shuffled")


@pytest.mark.equation("feed-forward")
@given(case=sequence_cases(visibilities=("all",)))
def test_inner_units_have_no_order(case: SequenceCase) -> None:
    """Shuffling the inner units, with their rows and columns, changes nothing.

    Kills: an activation that mixes the units, such as a softmax.
    """
    inner_units_have_no_order(network(case), case)


@pytest.mark.equation("feed-forward")
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh"])
@given(case=sequence_cases(visibilities=("all",)))
def test_the_network_agrees_with_the_reference_and_with_torch(activation: str, case: SequenceCase) -> None:
    """The feed-forward network agrees with the reference and with `nn.Sequential`, for each activation.

    Kills: no activation; the activation after the second map; a bias forgotten.
    """
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
