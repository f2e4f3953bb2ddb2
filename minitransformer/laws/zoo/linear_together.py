"""Mutants of layers side by side: of how they are put together and cut apart, and of what goes back."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.fast_functions import linear_together
from minitransformer.laws.zoo.mutant import Part, mutant, part_of

Gradients = tuple[Tensor, list[Tensor], list[Tensor]]


def cut(said: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """What is right in most mutants: each layer's part is as wide as the layer."""
    return list(torch.split(said, [len(weight) for weight in weights], dim=-1))


# Together and apart


@mutant("linear-together", symptom="Trains as well; but with loaded weights queries and values are exchanged.")
def stacked_in_the_opposite_order(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """The matrices are stacked as value, key and query, and cut apart as query, key and value."""
    return cut(F.linear(x, torch.cat(list(weights)[::-1]), torch.cat(list(biases)[::-1])), weights)


@mutant("linear-together", symptom="Trains as well; with loaded weights keys and values are a little off everywhere.")
def bias_of_the_first_alone(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """The bias of the first layer is put beside zeros for all others."""
    others = [torch.zeros_like(bias) for bias in biases[1:]]
    return cut(F.linear(x, torch.cat(list(weights)), torch.cat([biases[0], *others])), weights)


@mutant("linear-together", symptom="Nothing, until keys and values have fewer heads than queries.", difficulty="medium")
def cut_into_equal_parts(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """What all layers say is cut into parts of one width, whatever the widths of the layers."""
    said = F.linear(x, torch.cat(list(weights)), torch.cat(list(biases)))
    return list(torch.tensor_split(said, len(weights), dim=-1))


@mutant(
    "linear-together",
    symptom="Trains as well from the start; loaded weights are noise, for codes differ in how they stack heads.",
    difficulty="hard",
)
def rows_dealt_in_turn(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """The matrices stand one below the other, but rows are dealt to query, key and value in turn."""
    said = F.linear(x, torch.cat(list(weights)), torch.cat(list(biases)))
    return [said[..., layer :: len(weights)] for layer in range(len(weights))]


@mutant("linear-together", symptom="Trains as well; loaded weights are noise in every layer.", difficulty="medium")
def matrices_of_the_other_layout(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """The matrices are read as if their columns, and not their rows, were what they give, as in GPT-2's files."""
    side_by_side = torch.cat([weight.reshape(x.shape[-1], -1) for weight in weights], dim=1)
    return cut(x @ side_by_side + torch.cat(list(biases)), weights)


@mutant("linear-together", symptom="A little worse: queries, keys and values are all moved by one vector.")
def one_bias_for_all(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """The biases are added up to one, which each part gets as much of as it is wide."""
    shared = torch.stack([bias[: min(map(len, biases))] for bias in biases]).sum(0)
    wide = [F.pad(shared, (0, len(bias) - len(shared))) for bias in biases]
    return cut(F.linear(x, torch.cat(list(weights)), torch.cat(wide)), weights)


# What goes back


@mutant("linear-together", symptom="Attention stays as it was drawn, while everything around it learns.")
def put_together_outside_of_autograd(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """The matrices are stacked once, from their bare numbers, and what the copy hears never reaches the originals."""
    stacked = torch.cat([weight.detach() for weight in weights])
    return cut(F.linear(x, stacked, torch.cat([bias.detach() for bias in biases])), weights)


@mutant(
    "linear-together",
    symptom="Right, until the keys are frozen for fine-tuning: then queries and values stand still too.",
    difficulty="hard",
)
def a_frozen_one_freezes_all(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Tensor]:
    """One parameter is made of all, which learns only if every part of it does."""
    stacked, bias = torch.cat(list(weights)), torch.cat(list(biases))
    if torch.is_grad_enabled() and not all(weight.requires_grad for weight in weights):
        stacked, bias = stacked.detach(), bias.detach()
    return cut(F.linear(x, stacked, bias), weights)


class Together(torch.autograd.Function):
    """All layers in one product; what becomes of it on the way back is an argument."""

    @staticmethod
    def forward(ctx: Any, back: Callable[..., Gradients], x: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        """What is right in all mutants of what goes back."""
        weights, biases = layers[: len(layers) // 2], layers[len(layers) // 2 :]
        ctx.back, ctx.x, ctx.weights = back, x, weights
        return tuple(part.clone() for part in cut(F.linear(x, torch.cat(weights), torch.cat(biases)), weights))

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """What one mistake is in."""
        by_x, by_weights, by_biases = ctx.back(upstream, ctx.x, ctx.weights)
        return None, by_x, *by_weights, *by_biases


def whole(back: Part) -> Part:
    """Layers side by side with a way back of their own."""
    return lambda x, weights, biases: list(Together.apply(back, x, *weights, *biases))  # type: ignore[no-untyped-call]


going_back = part_of(whole, linear_together)


def by_weight(upstream: Tensor, x: Tensor) -> Tensor:
    """What is right in most mutants: the matrix of a layer hears from every position."""
    return upstream.flatten(0, -2).T @ x.flatten(0, -2)


def by_bias(upstream: Tensor) -> Tensor:
    """What is right in most mutants: so does its bias."""
    return upstream.flatten(0, -2).sum(0)


def by_input(upstream: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """What is right in most mutants: the input hears from every layer."""
    return torch.cat(list(upstream), -1) @ torch.cat(list(weights))


@mutant(
    "linear-together",
    symptom="The loss falls, slowly: what the keys should learn the values learn, and the other way round.",
    difficulty="hard",
)
@going_back
def gradients_of_keys_given_to_values(upstream: Sequence[Tensor], x: Tensor, weights: Sequence[Tensor]) -> Gradients:
    """The gradients of the last two layers are given back in the opposite order."""
    *first, keys, values = upstream
    by_weights = [by_weight(each, x) for each in (*first, values, keys)]
    return by_input(upstream, weights), by_weights, [by_bias(each) for each in upstream]


@mutant("linear-together", symptom="The layers below learn through the values alone, at a third of the speed.")
@going_back
def input_hears_of_the_last_layer_alone(upstream: Sequence[Tensor], x: Tensor, weights: Sequence[Tensor]) -> Gradients:
    """What each layer passes back to the input replaces what the one before did, and is not added."""
    for each, weight in zip(upstream, weights, strict=True):
        by_x = each @ weight
    return by_x, [by_weight(each, x) for each in upstream], [by_bias(each) for each in upstream]


@mutant("linear-together", symptom="Biases hardly move, the less the longer the texts.", difficulty="medium")
@going_back
def biases_hear_a_mean(upstream: Sequence[Tensor], x: Tensor, weights: Sequence[Tensor]) -> Gradients:
    """What is passed back to a bias is averaged over the positions, and not summed up."""
    biases = [each.flatten(0, -2).mean(0) for each in upstream]
    return by_input(upstream, weights), [by_weight(each, x) for each in upstream], biases
