"""Laws of normalisation."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from strategies import VectorsCase, numbers, parameters_of, randomise, vectors_cases
from tolerances import ROUNDING, SUM, as_array, assert_close, assert_same
from torch import Tensor

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.norm import LayerNorm, RMSNorm, layer_norm, rms_norm

pytestmark = pytest.mark.usefixtures("kernels_in_use")

Function = Callable[..., Tensor]


def plain(layer_norm: Function, case: VectorsCase, x: Tensor, eps: float) -> Tensor:
    """Layer norm with a gain of 1 and a bias of 0."""
    return layer_norm(x, torch.ones_like(case.gain), torch.zeros_like(case.bias), eps)


def every_position_has_mean_zero_and_the_variance_left_by_eps(layer_norm: Function, case: VectorsCase) -> None:
    normal = plain(layer_norm, case, case.x, case.eps).double()
    variance = case.x.double().var(dim=-1, correction=0)
    zeros = torch.zeros_like(variance)
    assert_close(normal.mean(-1).to(case.dtype), zeros, SUM, case.scale, what="the mean of a normalised position")
    mean_square = normal.square().mean(-1).to(case.dtype)
    assert_close(mean_square, variance / (variance + case.eps), SUM, case.scale**2, what="its mean square")


@pytest.mark.equation("layer-norm")
@given(case=vectors_cases(kinds=("ordinary", "large", "small")))
def test_every_position_has_mean_zero_and_the_variance_left_by_eps(case: VectorsCase) -> None:
    """Without gain and bias, every position has mean 0 and mean square σ² / (σ² + eps), σ² the population variance.

    Kills: the variance that divides by D − 1; eps outside the root; no mean subtracted; the wrong axes.
    """
    every_position_has_mean_zero_and_the_variance_left_by_eps(layer_norm, case)


def adding_a_number_to_a_position_changes_nothing(layer_norm: Function, case: VectorsCase) -> None:
    shifted = layer_norm(case.x + 2.0, case.gain, case.bias, case.eps)
    expected = layer_norm(case.x, case.gain, case.bias, case.eps)
    scale = case.scale + 2 * (1 + float(case.gain.abs().max())) / case.eps**0.5
    assert_close(shifted, expected, SUM, scale, what="the norm of a shifted position")


@pytest.mark.equation("layer-norm")
@given(case=vectors_cases())
def test_adding_a_number_to_a_position_changes_nothing(case: VectorsCase) -> None:
    """Adding a number to all entries of a position changes nothing.

    Kills: RMS norm in place of layer norm; a mean over several positions.
    """
    adding_a_number_to_a_position_changes_nothing(layer_norm, case)


def multiplying_a_position_changes_nothing(layer_norm: Function, case: VectorsCase) -> None:
    stretched = layer_norm(4 * case.x, case.gain, case.bias, 16 * case.eps)
    expected = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_close(stretched, expected, SUM, case.scale, what="the norm of a stretched position")


@pytest.mark.equation("layer-norm")
@given(case=vectors_cases())
def test_multiplying_a_position_changes_nothing(case: VectorsCase) -> None:
    """Multiplying a position by 4, and eps by 4², changes nothing.

    Kills: eps outside the root; division by the variance.
    """
    multiplying_a_position_changes_nothing(layer_norm, case)


def gain_and_bias_act_on_the_normalised_position(layer_norm: Function, case: VectorsCase) -> None:
    normal = plain(layer_norm, case, case.x, case.eps)
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_close(actual, case.gain * normal + case.bias, SUM, case.scale, what="gain · normal + bias")


@pytest.mark.equation("layer-norm")
@given(case=vectors_cases())
def test_gain_and_bias_act_on_the_normalised_position(case: VectorsCase) -> None:
    """The gain multiplies the normalised position, and the bias is added last.

    Kills: gain or bias forgotten; the gain on the bias too; 1 + gain.
    """
    gain_and_bias_act_on_the_normalised_position(layer_norm, case)


def equal_entries_give_the_bias(layer_norm: Function, case: VectorsCase) -> None:
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_same(actual, case.bias.expand_as(actual), what="the norm of equal entries")


@pytest.mark.equation("layer-norm")
@given(case=vectors_cases(kinds=("equal",)))
def test_equal_entries_give_the_bias(case: VectorsCase) -> None:
    """A position with equal entries, and any position of width 1, gives the bias exactly, never NaN.

    Kills: no eps; the variance that divides by D − 1.
    """
    equal_entries_give_the_bias(layer_norm, case)


def positions_do_not_know_each_other(norm: Callable[[Tensor], Tensor], case: VectorsCase) -> None:
    batch, position = case.seed % case.batch, case.seed % case.length
    others = torch.ones(case.batch, case.length, 1, dtype=torch.bool)
    others[batch, position] = False
    changed = torch.where(others, numbers(case.seed, "other", *case.x.shape, dtype=case.dtype), case.x)
    assert_same(norm(changed)[batch, position], norm(case.x)[batch, position], what="the only unchanged position")


@pytest.mark.equation("layer-norm", "rms-norm")
@given(case=vectors_cases())
def test_positions_do_not_know_each_other(case: VectorsCase) -> None:
    """Changing every other position leaves a position's norm as it was, bit for bit.

    Kills: the mean over the batch (batch norm), over the length, or over all at once.
    """
    positions_do_not_know_each_other(lambda x: layer_norm(x, case.gain, case.bias, case.eps), case)
    positions_do_not_know_each_other(lambda x: rms_norm(x, case.gain, case.eps), case)


@pytest.mark.equation("layer-norm")
@given(case=vectors_cases())
def test_layer_norm_agrees_with_the_reference_and_with_torch(case: VectorsCase) -> None:
    """Layer norm agrees with the reference and with PyTorch's own."""
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    arrays = (as_array(tensor) for tensor in (case.x, case.gain, case.bias))
    assert_close(actual, reference.norm.layer_norm(*arrays, case.eps), SUM, case.scale)
    assert_close(actual, F.layer_norm(case.x, (case.width,), case.gain, case.bias, case.eps), SUM, case.scale)


