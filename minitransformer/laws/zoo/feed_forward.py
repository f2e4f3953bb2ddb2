"""Mutants of the activations."""

import math

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.sums import half_for_bfloat16, widened

# The GELU


@mutant(
    "gelu",
    symptom="BERT's published weights give answers that differ in the fourth digit.",
    difficulty="medium",
)
def tanh_form_for_gelu(x: Tensor) -> Tensor:
    """It is the tanh approximation, which GPT-2 uses, and not the GELU itself."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@mutant("gelu", symptom="Close enough to train, and 0.02 off where it matters for loaded weights.", difficulty="easy")
def sigmoid_form_for_gelu(x: Tensor) -> Tensor:
    """It is x · σ(1.702 x), the quick approximation that CLIP uses."""
    return x * torch.sigmoid(1.702 * x)


@mutant("gelu", symptom="Trains as well as ever; loaded weights give worse answers, and nobody knows why.")
def erf_without_the_root_of_two(x: Tensor) -> Tensor:
    """X is not divided by √2 before the erf, so that the normal distribution has the wrong width."""
    return x * 0.5 * (1 + torch.erf(x))


@mutant("gelu", symptom="The feed-forward layers can't tell a number from its opposite.")
def erf_without_the_one(x: Tensor) -> Tensor:
    """The 1 before the erf is missing, so that the share runs from −½ to ½."""
    return x * 0.5 * torch.erf(x / math.sqrt(2))


@mutant("gelu", symptom="Activations double in every block; deep models diverge.", difficulty="easy")
def half_forgotten_in_gelu(x: Tensor) -> Tensor:
    """The ½ is missing, so that shares run from 0 to 2."""
    return x * (1 + torch.erf(x / math.sqrt(2)))


@mutant(
    "gelu",
    symptom="Nothing to see in training; tests against another library fail in the fifth digit.",
    difficulty="hard",
)
def few_digits_of_the_root(x: Tensor) -> Tensor:
    """√2 is written as 1.414, with too few digits."""
    return x * 0.5 * (1 + torch.erf(x / 1.414))


@mutant(
    "gelu",
    symptom="The forward pass is right, and the model learns more slowly than the published one.",
    difficulty="hard",
)
def share_without_a_gradient(x: Tensor) -> Tensor:
    """The share that passes is detached, so that only the factor x gets a gradient."""
    share = 0.5 * (1 + torch.erf(x.detach() / math.sqrt(2)))
    return x * share


@mutant(
    "gelu", symptom="Fine for a thousand steps, then NaN in the gradient of one large activation.", difficulty="hard"
)
def share_by_an_exponential(x: Tensor) -> Tensor:
    """The share is 1 / (1 + exp(−1.702 x)), whose exponential overflows and passes NaN back."""
    return x / (1 + torch.exp(-1.702 * x))


@mutant("gelu", symptom="Right for days of training in bfloat16, then NaN: one activation grew beyond 65,504.")
def gelu_by_way_of_float16(x: Tensor) -> Tensor:
    """Bfloat16 is taken for float16, whose numbers end at 65,504."""
    half = half_for_bfloat16(x)
    return (half * 0.5 * (1 + torch.erf(half / math.sqrt(2)))).to(x.dtype)


# Its approximation


@mutant("gelu-tanh", symptom="GPT-2's published weights give answers that differ in the fourth digit.")
def gelu_for_its_tanh_form(x: Tensor) -> Tensor:
    """It is the exact GELU, and not the approximation that was asked for."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


@mutant(
    "gelu-tanh", symptom="Trains; the activation is wrong on one side of zero only, where x² and x³ differ in sign."
)
def square_for_the_cube(x: Tensor) -> Tensor:
    """The polynomial has x² where x³ is meant."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**2)))


@mutant("gelu-tanh", symptom="Nothing to see but a difference in the sixth digit.", difficulty="hard")
def few_digits_of_the_constant(x: Tensor) -> Tensor:
    """0.044715 is written as 0.0447."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.0447 * x**3)))


