"""Laws of normalisation."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import COARSE, ManyCase, VectorsCase, many_cases, numbers, vectors_cases
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, ROUNDING, SUM, as_array, assert_close, assert_same, assert_same_type

Function = Callable[..., Tensor]

TINY = 1e-12
"""BERT's eps, which float16 rounds to 0 and bfloat16 does not."""


def plain(layer_norm: Function, case: VectorsCase) -> Tensor:
    """Layer norm with a gain of 1 and a bias of 0."""
    return layer_norm(case.x, torch.ones_like(case.gain), torch.zeros_like(case.bias), case.eps)


def rms_scale(case: VectorsCase) -> float:
    """The size of the largest result: nothing is subtracted here, so nothing cancels."""
    return (1 + float(case.gain.abs().max())) * math.sqrt(case.width)


def gradients_through(norm: Function, inputs: Sequence[Tensor], eps: float, upstream: Tensor) -> tuple[Tensor, ...]:
    """What autograd passes back to each input."""
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    result = norm(*leaves, eps)
    assert result.requires_grad, "the result should pass gradients back, but is cut off from what it came from"
    return torch.autograd.grad(result, leaves, upstream, materialize_grads=True)


def place_of(case: VectorsCase) -> tuple[int, int]:
    """The example and the position that are looked at while all others change."""
    return case.seed % case.batch, case.seed % case.length


def others_changed(case: VectorsCase) -> Tensor:
    """The vectors with other numbers everywhere but in one place."""
    others = torch.ones(case.batch, case.length, 1, dtype=torch.bool)
    others[place_of(case)] = False
    return torch.where(others, numbers(case.seed, "other", *case.x.shape, dtype=case.dtype), case.x)


# Layer norm


@law("layer-norm", given=vectors_cases(kinds=("ordinary", "large", "small")))
def every_position_has_mean_zero_and_the_variance_left_by_eps(layer_norm: Function, case: VectorsCase) -> None:
    """Without gain and bias, every position has mean 0 and mean square σ² / (σ² + eps), σ² the population variance.

    Kills: the variance that divides by D − 1; eps outside the root; no mean subtracted; the wrong axes.
    Hint: Normalise [1, 3] by hand, with a large eps. How many squares are there, and what do you divide their sum by?
    """
    normal = plain(layer_norm, case).double()
    variance = case.x.double().var(dim=-1, correction=0)
    zeros = torch.zeros_like(variance)
    assert_close(normal.mean(-1).to(case.dtype), zeros, SUM, case.scale, what="the mean of a normalised position")
    mean_square = normal.square().mean(-1).to(case.dtype)
    assert_close(mean_square, variance / (variance + case.eps), SUM, case.scale**2, what="its mean square")


@law("layer-norm", given=vectors_cases())
def adding_a_number_to_a_position_changes_nothing(layer_norm: Function, case: VectorsCase) -> None:
    """Adding a number to all entries of a position changes nothing.

    Kills: RMS norm in place of layer norm; a mean over several positions; mean(x²) − μ² for σ², which loses its digits.
    Hint: Normalise [1, 3] and [101, 103]. Which step of yours should make them the same?
    """
    shifted = layer_norm(case.x + 2.0, case.gain, case.bias, case.eps)
    expected = layer_norm(case.x, case.gain, case.bias, case.eps)
    scale = case.scale + 2 * (1 + float(case.gain.abs().max())) / math.sqrt(case.eps)
    assert_close(shifted, expected, SUM, scale, what="the norm of a shifted position")


@law("layer-norm", given=vectors_cases())
def multiplying_a_position_changes_nothing(layer_norm: Function, case: VectorsCase) -> None:
    """Multiplying a position by 4, and eps by 4², changes nothing.

    Kills: eps outside the root; division by the variance.
    Hint: If x is a length in metres, what are μ and σ² in, and what must eps be in, to be added?
    """
    stretched = layer_norm(4 * case.x, case.gain, case.bias, 16 * case.eps)
    expected = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_close(stretched, expected, SUM, case.scale, what="the norm of a stretched position")


