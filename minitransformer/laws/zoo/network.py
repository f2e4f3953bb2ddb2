"""Mutants of the feed-forward network."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant


def inner(parameters: Parameters, x: Tensor) -> Tensor:
    """What is right in most mutants: the first map."""
    return F.linear(x, parameters["inner.weight"], parameters["inner.bias"])


def outer(parameters: Parameters, units: Tensor) -> Tensor:
    """What is right in most mutants: the second map."""
    return F.linear(units, parameters["outer.weight"], parameters["outer.bias"])


@mutant(
    "feed-forward",
    symptom="Trains to a clearly worse loss: two linear maps in a row can do no more than one.",
    difficulty="easy",
)
def activation_forgotten(parameters: Parameters, x: Tensor) -> Tensor:
    """There is no activation between the two maps."""
    return outer(parameters, inner(parameters, x))


@mutant(
    "feed-forward",
    symptom="The residual stream only ever grows: the network can add to a number and never take away.",
    difficulty="medium",
)
def activation_after_the_second_map(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation comes after both maps, and not between them."""
    return outer(parameters, inner(parameters, x)).relu()


@mutant(
    "feed-forward",
    symptom="Learns slowly; half of what the network says never arrives.",
    difficulty="medium",
)
def activation_after_both_maps(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation comes after the second map too, as a loop over layers easily has it."""
    return outer(parameters, inner(parameters, x).relu()).relu()


@mutant(
    "feed-forward",
    symptom="Deep stacks diverge: the input is added twice, here and in the residual connection around it.",
    difficulty="medium",
)
def residual_inside_the_network(parameters: Parameters, x: Tensor) -> Tensor:
    """The input is added inside, though the block around it adds it again."""
    return x + outer(parameters, inner(parameters, x).relu())


@mutant(
    "feed-forward",
    symptom="Trains as well as ever; loaded weights give answers that are a little off everywhere.",
    difficulty="medium",
)
def second_bias_missing(parameters: Parameters, x: Tensor) -> Tensor:
    """The second map has no bias."""
    return F.linear(inner(parameters, x).relu(), parameters["outer.weight"])


@mutant(
    "feed-forward",
    symptom="Trains a little worse: no unit can choose where it opens.",
    difficulty="hard",
)
def first_bias_after_the_activation(parameters: Parameters, x: Tensor) -> Tensor:
    """The first bias is added to what has passed the activation."""
    units = F.linear(x, parameters["inner.weight"]).relu() + parameters["inner.bias"]
    return outer(parameters, units)


@mutant(
    "feed-forward",
    symptom="The loss is too good in training, and results change with the length of the sequence.",
    difficulty="medium",
)
def units_centred_over_the_sequence(parameters: Parameters, x: Tensor) -> Tensor:
    """The mean over the positions is taken off the inner units, so that each position hears of all others."""
    units = inner(parameters, x)
    return outer(parameters, (units - units.mean(1, keepdim=True)).relu())


@mutant(
    "feed-forward",
    symptom="Nothing in training; loaded weights give nonsense, though every shape fits.",
    difficulty="hard",
)
def matrices_reshaped_for_transposed(parameters: Parameters, x: Tensor) -> Tensor:
    """Matrices are brought into the shape of their transpose by a reshape, which cuts them up."""
    first, second = parameters["inner.weight"], parameters["outer.weight"]
    units = (x @ first.reshape(first.shape[1], first.shape[0]) + parameters["inner.bias"]).relu()
    return units @ second.reshape(second.shape[1], second.shape[0]) + parameters["outer.bias"]


@mutant(
    "feed-forward",
    symptom="A wider network is no better than a narrow one, and most of its units never move.",
    difficulty="medium",
)
def no_wider_inside_than_outside(parameters: Parameters, x: Tensor) -> Tensor:
    """Only the first d_model of the inner units are used, since d_model was taken for d_ff."""
    d_model = x.shape[-1]
    units = inner(parameters, x)[..., :d_model].relu()
    return F.linear(units, parameters["outer.weight"][:, :d_model], parameters["outer.bias"])


@mutant(
    "feed-forward",
    symptom="Trains as well, or better; weights of a model with the ReLU give slightly wrong answers.",
    difficulty="medium",
)
def gelu_for_relu(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation is the GELU, BERT's, where the ReLU was asked for."""
    return outer(parameters, F.gelu(inner(parameters, x)))


@mutant("feed-forward", symptom="Fine at first; units that grow beyond 6 stop learning.", difficulty="medium")
def activation_with_a_bound(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation passes nothing beyond 6."""
    return outer(parameters, F.relu6(inner(parameters, x)))


@mutant(
    "feed-forward",
    symptom="Learns slowly: only one unit speaks at each position.",
    difficulty="easy",
)
def units_that_compete(parameters: Parameters, x: Tensor) -> Tensor:
    """The units share a softmax in place of an activation of their own."""
    return outer(parameters, inner(parameters, x).softmax(-1))


@mutant(
    "feed-forward",
    symptom="The forward pass is right, and the first map stays as it was drawn.",
    difficulty="medium",
)
def inner_units_without_a_gradient(parameters: Parameters, x: Tensor) -> Tensor:
    """The inner units were detached, to be kept for a plot, so that nothing before them learns."""
    return outer(parameters, inner(parameters, x).relu().detach())


@mutant("feed-forward", symptom="Evaluation gives another result each time.", difficulty="easy")
def dropout_of_the_units_left_on(parameters: Parameters, x: Tensor) -> Tensor:
    """A tenth of the inner units is dropped in evaluation too."""
    return outer(parameters, F.dropout(inner(parameters, x).relu(), 0.1))


@mutant(
    "feed-forward",
    symptom="In bfloat16 the next layer complains of a float32, or memory use doubles in silence.",
    difficulty="hard",
)
def network_left_in_float32(parameters: Parameters, x: Tensor) -> Tensor:
    """All is computed in float32, for safety, and what comes out is never brought back to the type of the input."""
    in_float32 = {name: tensor.float() for name, tensor in parameters.items()}
    return outer(in_float32, torch.relu(inner(in_float32, x.float())))
