"""Laws of activations, which decide what passes of each number on its own."""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import COARSE, VectorsCase, numbers, vectors_cases
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, as_array, assert_close, assert_same, assert_same_type

Function = Callable[..., Tensor]

fine_grid = st.just(torch.linspace(-6, 6, 1201, dtype=torch.float64))
"""Where the two forms of the GELU differ at all, in steps of 0.01."""

far_from_zero = st.floats(100, 1e6)
"""Sizes at which every float type has rounded the share that passes to all or nothing."""


def scale_of(case: VectorsCase) -> float:
    """The size of the largest result."""
    return 1 + float(case.x.abs().max())


def assert_close_in_proportion(passed: Tensor, expected: np.ndarray, case: VectorsCase) -> None:
    """Compare what passes in its share of the size of each entry, so that large entries hide no small ones."""
    size = 1 + as_array(case.x.abs())
    share = (passed.double() / torch.from_numpy(size)).to(case.dtype)
    assert_close(share, expected / size, ROUNDING, 1.0, what="f(x) / (1 + |x|)")


def on_both_sides(far: float) -> Tensor:
    """A number far below zero, zero, and one far above."""
    return torch.tensor([-far, 0.0, far])


def slopes_of(activation: Function, x: Tensor, upstream: Tensor) -> Tensor:
    """What the input gains per unit of it, as autograd finds it."""
    leaf = x.clone().requires_grad_()
    result = activation(leaf)
    assert result.requires_grad, "the result should pass gradients back, but is cut off from what it came from"
    (slopes,) = torch.autograd.grad(result, [leaf], upstream, materialize_grads=True)
    return slopes


# All three


@law("gelu", given=vectors_cases())
@law("gelu-tanh", given=vectors_cases())
@law("relu", given=vectors_cases())
def what_passes_of_a_number_and_of_its_opposite_is_the_number(activation: Function, case: VectorsCase) -> None:
    """f(x) − f(−x) = x for GELU, its approximation and ReLU, because the shares that pass add up to 1.

    Kills: erf or tanh without the 1; the ½ forgotten; a leak below zero.
    Hint: Which share of 2 passes, and which of −2? Add the two shares.
    """
    difference = activation(case.x) - activation(-case.x)
    assert_close(difference, case.x, ROUNDING, scale_of(case), what="f(x) − f(−x)")


@law("gelu", given=far_from_zero)
@law("gelu-tanh", given=far_from_zero)
@law("relu", given=far_from_zero)
def far_from_zero_everything_or_nothing_passes(activation: Function, far: float) -> None:
    """From ±100 to ±1,000,000 everything or nothing passes, never NaN, and of zero nothing does.

    Kills: exponentials that overflow, such as a tanh written out; a leak below zero; a constant added.
    Hint: Put in −1000, 0 and 1000, and print every step on the way. Where does a number become inf or NaN?
    """
    x = on_both_sides(far)
    assert_same(activation(x), torch.where(x > 0, x, 0.0), what="what passes far from zero")


@law("gelu", given=far_from_zero, needs_gradient=True)
@law("gelu-tanh", given=far_from_zero, needs_gradient=True)
@law("relu", given=far_from_zero, needs_gradient=True)
def far_from_zero_the_slope_is_one_or_zero(activation: Function, far: float) -> None:
    """From ±100 to ±1,000,000 the slope is 1 or 0, never NaN.

    Kills: exponentials that overflow on the way back; a leak below zero; a share that passes no gradient.
    Hint: Take the derivative at −1000 and 1000 by hand. Which factor of it is 0, and can another one be infinite there?
    """
    x = on_both_sides(far)
    slopes = slopes_of(activation, x, torch.ones_like(x))
    assert_same(slopes[[0, 2]], torch.tensor([0.0, 1.0]), what="the slope far below and far above zero")


@law("gelu", given=far_from_zero)
@law("gelu-tanh", given=far_from_zero)
@law("relu", given=far_from_zero)
def in_bfloat16_far_from_zero_everything_or_nothing_passes(activation: Function, far: float) -> None:
    """In bfloat16, too, everything or nothing passes from ±100 to ±1,000,000, and what passes is bfloat16.

    Kills: a detour through float16, where 100,000 is ∞; a result in float32 whatever went in.
    Hint: Print the type of every step. Does each of them hold a million, and what do two types give together?
    """
    x = on_both_sides(far).bfloat16()
    passed = activation(x)
    assert_same_type(passed, x)
    assert_same(passed, torch.where(x > 0, x, 0.0), what="what passes far from zero")