@law("layer-norm", given=vectors_cases())
def gain_and_bias_act_on_the_normalised_position(layer_norm: Function, case: VectorsCase) -> None:
    """The gain multiplies the normalised position, and the bias is added last.

    Kills: gain or bias forgotten; the gain on the bias too; 1 + gain.
    Hint: Take the result at gain 1 and bias 0, and bring in the two by hand. In what order do they act in yours?
    """
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    expected = case.gain * plain(layer_norm, case) + case.bias
    assert_close(actual, expected, SUM, case.scale, what="gain · normal + bias")


@law("layer-norm", given=vectors_cases(kinds=("equal",)))
def equal_entries_give_the_bias(layer_norm: Function, case: VectorsCase) -> None:
    """A position with equal entries, and any position of width 1, gives the bias exactly, never NaN.

    Kills: no eps; the variance that divides by D − 1.
    Hint: What is the variance of equal entries, and what of a single one? What do you divide by then?
    """
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_same(actual, case.bias.expand_as(actual), what="the norm of equal entries")


@law("layer-norm", given=vectors_cases())
def positions_do_not_know_each_other(layer_norm: Function, case: VectorsCase) -> None:
    """Changing every other position leaves a position's norm as it was, bit for bit.

    Kills: the mean over the batch (batch norm), over the length, or over all at once.
    Hint: How many means does a batch of 2 sequences of 3 positions have? Print the shape of yours.
    """
    place = place_of(case)
    changed = layer_norm(others_changed(case), case.gain, case.bias, case.eps)
    expected = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_same(changed[place], expected[place], what="the norm of the only unchanged position")


@law("layer-norm", given=vectors_cases())
def layer_norm_agrees_with_the_reference(layer_norm: Function, case: VectorsCase) -> None:
    """Layer norm agrees with the reference, entry by entry.

    Kills: an eps of its own in place of the one given; all else that the other laws overlook.
    Hint: Set gain to 1, bias to 0 and eps to nearly 0, and bring them back one at a time. At which do you part?
    """
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    x, gain, bias = (as_array(tensor) for tensor in (case.x, case.gain, case.bias))
    assert_close(actual, reference.norm.layer_norm(x, gain, bias, case.eps), SUM, case.scale)


