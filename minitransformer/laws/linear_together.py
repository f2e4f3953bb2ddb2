"""Laws of layers side by side: several linear layers asked about the same input at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import Draw, distinct_sizes, dtypes, numbers, seeds
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import LAYER, SUM, as_array, assert_close, assert_same

Function = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class TogetherCase:
    """An input, and layers that are asked about it: square ones, as in attention, or each of a width of its own."""

    batch: int
    length: int
    width: int
    n_layers: int
    square: bool
    dtype: torch.dtype
    seed: int

    @property
    def widths(self) -> list[int]:
        """The width of what each layer says."""
        return [self.width if self.square else self.width + 2 * layer + 1 for layer in range(self.n_layers)]

    @property
    def chosen(self) -> int:
        """The layer that is looked at."""
        return self.seed % self.n_layers

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position."""
        return numbers(self.seed, "x", self.batch, self.length, self.width, dtype=self.dtype)

    @cached_property
    def weights(self) -> list[Tensor]:
        """The matrix of each layer, with a row for each number that it gives."""
        return [
            numbers(self.seed, f"weight {layer}", width, self.width, dtype=self.dtype)
            for layer, width in enumerate(self.widths)
        ]

    @cached_property
    def biases(self) -> list[Tensor]:
        """The bias of each layer."""
        return [numbers(self.seed, f"bias {layer}", width, dtype=self.dtype) for layer, width in enumerate(self.widths)]

    @cached_property
    def upstream(self) -> list[Tensor]:
        """What the loss gains for each number that each layer says."""
        return [
            numbers(self.seed, f"upstream {layer}", self.batch, self.length, width, dtype=self.dtype)
            for layer, width in enumerate(self.widths)
        ]

    @cached_property
    def scale(self) -> float:
        """The largest number on the way to a result."""
        largest = max(float((self.x.abs() @ weight.abs().T).max()) for weight in self.weights)
        return 1 + largest + max(float(bias.abs().max()) for bias in self.biases)

    @cached_property
    def size_of_gradients(self) -> float:
        """The largest number on the way back, where a sum runs over all positions or over all layers."""
        largest = max(float(each.abs().max()) for each in (*self.upstream, *self.weights, self.x))
        return (1 + largest**2) * (self.batch * self.length + sum(self.widths))


@st.composite
def together_cases(draw: Draw) -> TogetherCase:
    """Two layers, as keys and values, or three; down to a single position and a width of 1."""
    batch, length, width = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    n_layers, square = draw(st.sampled_from([2, 3])), draw(st.booleans())
    return TogetherCase(batch, length, width, n_layers, square, dtype=draw(dtypes), seed=draw(seeds))


def passed_back(
    together: Function, case: TogetherCase, upstream: list[Tensor], frozen: int | None = None
) -> tuple[Tensor, list[Tensor | None], list[Tensor | None]]:
    """What autograd passes back to the input, the matrices and the biases; nothing to a layer that is frozen."""
    x = case.x.clone().requires_grad_()
    weights, biases = (
        [tensor.clone().requires_grad_(layer != frozen) for layer, tensor in enumerate(tensors)]
        for tensors in (case.weights, case.biases)
    )
    parts = [part for part in together(x, weights, biases) if part.requires_grad]
    assert len(parts) == case.n_layers, "each part should pass gradients back, but some are cut off"
    leaves = [leaf for leaf in (x, *weights, *biases) if leaf.requires_grad]
    found = iter(torch.autograd.grad(parts, leaves, upstream, materialize_grads=True))
    for_x, for_weights, for_biases = (
        [next(found) if leaf.requires_grad else None for leaf in group] for group in ([x], weights, biases)
    )
    assert for_x[0] is not None
    return for_x[0], for_weights, for_biases


@law("linear-together", given=together_cases(), equations=())
def each_layer_says_what_it_says_alone(together: Function, case: TogetherCase) -> None:
    """What each layer says agrees with the reference, asked for that layer alone, in the order that they were given.

    Kills: parts in another order; rows dealt in turn; parts of equal width where the layers have others.
    Hint: Let the first matrix be zeros and the second one ones. In which part of your result do you see which?
    """
    for layer, part in enumerate(together(case.x, case.weights, case.biases)):
        expected = reference.feed_forward.linear(*map(as_array, (case.x, case.weights[layer], case.biases[layer])))
        assert_close(part, expected, SUM, case.scale, what=f"what layer {layer} says")