# The GELU


@law("gelu", given=vectors_cases())
def gelu_passes_the_share_of_a_normal_distribution(gelu: Function, case: VectorsCase) -> None:
    """GELU(x) is x times the share of a normal distribution below x, as the standard library counts it.

    Kills: the tanh or the sigmoid form in place of erf; erf(x) without the √2.
    Hint: 84.134 % of a normal distribution lie below 1, with some more digits. What is your GELU of 1?
    """
    share = np.vectorize(NormalDist().cdf)(as_array(case.x))
    assert_close(gelu(case.x), as_array(case.x) * share, ROUNDING, scale_of(case), what="x · Φ(x)")


@law("gelu", given=vectors_cases())
def gelu_agrees_with_the_reference(gelu: Function, case: VectorsCase) -> None:
    """The GELU agrees with the reference, entry by entry.

    Kills: constants of a few digits, such as 1.414 for √2; all else that the other laws overlook.
    Hint: Compare with the formula from the inside out, at x = 1: first x / √2, then its erf, then the share.
    """
    expected = reference.feed_forward.gelu(as_array(case.x))
    assert_close(gelu(case.x), expected, ROUNDING, scale_of(case))


@law("gelu", given=vectors_cases(kinds=("ordinary", "small")), needs_gradient=True)
def the_gradient_of_gelu_is_the_one_derived_by_hand(gelu: Function, case: VectorsCase) -> None:
    """The gradient of the GELU, derived by hand, agrees with autograd.

    Kills: Φ(x) alone; φ without the x; a share held constant.
    Hint: GELU(x) is a product of two things that both depend on x. Does the gradient reach x through both?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    expected = reference.feed_forward.gelu_gradient(as_array(upstream), as_array(case.x))
    scale = scale_of(case) ** 2 * float(upstream.abs().max())
    assert_close(slopes_of(gelu, case.x, upstream), expected, LAYER, scale, what="the gradient of x")


@law("gelu", given=vectors_cases(kinds=("ordinary", "small"), types=COARSE))
def in_bfloat16_gelu_agrees_with_the_reference(gelu: Function, case: VectorsCase) -> None:
    """In bfloat16 the GELU agrees with the reference, each entry relative to its own size.

    Kills: erf without the 1; the ½ forgotten; a share that was rounded to one digit.
    Hint: Is your result at 3 nearly 3, and at −3 nearly 0? Which of your steps is the first to leave the range?
    """
    assert_close_in_proportion(gelu(case.x), reference.feed_forward.gelu(as_array(case.x)), case)


# Its approximation


@law("gelu-tanh", given=fine_grid)
def the_approximation_is_near_the_gelu_and_is_not_it(gelu_tanh: Function, x: Tensor) -> None:
    """The tanh form lies within 0.0005 of the GELU, and errs by more than 0.0004 near x = ±2.7.

    Kills: the exact form under the name of the other; the sigmoid form; 0.044715 x² for x³.
    Hint: Plot your function minus the exact GELU from −6 to 6. Is it zero, small, or large on one side only?
    """
    distance = (gelu_tanh(x) - x * torch.special.ndtr(x)).abs()
    assert distance.max() < 5e-4, "the approximation should stay within 0.0005 of the GELU"
    assert distance.max() > 4e-4, "the approximation should be the published one, which errs by 0.0004"
    assert 2.6 < x[distance.argmax()].abs() < 2.8, "the approximation should err the most near ±2.7"


@law("gelu-tanh", given=vectors_cases())
def gelu_tanh_agrees_with_the_reference(gelu_tanh: Function, case: VectorsCase) -> None:
    """The approximation agrees with the reference, entry by entry.

    Kills: 0.0447 for 0.044715; 0.8 for √(2/π); all else that stays near the GELU.
    Hint: Compare with the formula from the inside out, at x = 1: first the polynomial, then its tanh, then the share.
    """
    expected = reference.feed_forward.gelu_tanh(as_array(case.x))
    assert_close(gelu_tanh(case.x), expected, ROUNDING, scale_of(case))


@law("gelu-tanh", given=vectors_cases(kinds=("ordinary", "small")), needs_gradient=True)
def the_gradient_of_gelu_tanh_is_the_one_derived_by_hand(gelu_tanh: Function, case: VectorsCase) -> None:
    """The gradient of the approximation, derived by hand, agrees with autograd.

    Kills: a share held constant; the slope of the inner polynomial forgotten.
    Hint: Follow the chain from x to the result. Through which of the places where x stands does no gradient come back?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    expected = reference.feed_forward.gelu_tanh_gradient(as_array(upstream), as_array(case.x))
    scale = scale_of(case) ** 2 * float(upstream.abs().max())
    assert_close(slopes_of(gelu_tanh, case.x, upstream), expected, LAYER, scale, what="the gradient of x")


