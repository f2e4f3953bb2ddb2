"""Laws of the feed-forward network: two linear maps with an activation between, the same at every position."""

from collections.abc import Callable

import torch
from torch import Tensor

from minitransformer import reference
from minitransformer.feed_forward import FeedForward
from minitransformer.laws.cases import SequenceCase, numbers, randomise, sequence_cases, shuffled
from minitransformer.laws.gradients import gradients_by_name
from minitransformer.laws.law import law
from minitransformer.laws.modules import Parameters
from minitransformer.laws.tolerances import LAYER, SUM, as_array, as_arrays, assert_close, assert_same

Function = Callable[..., Tensor]

cases = sequence_cases(visibilities=("all",))
FAR = 100.0
"""A bias of this size opens or closes a unit at every position."""
POWER_OF_TWO = 2.0**13
"""A large factor that rounds nothing."""


def parameters_for(case: SequenceCase) -> Parameters:
    """Two matrices and two biases with numbers of their own."""
    return dict(randomise(FeedForward(case.d_model, case.d_ff), case.seed, case.dtype).state_dict())


@law("feed-forward", given=cases)
def changing_other_positions_changes_nothing_here(feed_forward: Function, case: SequenceCase) -> None:
    """Each position is mapped without a look at the others, bit for bit.

    Kills: a map along the length; anything taken over positions, such as a mean or a softmax.
    Hint: Change the last word of the sequence. Should the network say anything else about the first one?
    """
    parameters, position = parameters_for(case), case.seed % case.length
    others = (torch.arange(case.length) != position)[:, None]
    changed = torch.where(others, numbers(case.seed, "other", *case.x.shape, dtype=case.dtype), case.x)
    found, expected = (feed_forward(parameters, x)[:, position] for x in (changed, case.x))
    assert_same(found, expected, what=f"position {position}, the only one that did not change,")


@law("feed-forward", given=cases)
def inner_units_have_no_order(feed_forward: Function, case: SequenceCase) -> None:
    """Shuffling the inner units, with their rows of W₁ and b₁ and their columns of W₂, changes nothing.

    Kills: only some of the units used; matrices brought into shape by a reshape.
    Hint: Nobody can tell the inner units apart but by their weights. What in your code knows which unit is the first?
    """
    parameters, order = parameters_for(case), shuffled(case.seed, "order", case.d_ff)
    moved = {
        "inner.weight": parameters["inner.weight"][order],
        "inner.bias": parameters["inner.bias"][order],
        "outer.weight": parameters["outer.weight"][:, order],
        "outer.bias": parameters["outer.bias"],
    }
    found, expected = feed_forward(moved, case.x), feed_forward(parameters, case.x)
    assert_close(found, expected, LAYER, what="the output with the inner units shuffled")


@law("feed-forward", given=cases)
def closed_units_say_nothing(feed_forward: Function, case: SequenceCase) -> None:
    """Where every inner unit is far below zero, the output is b₂, bit for bit.

    Kills: the activation forgotten, or applied after the second map; the second bias missing; the input added inside.
    Hint: Let all inner units be −100. What does the ReLU make of them, and what is left to be added at the end?
    """
    parameters = parameters_for(case)
    parameters["inner.bias"] = parameters["inner.bias"] - FAR
    found = feed_forward(parameters, case.x)
    assert_same(found, parameters["outer.bias"].expand_as(found), what="the output of closed units")


@law("feed-forward", given=cases)
def open_units_pass_everything(feed_forward: Function, case: SequenceCase) -> None:
    """Where every inner unit is far above zero, the network is its two linear maps, one after the other.

    Kills: the activation after the second map, or in both places; an activation with a bound; a bias forgotten.
    Hint: Let all inner units be about 100. Which of them does the ReLU change, and which numbers come after it?
    """
    parameters = parameters_for(case)
    parameters["inner.bias"] = parameters["inner.bias"] + FAR
    arrays = as_arrays(parameters)
    inner = reference.feed_forward.linear(as_array(case.x), arrays["inner.weight"], arrays["inner.bias"])
    expected = reference.feed_forward.linear(inner, arrays["outer.weight"], arrays["outer.bias"])
    assert_close(feed_forward(parameters, case.x), expected, LAYER, 2 * FAR, what="the output of open units")


@law("feed-forward", given=cases)
def the_first_map_may_grow_as_the_second_shrinks(feed_forward: Function, case: SequenceCase) -> None:
    """Multiplying W₁ and b₁ by a large power of two and dividing W₂ by it changes nothing, bit for bit.

    Kills: a smooth or bounded activation in place of the ReLU; the first bias added after the activation.
    Hint: The ReLU of 2 x is twice the ReLU of x. Is that so for everything that stands between your two maps?
    """
    parameters = parameters_for(case)
    factors = {"inner.weight": POWER_OF_TWO, "inner.bias": POWER_OF_TWO, "outer.weight": 1 / POWER_OF_TWO}
    stretched = {name: factors.get(name, 1.0) * tensor for name, tensor in parameters.items()}
    found, expected = feed_forward(stretched, case.x), feed_forward(parameters, case.x)
    assert_same(found, expected, what="the output of a larger first map and a smaller second one")


@law("feed-forward", given=cases)
def the_network_agrees_with_the_reference(feed_forward: Function, case: SequenceCase) -> None:
    """The network agrees with the reference.

    Kills: no activation; the activation after the second map; a bias forgotten; only some of the units used.
    Hint: Take one position, one column and one inner unit, and follow the number with a pencil. Where do you part?
    """
    parameters = parameters_for(case)
    expected = reference.feed_forward.feed_forward(as_arrays(parameters), as_array(case.x))
    assert_close(feed_forward(parameters, case.x), expected, LAYER)


@law("feed-forward", given=sequence_cases(visibilities=("all",), types=(torch.float64,)), needs_gradient=True)
def every_gradient_of_the_network_agrees_with_the_one_derived_by_hand(
    feed_forward: Function, case: SequenceCase
) -> None:
    """The gradient of both matrices, both biases and the input, derived by hand, agrees with autograd.

    Kills: inner units without a gradient; a parameter that is never used; the slope of another activation.
    Hint: Which parameter is the first to differ? Follow it to the output: is any step on the way detached?
    """
    parameters = parameters_for(case)
    upstream = numbers(case.seed, "upstream", *case.x.shape)

    expected = reference.feed_forward.feed_forward_gradient(as_array(upstream), as_arrays(parameters), as_array(case.x))
    scale = (1 + float(case.x.abs().max())) * (1 + float(upstream.abs().sum()))
    for name, gradient in gradients_by_name(feed_forward, parameters, upstream, x=case.x).items():
        assert_close(gradient, expected[name], LAYER, scale, what=f"the gradient of {name}")


@law("feed-forward", given=sequence_cases(visibilities=("all",), types=(torch.bfloat16,)))
def in_bfloat16_the_network_stays_in_bfloat16(feed_forward: Function, case: SequenceCase) -> None:
    """In bfloat16 the output is in bfloat16 too, and is what it is in float64, as well as so few digits can say it.

    Kills: a part that is computed in float32 and never brought back.
    Hint: Print the dtype after every step. Where does it change, and what do the matrices say to that?
    """
    parameters = parameters_for(case)
    found = feed_forward(parameters, case.x)
    assert found.dtype == torch.bfloat16, f"the result should be in torch.bfloat16, but is in {found.dtype}"
    expected = feed_forward({name: tensor.double() for name, tensor in parameters.items()}, case.x.double())
    assert_close(found, expected, SUM, what="the result in bfloat16")
