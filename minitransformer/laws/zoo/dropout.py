"""Mutants of dropout, and of a layer that drops while it trains."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant


def kept_and_rescaled(x: Tensor, keep: Tensor, rate: float) -> Tensor:
    """What is right in most mutants: zeros where an entry is not kept, and the others divided by 1 − rate."""
    return torch.where(keep, x / (1 - rate), 0.0)


# The numbers


@mutant("dropout", symptom="Evaluation is worse than training suggested: every layer suddenly gives larger numbers.")
def kept_entries_not_rescaled(x: Tensor, rate: float) -> Tensor:
    """What is kept stays as it is, though nothing is rescaled in evaluation either."""
    return x * (torch.rand(x.shape) >= rate)


@mutant(
    "dropout", symptom="Training is slow, and evaluation far off: its numbers are larger by 1 / (1 − rate) squared."
)
def rescaled_the_wrong_way(x: Tensor, rate: float) -> Tensor:
    """What is kept is multiplied by 1 − rate, where it should be divided."""
    return x * (torch.rand(x.shape) >= rate) * (1 - rate)


@mutant(
    "dropout",
    symptom="Nothing in long runs; small batches are a little noisier, and a batch that keeps nothing is NaN.",
    difficulty="hard",
)
def rescaled_by_what_happened_to_be_kept(x: Tensor, rate: float) -> Tensor:
    """What is kept is divided by the share that this draw has kept, and not by the one expected."""
    keep = torch.rand(x.shape) >= rate
    return x * keep / keep.double().mean().to(x.dtype)


@mutant("dropout", symptom="It does regularise; but at higher rates it drowns what it should thin out.")
def noise_added(x: Tensor, rate: float) -> Tensor:
    """Noise of the size of the rate is added, and nothing is dropped."""
    return x + rate * torch.randn(x.shape).to(x.dtype)


@mutant(
    "dropout",
    symptom="Underfits badly: of ten entries nine are dropped, and the tenth is multiplied by ten.",
    difficulty="easy",
)
def rate_taken_for_what_is_kept(x: Tensor, rate: float) -> Tensor:
    """The rate is the share that is kept, as `keep_prob` was in older libraries."""
    return torch.where(torch.rand(x.shape) < rate, x / rate, 0.0)


@mutant("dropout", symptom="At small rates the first step is inf or far off; at a rate of 0.5 nothing is wrong.")
def divided_by_the_rate(x: Tensor, rate: float) -> Tensor:
    """What is kept is divided by the share that is dropped, and not by the one that is kept."""
    return torch.where(torch.rand(x.shape) >= rate, x / rate if rate else x, 0.0)


# The draw


@mutant("dropout", symptom="Nothing: 11 % are dropped where 10 % are meant.", difficulty="hard")
def percent_counted_from_zero(x: Tensor, rate: float) -> Tensor:
    """A whole number from 0 to 99 is drawn and kept if it is greater than the percentage, and not if it is equal."""
    return kept_and_rescaled(x, torch.randint(100, x.shape) > 100 * rate, rate)


@mutant("dropout", symptom="Trains; but all examples of a batch lose the same entries, and gradients are noisier.")
def one_mask_for_the_whole_batch(x: Tensor, rate: float) -> Tensor:
    """The mask has no axis for the examples, and the same one falls on all of them."""
    return kept_and_rescaled(x, torch.rand(x.shape[1:]) >= rate, rate)


@mutant("dropout", symptom="Whole words vanish; the loss is higher and much less steady than with others' code.")
def whole_positions_dropped(x: Tensor, rate: float) -> Tensor:
    """One number is drawn for each position, and all its entries share the fate."""
    return kept_and_rescaled(x, torch.rand(x.shape[:-1])[..., None] >= rate, rate)


@mutant("dropout", symptom="Regularises more than expected: what one position has lost, no other can tell.")
def same_columns_dropped_at_every_position(x: Tensor, rate: float) -> Tensor:
    """One number is drawn for each column of an example, as in dropout of whole channels."""
    columns = (*x.shape[:-2], 1, *x.shape[-1:]) if x.ndim > 1 else x.shape
    return kept_and_rescaled(x, torch.rand(columns) >= rate, rate)


@mutant("dropout", symptom="Nothing, or a little less effect than others report.", difficulty="hard")
def its_share_of_each_row_exactly(x: Tensor, rate: float) -> Tensor:
    """Each row loses a fixed number of entries, its share rounded, so that their fates hang together."""
    rank = torch.rand(x.shape).argsort(-1).argsort(-1)
    return kept_and_rescaled(x, rank >= round(rate * x.shape[-1]), rate)


@mutant("dropout", symptom="Hardly any effect: what is dropped hardly mattered.", difficulty="easy")
def the_smallest_dropped(x: Tensor, rate: float) -> Tensor:
    """The smallest entries are dropped, as in pruning, and not random ones."""
    order = x.abs().flatten().argsort()
    keep = torch.ones(x.numel(), dtype=torch.bool)
    keep[order[: round(rate * x.numel())]] = False
    return kept_and_rescaled(x, keep.view(x.shape), rate)


@lru_cache(maxsize=8)
def mask_of(shape: torch.Size, rate: float) -> Tensor:
    """A mask for each shape."""
    return torch.rand(shape) >= rate


@mutant(
    "dropout", symptom="It does not regularise: the same smaller network is trained from the first step to the last."
)
def mask_drawn_once(x: Tensor, rate: float) -> Tensor:
    """The mask is drawn at the first call, and kept for all later ones of that shape."""
    return kept_and_rescaled(x, mask_of(x.shape, rate), rate)


@mutant("dropout", symptom="Every layer drops the same entries at every step, and runs with other seeds do too.")
def a_generator_seeded_inside(x: Tensor, rate: float) -> Tensor:
    """A generator is made and seeded at each call, so that each call draws the same."""
    generator = torch.Generator().manual_seed(0)
    return kept_and_rescaled(x, torch.rand(x.shape, generator=generator) >= rate, rate)


@mutant("dropout", symptom="Two runs with one seed differ, and nobody finds out why.", difficulty="medium")
def a_generator_that_nobody_can_seed(x: Tensor, rate: float) -> Tensor:
    """The draw comes from a generator without a seed, made at each call."""
    draw = torch.from_numpy(np.random.default_rng().random(tuple(x.shape)))
    return kept_and_rescaled(x, draw >= rate, rate)


@mutant("dropout", symptom="In bfloat16 more is dropped than asked for: 1.2 % for 1 %.", difficulty="hard")
def drawn_in_the_type_of_the_numbers(x: Tensor, rate: float) -> Tensor:
    """The draw has the type of x, and in bfloat16 it is rounded to few numbers near the rate."""
    return kept_and_rescaled(x, torch.rand_like(x) >= rate, rate)


# The draw, made cheap


@mutant(
    "dropout", symptom="Nothing: 10.2 % are dropped where 10 % are meant, and 1.2 % where it is 1 %.", difficulty="hard"
)
def eight_bits_for_each_entry(x: Tensor, rate: float) -> Tensor:
    """A byte is drawn for each entry, which rounds the rate to a multiple of 1/256."""
    byte = torch.randint(256, x.shape, dtype=torch.uint8)
    return kept_and_rescaled(x, byte >= round(256 * rate), rate)


@mutant("dropout", symptom="More than half of everything is dropped, whatever the rate.", difficulty="medium")
def bits_read_with_a_sign(x: Tensor, rate: float) -> Tensor:
    """Of 16 bits the first is taken for a sign, so that half of the draws lie below zero, and below every rate."""
    draw = torch.randint(-(2**15), 2**15, x.shape)
    return kept_and_rescaled(x, draw >= round(2**16 * rate), rate)


@mutant("dropout", symptom="Regularises a little less; neighbouring columns vanish together, four at a time.")
def one_draw_for_four_entries(x: Tensor, rate: float) -> Tensor:
    """A draw of 64 bits serves four entries, but is not cut into four: all of them are compared with the same bits."""
    draw = torch.rand(-(-x.numel() // 4)).repeat_interleave(4)[: x.numel()].view(x.shape)
    return kept_and_rescaled(x, draw >= rate, rate)


@mutant("dropout", symptom="The rate is a little off, each time by another amount; examples lose the same entries.")
def a_short_pool_repeated(x: Tensor, rate: float) -> Tensor:
    """1,000 numbers are drawn, and repeated for all entries of a larger tensor."""
    pool = torch.rand(1_000)
    return kept_and_rescaled(x, pool[torch.arange(x.numel()) % len(pool)].view(x.shape) >= rate, rate)


@mutant("dropout", symptom="Every step of a run drops the same entries; with another seed it drops others.")
def seeded_by_the_seed_and_not_by_a_draw(x: Tensor, rate: float) -> Tensor:
    """A generator is made at each call from the seed that PyTorch was given, which is the same at every call."""
    generator = torch.Generator().manual_seed(torch.initial_seed())
    return kept_and_rescaled(x, torch.rand(x.shape, generator=generator) >= rate, rate)


# The way back


@mutant("dropout", symptom="Trains on gradients of another function than it computes; the loss is worse at high rates.")
def gradient_passes_through_what_was_dropped(x: Tensor, rate: float) -> Tensor:
    """The result is put in place of x outside of autograd, so that the gradient takes no notice of the mask."""
    after = kept_and_rescaled(x, torch.rand(x.shape) >= rate, rate)
    return x + (after - x).detach()


@mutant("dropout", symptom="All layers below the first dropout stay as they were drawn.", difficulty="easy")
def nothing_passes_back(x: Tensor, rate: float) -> Tensor:
    """The result is made from the bare numbers, and no gradient comes back."""
    return kept_and_rescaled(x.detach(), torch.rand(x.shape) >= rate, rate)


@mutant("dropout", symptom="The residual connection, which adds x again, adds what is left of it.", difficulty="medium")
def dropped_in_place(x: Tensor, rate: float) -> Tensor:
    """The mask is multiplied into the tensor that was given, which others still read."""
    with torch.no_grad():
        return x.mul_(torch.rand(x.shape) >= rate).div_(1 - rate)


@mutant("dropout", symptom="Trains worse the higher the rate: what was dropped learns, and what was kept may not.")
def mask_drawn_again_on_the_way_back(x: Tensor, rate: float) -> Tensor:
    """To save memory the mask is not kept but drawn once more, from a generator that has moved on."""

    class Drop(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
            ctx.rate = rate
            return kept_and_rescaled(x, torch.rand(x.shape) >= rate, rate)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
            return kept_and_rescaled(gradient, torch.rand(gradient.shape) >= ctx.rate, ctx.rate), None

    return Drop.apply(x, rate)  # type: ignore[no-any-return, no-untyped-call]


# A layer, which knows whether it trains


@mutant("dropout-layer", symptom="Evaluation is far off: numbers grow by 1 / (1 − rate) with each layer of dropout.")
def rescaled_in_evaluation_too(x: Tensor, rate: float, training: bool) -> Tensor:
    """Nothing is dropped in evaluation, but everything is divided by 1 − rate as in training."""
    keep = torch.rand(x.shape) >= rate if training else torch.ones_like(x, dtype=torch.bool)
    return kept_and_rescaled(x, keep, rate)


@mutant(
    "dropout-layer",
    symptom="As good as any other alone; with weights that were trained elsewhere every layer is too faint.",
    difficulty="hard",
)
def rescaled_in_evaluation_in_place_of_training(x: Tensor, rate: float, training: bool) -> Tensor:
    """What is kept stays as it is in training, and evaluation multiplies by 1 − rate, as the first paper did."""
    return x * (torch.rand(x.shape) >= rate) if training else x * (1 - rate)


@mutant("dropout-layer", symptom="The loss on held-out text is far higher than in training, and too smooth.")
def rescaled_in_both(x: Tensor, rate: float, training: bool) -> Tensor:
    """What is kept is rescaled in training, and evaluation makes up once more for what it does not drop."""
    return kept_and_rescaled(x, torch.rand(x.shape) >= rate, rate) if training else x * (1 - rate)


@mutant("dropout-layer", symptom="Two evaluations of one model differ, and both are worse than they should be.")
def dropped_in_evaluation_too(x: Tensor, rate: float, training: bool) -> Tensor:
    """The function does not ask whether it trains."""
    return kept_and_rescaled(x, torch.rand(x.shape) >= rate, rate)


@mutant(
    "dropout-layer", symptom="Overfits at once, and evaluation differs from one time to the next.", difficulty="easy"
)
def training_and_evaluation_exchanged(x: Tensor, rate: float, training: bool) -> Tensor:
    """It drops while it evaluates, for the argument is taken to say that it does."""
    return x if training else kept_and_rescaled(x, torch.rand(x.shape) >= rate, rate)


@mutant("dropout-layer", symptom="Evaluating twice as often gives another model, though nothing is dropped there.")
def drawn_in_evaluation_too(x: Tensor, rate: float, training: bool) -> Tensor:
    """The mask is drawn before it is asked whether there is any need, so that later draws are others."""
    keep = torch.rand(x.shape) >= rate
    return kept_and_rescaled(x, keep, rate) if training else x


@mutant("dropout-layer", symptom="Trains well; but in evaluation no gradient reaches the input, to explain an answer.")
def evaluation_without_a_way_back(x: Tensor, rate: float, training: bool) -> Tensor:
    """In evaluation the bare numbers are passed on."""
    return kept_and_rescaled(x, torch.rand(x.shape) >= rate, rate) if training else x.detach()
