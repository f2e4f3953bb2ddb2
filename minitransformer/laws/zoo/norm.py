"""Mutants of the norms."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.laws.zoo.sums import half_for_bfloat16, one_by_one, widened

# Layer norm


@mutant(
    "layer-norm",
    symptom="Loaded weights give outputs a little off: 29 % at width 2, but 0.07 % at width 768, where nobody sees it.",
    source="harvardnlp/annotated-transformer#122",
    difficulty="hard",
)
def deviation_over_d_minus_one(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """The variance divides by D − 1, as that of a sample does, in place of D."""
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True)
    return gain * centred / (variance + eps).sqrt() + bias


@mutant(
    "layer-norm",
    symptom="Trains as well as ever; only small inputs and loaded weights come out different.",
    source="harvardnlp/annotated-transformer#122",
    difficulty="hard",
)
def eps_outside_the_root(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Eps is added to the deviation, outside the root, and not to the variance."""
    centred = x - x.mean(-1, keepdim=True)
    deviation = x.var(-1, correction=0, keepdim=True).sqrt()
    return gain * centred / (deviation + eps) + bias


@mutant("layer-norm", symptom="NaN as soon as a position holds equal entries, as padding often does.")
def no_eps_at_all(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Eps is taken as an argument and never used."""
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / centred.square().mean(-1, keepdim=True).sqrt() + bias


@mutant(
    "layer-norm",
    symptom="Weights of BERT give slightly different vectors than they should, and worse ones in half precision.",
    difficulty="hard",
)
def an_eps_of_its_own(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Eps is 1e-5, PyTorch's default, whatever was asked for."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:], gain, bias, eps=1e-5)


@mutant("layer-norm", symptom="Trains, often as well; but a shift of the residual stream is handed on to every block.")
def mean_not_subtracted(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """The mean is subtracted for the variance only, and not from what is normalised."""
    variance = x.var(-1, correction=0, keepdim=True)
    return gain * x / (variance + eps).sqrt() + bias


@mutant(
    "layer-norm",
    symptom="A good training loss, but results change with the length of the sequence and with its padding.",
    difficulty="medium",
)
def statistics_over_the_sequence_too(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean and variance run over the positions as well as over the columns."""
    mean = x.mean((-2, -1), keepdim=True)
    variance = x.var((-2, -1), correction=0, keepdim=True)
    return gain * (x - mean) / (variance + eps).sqrt() + bias


@mutant("layer-norm", symptom="Evaluation in batches of one is far worse than training suggested.", difficulty="easy")
def batch_norm_in_its_place(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean and variance run over the batch, axis 0, which makes it a batch norm."""
    mean = x.mean(0, keepdim=True)
    variance = x.var(0, correction=0, keepdim=True)
    return gain * (x - mean) / (variance + eps).sqrt() + bias


@mutant("layer-norm", symptom="Trains; but the bias of loaded weights is scaled, and outputs are off.")
def gain_on_the_bias_too(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """The bias is added before the gain multiplies, so that the gain scales it too."""
    centred = x - x.mean(-1, keepdim=True)
    normal = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return gain * (normal + bias)


@mutant("layer-norm", symptom="The model trains a little worse, and the gains never move from where they began.")
def gain_forgotten(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """The gain is never multiplied."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() + bias


@mutant("layer-norm", symptom="Small vectors grow without bound and large ones vanish; training soon diverges.")
def divided_by_the_variance(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """It divides by the variance: the root is missing."""
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / (centred.square().mean(-1, keepdim=True) + eps) + bias


@mutant(
    "layer-norm",
    symptom="Fine for ordinary numbers; NaN or noise where the mean of a position is large beside its spread.",
    difficulty="hard",
)
def variance_from_two_means(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """The variance is mean(x²) − μ², two large numbers whose difference loses its digits."""
    mean = x.mean(-1, keepdim=True)
    variance = x.square().mean(-1, keepdim=True) - mean.square()
    return gain * (x - mean) / (variance + eps).sqrt() + bias


@mutant(
    "layer-norm",
    symptom="The forward pass is right to the last digit, yet training is unstable at the usual learning rate.",
    difficulty="hard",
)
def statistics_without_a_gradient(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Mean and deviation are detached, so that no gradient flows through them."""
    centred = x - x.mean(-1, keepdim=True).detach()
    deviation = (x.var(-1, correction=0, keepdim=True) + eps).sqrt().detach()
    return gain * centred / deviation + bias


@mutant(
    "layer-norm",
    symptom="Right in float32; in bfloat16 a wide model trains badly, for its means come out too small.",
    difficulty="hard",
)
def means_by_a_running_sum(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Entries and squares are added one by one in their own type; in bfloat16 such sums come to a stop."""
    width = x.shape[-1]
    centred = x - one_by_one(x) / width
    return gain * centred / (one_by_one(centred.square()) / width + eps).sqrt() + bias


@mutant(
    "layer-norm",
    symptom="In bfloat16 padding turns NaN, and so does a position with one very large entry.",
    difficulty="medium",
)
def norm_by_way_of_float16(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-12) -> Tensor:
    """Bfloat16 is taken for float16, in which BERT's eps is 0 and 256² is infinite."""
    half = half_for_bfloat16(x)
    centred = half - half.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return gain * (centred / deviation).to(x.dtype) + bias


# RMS norm


@mutant("rms-norm", symptom="Activations shrink by √D at every norm, and a deep model learns nothing.")
def sum_of_squares(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """It divides by the length of the vector: the squares are summed where their mean is meant."""
    return gain * x / (x.square().sum(-1, keepdim=True) + eps).sqrt()


@mutant(
    "rms-norm", symptom="Right to many digits until a vector is small; loaded weights differ there.", difficulty="hard"
)
def eps_added_to_the_root(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """Eps is added to the root of the mean square, and not to the mean square."""
    return gain * x / (x.square().mean(-1, keepdim=True).sqrt() + eps)


@mutant("rms-norm", symptom="Trains as well, but the weights of T5 or LLaMA give nonsense.")
def layer_norm_in_its_place(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """The mean is subtracted first, which makes it a layer norm without bias."""
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


@mutant(
    "rms-norm",
    symptom="Gemma's weights need it; everyone else's give activations that are far too large.",
    difficulty="medium",
)
def one_plus_the_gain(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """The gain counts from 1: it multiplies by 1 + gain."""
    return (1 + gain) * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


@mutant("rms-norm", symptom="A model without a mask leaks the future: one number of all positions scales each of them.")
def one_mean_square_for_all(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """The mean square is one number, taken over all positions of the batch."""
    return gain * x / (x.square().mean() + eps).sqrt()


@mutant(
    "rms-norm", symptom="A difference in the fifth digit between this model and the published one.", difficulty="hard"
)
def eps_as_a_floor(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """Eps is the least that it divides by the root of, and is not added."""
    return gain * x / x.square().mean(-1, keepdim=True).clamp(min=eps).sqrt()


@mutant("rms-norm", symptom="Small vectors come out huge and large ones tiny; the loss jumps about.", difficulty="easy")
def root_forgotten(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """It divides by the mean square itself: the root is missing."""
    return gain * x / (x.square().mean(-1, keepdim=True) + eps)


@mutant("rms-norm", symptom="All signs are lost: a model that cannot tell good from bad.", difficulty="easy")
def size_without_sign(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """It returns the root of the share of each square, and a root has no sign."""
    return gain * (x.square() / (x.square().mean(-1, keepdim=True) + eps)).sqrt()


@mutant(
    "rms-norm",
    symptom="Under bfloat16 everything from the first norm on is float32, at its price.",
    difficulty="medium",
)
def norm_left_in_float32(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """The position is raised to float32 for its mean square, which is wise, and not brought back."""
    wide = widened(x)
    return gain * wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt()


@mutant(
    "rms-norm",
    symptom="Right in float32; in bfloat16 the activations of a wide model are too large.",
    difficulty="hard",
)
def squares_of_a_position_one_by_one(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """The squares are added one by one in their own type; in bfloat16 their sum stops at 256 of them."""
    return gain * x / (one_by_one(x.square()) / x.shape[-1] + eps).sqrt()


@mutant(
    "rms-norm",
    symptom="The forward pass is right to the last digit, yet training is unstable at the usual learning rate.",
    difficulty="hard",
)
def mean_square_without_a_gradient(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """The mean square is detached, so that no gradient flows through it."""
    return gain * x / (x.square().mean(-1, keepdim=True) + eps).sqrt().detach()