@law("gelu-tanh", given=vectors_cases(kinds=("ordinary", "small"), types=COARSE))
def in_bfloat16_gelu_tanh_agrees_with_the_reference(gelu_tanh: Function, case: VectorsCase) -> None:
    """In bfloat16 the approximation agrees with the reference, each entry relative to its own size.

    Kills: √2 / π for √(2 / π); the ½ forgotten; a share that was rounded to one digit.
    Hint: Is your result at 3 nearly 3, and at −3 nearly 0? Which of your steps is the first to leave the range?
    """
    assert_close_in_proportion(gelu_tanh(case.x), reference.feed_forward.gelu_tanh(as_array(case.x)), case)


# ReLU


@law("relu", given=vectors_cases())
def relu_keeps_what_is_positive(relu: Function, case: VectorsCase) -> None:
    """What passes is never negative, passes again unchanged, and grows in proportion.

    Kills: a leak below zero; an absolute value; a smooth activation in its place.
    Hint: Apply your function twice, to a positive number and to a negative one. What changes the second time?
    """
    assert (relu(case.x) >= 0).all(), "nothing negative should pass"
    assert_same(relu(relu(case.x)), relu(case.x), what="what passes twice")
    assert_same(relu(3 * case.x), 3 * relu(case.x), what="three times what passes")
    assert not (relu(case.x) * relu(-case.x)).any(), "a number and its opposite should not both pass"


@law("relu", given=vectors_cases())
def relu_agrees_with_the_reference(relu: Function, case: VectorsCase) -> None:
    """ReLU agrees with the reference, bit for bit.

    Kills: a bound above, such as ReLU6; rounding of what passes; all else that the other laws overlook.
    Hint: What should happen to a number that is not below zero? Try a small one and a very large one.
    """
    assert_same(relu(case.x), reference.feed_forward.relu(as_array(case.x)))


@law("relu", given=vectors_cases(), needs_gradient=True)
def the_slope_of_relu_is_one_above_zero_and_zero_below(relu: Function, case: VectorsCase) -> None:
    """The slope of ReLU is 1 above zero and 0 below; at zero itself it is one of the two or lies between them.

    Kills: a leak below zero; a smooth activation in its place; a result that passes no gradient, as one of steps does.
    Hint: Draw your function from −1 to 1. How steep is it on the left, and how steep on the right?
    """
    slopes = slopes_of(relu, case.x, torch.ones_like(case.x))
    below, above = case.x < 0, case.x > 0
    assert_same(slopes[above], torch.ones_like(slopes[above]), what="the slope above zero")
    assert_same(slopes[below], torch.zeros_like(slopes[below]), what="the slope below zero")
    assert ((slopes >= 0) & (slopes <= 1)).all(), "the slope at zero should lie between those on its two sides"


@law("relu", given=vectors_cases(kinds=("ordinary", "large", "small")), needs_gradient=True)
def the_gradient_of_relu_is_the_one_derived_by_hand(relu: Function, case: VectorsCase) -> None:
    """The gradient of the ReLU, derived by hand, agrees with autograd, bit for bit: it passes, or it is 0.

    Kills: a gradient that passes below zero too, though the value does not; steps, which have no slope.
    Hint: Send a gradient of 7 back to −2. What arrives there, and through which of your steps did it come?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    expected = reference.feed_forward.relu_gradient(as_array(upstream), as_array(case.x))
    assert_same(slopes_of(relu, case.x, upstream), expected, what="the gradient of x")


@law("relu", given=vectors_cases(types=COARSE))
def in_bfloat16_relu_agrees_with_the_reference(relu: Function, case: VectorsCase) -> None:
    """In bfloat16 ReLU agrees with the reference, bit for bit, and its result is bfloat16 too.

    Kills: zeros in float32, which make the result float32; a bound above; a smooth activation in its place.
    Hint: Where does the 0 come from that you compare with, and of which type is it?
    """
    passed = relu(case.x)
    assert_same_type(passed, case.x)
    assert_same(passed, reference.feed_forward.relu(as_array(case.x)))