@mutant("gelu-tanh", symptom="Trains as well as ever, and loaded weights answer a little differently.")
def root_of_the_numerator_only(x: Tensor) -> Tensor:
    """√2 / π stands where √(2 / π) is meant."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2) / math.pi * (x + 0.044715 * x**3)))


@mutant("gelu-tanh", symptom="NaN as soon as one activation is large.", difficulty="medium")
def tanh_written_out(x: Tensor) -> Tensor:
    """The tanh is a quotient of exponentials, which overflow to ∞ / ∞."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    tanh = (inner.exp() - (-inner).exp()) / (inner.exp() + (-inner).exp())
    return 0.5 * x * (1 + tanh)


@mutant("gelu-tanh", symptom="The forward pass is right, and the model learns more slowly.", difficulty="hard")
def tanh_without_a_gradient(x: Tensor) -> Tensor:
    """The tanh is computed without gradients, as if the share did not depend on x."""
    with torch.no_grad():
        tanh = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + tanh)


@mutant("gelu-tanh", symptom="Activations double in every block.", difficulty="easy")
def half_forgotten_in_tanh_form(x: Tensor) -> Tensor:
    """The ½ is missing, so that shares run from 0 to 2."""
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@mutant(
    "gelu-tanh",
    symptom="Under bfloat16 the widest tensors of the model are float32, at their price.",
    difficulty="medium",
)
def tanh_form_left_in_float32(x: Tensor) -> Tensor:
    """The cube is taken in float32, which is wise, and the result is not brought back."""
    wide = widened(x)
    return 0.5 * wide * (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))


# ReLU


@mutant("relu", symptom="Trains, and is no ReLU: units never fall silent.", difficulty="easy")
def leak_below_zero(x: Tensor) -> Tensor:
    """One hundredth of what is negative leaks through."""
    return torch.where(x > 0, x, 0.01 * x)


@mutant("relu", symptom="Strongly negative evidence counts as strongly positive.", difficulty="easy")
def absolute_value(x: Tensor) -> Tensor:
    """What is negative is turned round in place of being dropped."""
    return x.abs()


@mutant("relu", symptom="Trains; large activations are cut, and loaded weights fail on a few inputs only.")
def bound_above(x: Tensor) -> Tensor:
    """Nothing above 6 passes, which makes it a ReLU6."""
    return x.clamp(0, 6)


@mutant(
    "relu", symptom="Trains, but what was silent is faintly heard, and activations are never sparse.", difficulty="easy"
)
def softplus_in_its_place(x: Tensor) -> Tensor:
    """It is ln(1 + eˣ), a smooth curve near the ReLU."""
    return torch.log1p(x.exp())


@mutant("relu", symptom="The network below this activation never learns.", difficulty="medium")
def steps_without_a_gradient(x: Tensor) -> Tensor:
    """What passes is read out of autograd, so that no gradient reaches x."""
    return torch.tensor([max(0.0, number) for number in x.flatten().tolist()], dtype=x.dtype).reshape(x.shape)


@mutant("relu", symptom="Everything useful is dropped; the loss falls slowly, if at all.", difficulty="easy")
def minimum_for_maximum(x: Tensor) -> Tensor:
    """It keeps what is negative: a minimum stands where a maximum is meant."""
    return x.clamp(max=0)


@mutant("relu", symptom="All that passes has the same size: the layer counts, and no longer measures.")
def gate_for_its_value(x: Tensor) -> Tensor:
    """It returns the gate, 1 or 0, without multiplying it by x."""
    return (x > 0).to(x.dtype)


@mutant("relu", symptom="Under bfloat16 everything from the first activation on is float32.", difficulty="medium")
def zeros_in_float32(x: Tensor) -> Tensor:
    """It is the larger of x and of zeros that are in float32 whatever x is in."""
    return torch.maximum(x, torch.zeros(x.shape))


@mutant("relu", symptom="The forward pass is right; silent units are pushed about all the same.", difficulty="hard")
def slope_of_one_everywhere(x: Tensor) -> Tensor:
    """What is dropped is subtracted as a constant, so that the gradient passes below zero too."""
    return x - x.clamp(max=0).detach()