@law("linear-together", given=together_cases(), equations=())
def where_the_input_is_zero_each_layer_says_its_bias(together: Function, case: TogetherCase) -> None:
    """To an input of zeros each layer says its own bias, bit for bit.

    Kills: the bias of the first layer alone; biases left out or in another order.
    Hint: Put in zeros. Which numbers should come out of the second layer?
    """
    parts = together(torch.zeros_like(case.x), case.weights, case.biases)
    for layer, (part, bias) in enumerate(zip(parts, case.biases, strict=True)):
        assert_same(part, bias.expand(part.shape), what=f"what layer {layer} says to zeros")


@law("linear-together", given=together_cases(), equations=())
def another_layer_beside_it_changes_nothing(together: Function, case: TogetherCase) -> None:
    """When one layer is exchanged for another, what all others say stays as it was.

    Kills: a row of one matrix among the rows of another; a bias that is added to every part.
    Hint: Exchange the matrix of the keys. Do queries and values notice?
    """
    weights, biases = list(case.weights), list(case.biases)
    weights[case.chosen], biases[case.chosen] = 1 - weights[case.chosen], 1 - biases[case.chosen]
    before, after = together(case.x, case.weights, case.biases), together(case.x, weights, biases)
    for layer, (one, other) in enumerate(zip(before, after, strict=True)):
        if layer != case.chosen:
            assert_close(other, one, SUM, case.scale, what=f"what layer {layer} says beside another one")


@law("linear-together", given=together_cases(), equations=(), needs_gradient=True)
def each_layer_and_the_input_get_the_gradients_derived_by_hand(together: Function, case: TogetherCase) -> None:
    """Each layer gets the gradients that it would get alone, and the input the sum of what all pass back.

    Kills: gradients of one layer given to another; an input that hears of one layer alone.
    Hint: The input serves all layers. How many gradients come back to it, and what becomes of them?
    """
    for_x, *for_layers = passed_back(together, case, case.upstream)
    by_hand = [
        reference.feed_forward.linear_gradient(*map(as_array, (upstream, case.x, weight)))
        for upstream, weight in zip(case.upstream, case.weights, strict=True)
    ]
    total = sum(gradients[0] for gradients in by_hand)
    assert_close(for_x, total, LAYER, case.size_of_gradients, what="the gradient of the input")
    for place, name in enumerate(("weight", "bias")):
        for layer, found in enumerate(for_layers[place]):
            what = f"the gradient of the {name} of layer {layer}"
            assert_close(found, by_hand[layer][place + 1], LAYER, case.size_of_gradients, what=what)


@law("linear-together", given=together_cases(), equations=(), needs_gradient=True)
def what_one_layer_says_teaches_that_layer_alone(together: Function, case: TogetherCase) -> None:
    """What is passed back to one part reaches its own layer, and all others get zeros, exactly.

    Kills: gradients of keys given to values; a bias that learns for all.
    Hint: Let the loss be what the keys say. Which matrix learns, and which ones must not?
    """
    upstream = [each if layer == case.chosen else 0 * each for layer, each in enumerate(case.upstream)]
    _, *for_layers = passed_back(together, case, upstream)
    for name, gradients in zip(("weight", "bias"), for_layers, strict=True):
        for layer, found in enumerate(gradients):
            assert found is not None
            learns = bool(found.any())
            assert learns == (layer == case.chosen), f"the {name} of layer {layer} learns: {learns}"


@law("linear-together", given=together_cases(), equations=(), needs_gradient=True)
def beside_a_frozen_layer_all_others_learn(together: Function, case: TogetherCase) -> None:
    """When one layer is frozen, all others and the input get the gradients that they got before.

    Kills: one frozen layer that freezes all; a frozen layer that passes nothing on to the input.
    Hint: Freeze the keys alone. Is `requires_grad` still True for the matrix that you made of all three?
    """
    for_x, *before = passed_back(together, case, case.upstream)
    for_x_now, *now = passed_back(together, case, case.upstream, frozen=case.chosen)
    assert_close(for_x_now, for_x, LAYER, case.size_of_gradients, what="the gradient of the input")
    for name, once, again in zip(("weight", "bias"), before, now, strict=True):
        for layer, (one, other) in enumerate(zip(once, again, strict=True)):
            if layer != case.chosen:
                what = f"the gradient of the {name} of layer {layer} beside a frozen one"
                assert_close(other, one, LAYER, case.size_of_gradients, what=what)
