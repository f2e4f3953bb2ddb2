"""The modules of normalisation, and PyTorch's opinion of the equations; their laws are in minitransformer/laws."""

import pytest
import torch.nn.functional as F
from hypothesis import given

from minitransformer import reference
from minitransformer.errors import InputError
from minitransformer.laws.cases import VectorsCase, parameters_of, randomise, vectors_cases
from minitransformer.laws.norm import rms_scale
from minitransformer.laws.tolerances import SUM, as_array, assert_close, assert_same
from minitransformer.norm import LayerNorm, RMSNorm, layer_norm, rms_norm

pytestmark = pytest.mark.usefixtures("kernels_in_use")


@pytest.mark.equation("layer-norm")
@given(case=vectors_cases())
def test_layer_norm_agrees_with_torch(case: VectorsCase) -> None:
    """Layer norm agrees with PyTorch's own."""
    actual = layer_norm(case.x, case.gain, case.bias, case.eps)
    assert_close(actual, F.layer_norm(case.x, (case.width,), case.gain, case.bias, case.eps), SUM, case.scale)


@pytest.mark.equation("rms-norm")
@given(case=vectors_cases())
def test_rms_norm_agrees_with_torch(case: VectorsCase) -> None:
    """RMS norm agrees with PyTorch's own."""
    actual = rms_norm(case.x, case.gain, case.eps)
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