def rms_scale(case: VectorsCase) -> float:
    """The size of the largest result: nothing is subtracted here, so nothing cancels."""
    return (1 + float(case.gain.abs().max())) * case.width**0.5


def the_mean_square_is_what_eps_leaves(rms_norm: Function, case: VectorsCase) -> None:
    mean_square = case.x.double().square().mean(-1)
    actual = rms_norm(case.x, torch.ones_like(case.gain), case.eps).double().square().mean(-1).to(case.dtype)
    assert_close(actual, mean_square / (mean_square + case.eps), SUM, what="the mean square")


@pytest.mark.equation("rms-norm")
@given(case=vectors_cases())
def test_the_mean_square_is_what_eps_leaves(case: VectorsCase) -> None:
    """Without gain, the mean square of a position is m / (m + eps), where m is its mean square before.

    Kills: the sum in place of the mean; eps outside the root; the mean subtracted; no root.
    """
    the_mean_square_is_what_eps_leaves(rms_norm, case)


def rms_norm_keeps_the_direction(rms_norm: Function, case: VectorsCase) -> None:
    normal = rms_norm(case.x, torch.ones_like(case.gain), case.eps)
    assert_same(rms_norm(-case.x, torch.ones_like(case.gain), case.eps), -normal, what="the norm of the opposite")
    assert_close(rms_norm(case.x, case.gain, case.eps), case.gain * normal, ROUNDING, rms_scale(case))
    shares = case.x / case.x.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    largest = normal.abs().amax(-1, keepdim=True)
    assert_close(normal, shares * largest, SUM, rms_scale(case), what="the position in its old direction")


@pytest.mark.equation("rms-norm")
@given(case=vectors_cases())
def test_rms_norm_keeps_the_direction(case: VectorsCase) -> None:
    """RMS norm only stretches a position, whose sign and direction stay, and the gain multiplies the result.

    Kills: the mean subtracted; a bias; the gain forgotten.
    """
    rms_norm_keeps_the_direction(rms_norm, case)


@pytest.mark.equation("rms-norm", "layer-norm")
@given(case=vectors_cases(kinds=("ordinary",)))
def test_layer_norm_is_rms_norm_of_the_centred_position(case: VectorsCase) -> None:
    """Layer norm without bias is RMS norm of the position minus its mean."""
    centred = case.x - case.x.mean(-1, keepdim=True)
    actual = layer_norm(case.x, case.gain, torch.zeros_like(case.bias), case.eps)
    assert_close(actual, rms_norm(centred, case.gain, case.eps), SUM, case.scale)


@pytest.mark.equation("rms-norm")
@given(case=vectors_cases())
def test_rms_norm_agrees_with_the_reference_and_with_torch(case: VectorsCase) -> None:
    """RMS norm agrees with the reference and with PyTorch's own."""
    actual = rms_norm(case.x, case.gain, case.eps)
    expected = reference.norm.rms_norm(as_array(case.x), as_array(case.gain), case.eps)
    assert_close(actual, expected, SUM, rms_scale(case))
    assert_close(actual, F.rms_norm(case.x, (case.width,), case.gain, case.eps), SUM, rms_scale(case))


@pytest.mark.equation("layer-norm", "rms-norm")
@given(case=vectors_cases())
def test_the_modules_apply_the_equations(case: VectorsCase) -> None:
    """The modules apply the equations with their learned parameters, and agree with the reference's."""
    layer = randomise(LayerNorm(case.width, case.eps), case.seed, case.dtype)
    root = randomise(RMSNorm(case.width, case.eps), case.seed, case.dtype)
    assert_same(layer(case.x), layer_norm(case.x, layer.gain, layer.bias, case.eps))
    assert_same(root(case.x), rms_norm(case.x, root.gain, case.eps))
    expected = reference.norm.learned_layer_norm(parameters_of(layer), as_array(case.x), case.eps)
    assert_close(layer(case.x), expected, SUM, 2 * case.scale)
    expected = reference.norm.learned_rms_norm(parameters_of(root), as_array(case.x), case.eps)
    assert_close(root(case.x), expected, SUM, 2 * rms_scale(case))


def test_a_module_begins_with_a_gain_of_one_and_a_bias_of_zero() -> None:
    assert LayerNorm(3).gain.tolist() == RMSNorm(3).gain.tolist() == [1.0, 1.0, 1.0]
    assert LayerNorm(3).bias.tolist() == [0.0, 0.0, 0.0]
    assert (LayerNorm(3).eps, RMSNorm(3).eps) == (1e-12, 1e-6)
    assert str(LayerNorm(3)) == "LayerNorm(d_model=3, eps=1e-12)"
    assert str(RMSNorm(3)) == "RMSNorm(d_model=3, eps=1e-06)"


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_a_width_below_one_is_refused(norm: type[LayerNorm] | type[RMSNorm]) -> None:
    with pytest.raises(InputError, match="d_model=0 must be at least 1"):
        norm(0)