@law(
    "layer-norm",
    given=vectors_cases(kinds=("ordinary",)).filter(lambda case: case.width > 1),
    needs_gradient=True,
)
def the_gradient_of_layer_norm_is_the_one_derived_by_hand(layer_norm: Function, case: VectorsCase) -> None:
    """The gradients of the input, the gain and the bias, derived by hand, agree with autograd.

    Kills: the mean or the deviation held constant; D − 1; the gain forgotten on the way back.
    Hint: An entry moves the result directly, through the mean and through the deviation. Are all three ways open?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    expected = reference.norm.layer_norm_gradient(as_array(upstream), as_array(case.x), as_array(case.gain), case.eps)
    computed = gradients_through(layer_norm, (case.x, case.gain, case.bias), case.eps, upstream)
    smallest_deviation = float(np.std(as_array(case.x), axis=-1).min())
    scale = case.scale * (1 + 1 / smallest_deviation) * (1 + float(upstream.abs().sum()))
    for name, theirs, ours in zip(("x", "gain", "bias"), computed, expected, strict=True):
        assert_close(theirs, ours, LAYER, scale, what=f"the gradient of {name}")


@law("layer-norm", given=vectors_cases(types=COARSE))
def in_bfloat16_layer_norm_agrees_with_the_reference(layer_norm: Function, case: VectorsCase) -> None:
    """In bfloat16 layer norm agrees with the reference, relative to the entries before the mean is taken off them.

    Equal entries give the bias, as far as a mean in float32 can tell, never NaN, and the result is bfloat16 too.

    Kills: eps in float16, where 1e-12 is 0; a detour through float16, where 100,000 is ∞; a result in float32.
    Hint: Print the type of every step, and eps in that type. Is it still what was asked for?
    """
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_same_type(actual, case.x)
    if case.kind == "equal":
        # A mean of equal entries may miss them by its own rounding, which is then divided as they are.
        missed = case.scale * torch.finfo(torch.float32).eps / torch.finfo(torch.bfloat16).eps
        scale = float(case.bias.abs().max()) + missed
        assert_close(actual, case.bias.expand_as(actual), 1, scale, what="the norm of equal entries")
    x, gain, bias = (as_array(tensor) for tensor in (case.x, case.gain, case.bias))
    assert_close(actual, reference.norm.layer_norm(x, gain, bias, case.eps), ROUNDING, case.scale)


@law("layer-norm", given=many_cases())
def in_bfloat16_two_values_become_minus_one_and_one(layer_norm: Function, case: ManyCase) -> None:
    """In bfloat16 a wide position of two values, as many of each, becomes −1 and 1, however near each other they lie.

    Kills: mean(x²) − μ² for σ², which loses its digits; sums that are kept in bfloat16 while they grow, and stop.
    Hint: Let the values be 99 and 101. What are their squares in eight bits, and which of your steps needs these?
    """
    centre = case.size * (case.seed % 201 - 100)
    gain, bias = (numbers(case.seed, name, 2 * case.count).bfloat16() for name in ("gain", "bias"))
    actual = layer_norm(centre + case.size * case.balanced_signs, gain, bias, TINY)
    scale = 1 + float(gain.abs().max() + bias.abs().max())
    assert_close(actual, gain * case.balanced_signs + bias, ROUNDING, scale, what="the norm of two values")


# RMS norm


@law("rms-norm", given=vectors_cases())
def the_mean_square_is_what_eps_leaves(rms_norm: Function, case: VectorsCase) -> None:
    """Without gain, the mean square of a position is m / (m + eps), where m is its mean square before.

    Kills: the sum in place of the mean; eps outside the root; the mean subtracted; no root.
    Hint: Normalise [3, 3, 3, 3] with a tiny eps. What should come out, and which part of yours depends on the width?
    """
    mean_square = case.x.double().square().mean(-1)
    actual = rms_norm(case.x, torch.ones_like(case.gain), case.eps).double().square().mean(-1).to(case.dtype)
    assert_close(actual, mean_square / (mean_square + case.eps), SUM, what="the mean square")


@law("rms-norm", given=vectors_cases())
def rms_norm_keeps_the_direction(rms_norm: Function, case: VectorsCase) -> None:
    """RMS norm only stretches a position, whose sign and direction stay, and the gain multiplies the result.

    Kills: the mean subtracted; a bias; the gain forgotten.
    Hint: Divide your result at gain 1 by x, entry by entry. Is it the same number everywhere?
    """
    normal = rms_norm(case.x, torch.ones_like(case.gain), case.eps)
    opposite = rms_norm(-case.x, torch.ones_like(case.gain), case.eps)
    assert_same(opposite, -normal, what="the norm of the opposite")
    actual = rms_norm(case.x, case.gain, case.eps)
    assert_close(actual, case.gain * normal, ROUNDING, rms_scale(case), what="gain · normal")
    shares = case.x / case.x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    largest = normal.abs().amax(-1, keepdim=True)
    assert_close(normal, shares * largest, SUM, rms_scale(case), what="the position in its old direction")


@law("rms-norm", given=vectors_cases())
def rms_norm_looks_at_one_position_at_a_time(rms_norm: Function, case: VectorsCase) -> None:
    """Changing every other position leaves a position's RMS norm as it was, bit for bit.

    Kills: the mean square over the batch, over the length, or over all at once.
    Hint: How many mean squares does a batch of 2 sequences of 3 positions have? Print the shape of yours.
    """
    place = place_of(case)
    changed = rms_norm(others_changed(case), case.gain, case.eps)
    expected = rms_norm(case.x, case.gain, case.eps)
    assert_same(changed[place], expected[place], what="the norm of the only unchanged position")


@law("rms-norm", given=vectors_cases(kinds=("ordinary",)), equations=("rms-norm", "layer-norm"))
def rms_norm_of_the_centred_position_is_layer_norm(rms_norm: Function, case: VectorsCase) -> None:
    """Layer norm without bias is RMS norm of the position minus its mean.

    Kills: the sum in place of the mean; eps outside the root; the size of the position in place of its square.
    Hint: Once the mean is 0, the mean square is the variance. Write down what layer norm divides by, and compare.
    """
    centred = case.x - case.x.mean(-1, keepdim=True)
    x, gain = as_array(case.x), as_array(case.gain)
    expected = reference.norm.layer_norm(x, gain, np.zeros_like(gain), case.eps)
    assert_close(rms_norm(centred, case.gain, case.eps), expected, SUM, case.scale, what="layer norm without bias")


@law("rms-norm", given=vectors_cases())
def rms_norm_agrees_with_the_reference(rms_norm: Function, case: VectorsCase) -> None:
    """RMS norm agrees with the reference, entry by entry.

    Kills: an eps of its own in place of the one given; 1 + gain; all else that the other laws overlook.
    Hint: Set gain to 1 and eps to nearly 0, and bring them back one at a time. At which do you part?
    """
    expected = reference.norm.rms_norm(as_array(case.x), as_array(case.gain), case.eps)
    assert_close(rms_norm(case.x, case.gain, case.eps), expected, SUM, rms_scale(case))


@law("rms-norm", given=vectors_cases(kinds=("ordinary",)), needs_gradient=True)
def the_gradient_of_rms_norm_is_the_one_derived_by_hand(rms_norm: Function, case: VectorsCase) -> None:
    """The gradients of the input and the gain, derived by hand, agree with autograd.

    Kills: the mean square held constant; the gain forgotten on the way back; a result that left autograd.
    Hint: An entry moves the result directly and through the mean square. Are both ways open?
    """
    upstream = numbers(case.seed, "upstream", *case.x.shape, dtype=case.dtype)
    expected = reference.norm.rms_norm_gradient(as_array(upstream), as_array(case.x), as_array(case.gain), case.eps)
    computed = gradients_through(rms_norm, (case.x, case.gain), case.eps, upstream)
    smallest_size = float(np.sqrt(np.mean(as_array(case.x) ** 2, axis=-1)).min())
    scale = rms_scale(case) * (1 + 1 / smallest_size) * (1 + float(upstream.abs().sum()))
    for name, theirs, ours in zip(("x", "gain"), computed, expected, strict=True):
        assert_close(theirs, ours, LAYER, scale, what=f"the gradient of {name}")


@law("rms-norm", given=vectors_cases(types=COARSE))
def in_bfloat16_rms_norm_agrees_with_the_reference(rms_norm: Function, case: VectorsCase) -> None:
    """In bfloat16 RMS norm agrees with the reference, and its result is bfloat16 too.

    Kills: a result left in float32, to which the mean square was raised; a square in float16, where 256² is ∞.
    Hint: Print the type of every step. Where did you go to a wider one, and where do you come back?
    """
    actual = rms_norm(case.x, case.gain, case.eps)
    assert_same_type(actual, case.x)
    expected = reference.norm.rms_norm(as_array(case.x), as_array(case.gain), case.eps)
    assert_close(actual, expected, ROUNDING, rms_scale(case))


@law("rms-norm", given=many_cases())
def in_bfloat16_entries_of_one_size_become_their_signs(rms_norm: Function, case: ManyCase) -> None:
    """In bfloat16 a wide position whose entries are all of one size, up to 131,072, becomes their signs.

    Kills: a sum of squares that is kept in bfloat16 while it grows, and stops; squares in float16, where 256² is ∞.
    Hint: The mean square of a thousand entries of size 1 is 1. What does your sum of squares say after 256 of them?
    """
    gain = numbers(case.seed, "gain", case.count).bfloat16()
    actual = rms_norm(case.size * case.signs, gain, TINY)
    assert_close(actual, gain * case.signs, ROUNDING, 1 + float(gain.abs().max()), what="the norm of one size")
