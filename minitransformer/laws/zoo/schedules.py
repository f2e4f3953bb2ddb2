"""Mutants of the schedules of the rate."""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import math

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.schedules import (
    constant_warmup,
    cosine_restarts_warmup,
    cosine_warmup,
    inverse_square_root_warmup,
    linear_warmup,
    polynomial_warmup,
)

# Up in a line, down in a line


@mutant("linear-warmup", symptom="The first steps are far too large: the loss rises before it falls, or never falls.")
def full_rate_at_once(step: int, warmup_steps: int, total_steps: int) -> float:
    """There is no warm-up: the rate starts at its peak and falls from there."""
    return linear_warmup(step, 0, total_steps)


@mutant(
    "linear-warmup",
    symptom="Nobody sees it in a long training; a short one differs from the published curve from the first step on.",
    difficulty="hard",
)
def warm_up_counted_from_one(step: int, warmup_steps: int, total_steps: int) -> float:
    """The warm-up counts from 1, so that the first step has a rate already and the peak comes a step early."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return linear_warmup(step, warmup_steps, total_steps)


@mutant("linear-warmup", symptom="The rate drops suddenly when the warm-up ends, the more the longer it was.")
def decay_counted_from_step_zero(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down counts from step 0: at the end of the warm-up a part of it is gone already."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, 1 - step / total_steps)


@mutant("linear-warmup", symptom="A training that goes on after its last step unlearns: the model climbs the loss.")
def below_zero_after_the_end(step: int, warmup_steps: int, total_steps: int) -> float:
    """Nothing stops the line at 0: after the last step the rate is negative."""
    if step < warmup_steps:
        return step / warmup_steps
    return (total_steps - step) / max(1, total_steps - warmup_steps)


@mutant(
    "linear-warmup", symptom="The program ends with ZeroDivisionError when all steps are warm-up.", difficulty="hard"
)
def divides_by_the_steps_left(step: int, warmup_steps: int, total_steps: int) -> float:
    """It divides by the steps after the warm-up, of which there may be none."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / (total_steps - warmup_steps))


@mutant(
    "linear-warmup",
    symptom="Trains a little better or worse than the paper, because the middle of the way down is lower.",
    difficulty="easy",
)
def square_of_the_line(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down is the square of the line."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps)) ** 2


@mutant("linear-warmup", symptom="The last updates are as good as lost: the rate is 0 before they begin.")
def zero_a_step_early(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down ends at the step before the last one."""
    return linear_warmup(min(step, total_steps), warmup_steps, max(warmup_steps, total_steps - 1))


@mutant("linear-warmup", symptom="The loss of the last steps is noisier than it should be, and never settles.")
def down_to_a_tenth(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down ends at a tenth of the peak, and not at 0."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.1, 0.1 + 0.9 * (total_steps - step) / max(1, total_steps - warmup_steps))


@mutant("linear-warmup", symptom="Trains as well; only whoever compares with a published run finds another rate.")
def cosine_for_the_line(step: int, warmup_steps: int, total_steps: int) -> float:
    """The way down is half a cosine, not a line."""
    return cosine_warmup(step, warmup_steps, total_steps)


# Up in a line, down along a cosine


@mutant("cosine-warmup", symptom="Half way down the rate is much too large, and it falls steeply at the end.")
def quarter_of_a_cosine(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The way down is a quarter of a cosine: half of π is missing from the angle."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return math.cos(math.pi * num_cycles * (step - warmup_steps) / (total_steps - warmup_steps))


@mutant("cosine-warmup", symptom="The rate hardly falls in the whole training, and is cut off at its end.")
def degrees_for_radians(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The angle runs from 0 to 1, as if a cosine counted in half turns; π is missing."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return 0.5 * (1 + math.cos(2 * num_cycles * (step - warmup_steps) / (total_steps - warmup_steps)))


@mutant("cosine-warmup", symptom="The loss rises again when the training is continued past its planned end.")
def cosine_that_comes_back(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """Nothing stops the cosine at its lowest point, so that the rate rises again after the last step."""
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(2 * math.pi * num_cycles * progress))


@mutant("cosine-warmup", symptom="In the second half of the training the loss goes up, for the rate is negative.")
def cosine_not_lifted(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The 1 that lifts the cosine above 0 is missing."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return math.cos(2 * math.pi * num_cycles * (step - warmup_steps) / (total_steps - warmup_steps))


@mutant("cosine-warmup", symptom="The rate drops suddenly when the warm-up ends, the more the longer it was.")
def angle_counted_from_step_zero(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The angle counts from step 0: at the end of the warm-up a part of the way down is gone already."""
    if step < warmup_steps:
        return step / warmup_steps
    return 0.5 * (1 + math.cos(2 * math.pi * num_cycles * min(step, total_steps) / max(1, total_steps)))


@mutant("cosine-warmup", symptom="A little less of each rate than published; nobody sees it.", difficulty="hard")
def line_for_the_cosine(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The way down is a line, not half a cosine."""
    return linear_warmup(step, warmup_steps, total_steps)


@mutant("cosine-warmup", symptom="The first steps are larger than planned: the loss may jump before it falls.")
def cosine_on_the_way_up(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The warm-up follows half a cosine too, where a line is meant."""
    if step < warmup_steps:
        return 0.5 * (1 - math.cos(math.pi * step / warmup_steps))
    return cosine_warmup(step, warmup_steps, total_steps, num_cycles)


@mutant("cosine-warmup", symptom="Short trainings stop a step early; long ones look right.", difficulty="hard")
def last_step_left_out(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The way down is over at the step before the last one."""
    return cosine_warmup(step, warmup_steps, max(warmup_steps, total_steps - 1), num_cycles)


@mutant("cosine-warmup", symptom="The number of waves that was set makes no difference.", difficulty="easy")
def half_a_cycle_always(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The number of cycles is an argument that nothing uses."""
    return cosine_warmup(step, warmup_steps, total_steps)


# Up in a line, down along a cosine again and again


@mutant(
    "cosine-restarts-warmup",
    symptom="There are no restarts: the rate swings, and for half of the time it rises.",
    difficulty="medium",
)
def wave_for_restarts(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """The cosine runs on: it climbs back as slowly as it fell, where a restart jumps."""
    return cosine_warmup(step, warmup_steps, total_steps, num_cycles)


@mutant("cosine-restarts-warmup", symptom="One long way down, however many restarts were asked for.", difficulty="easy")
def one_cycle_whatever_is_asked(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """The number of cycles is an argument that nothing uses."""
    return cosine_restarts_warmup(step, warmup_steps, total_steps)


@mutant(
    "cosine-restarts-warmup", symptom="One restart more than planned, and each cycle is shorter.", difficulty="hard"
)
def restarts_counted_for_cycles(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """The number is taken for that of the restarts: one restart makes two cycles."""
    return cosine_restarts_warmup(step, warmup_steps, total_steps, num_cycles + 1)


@mutant("cosine-restarts-warmup", symptom="The rate jumps when the warm-up ends, and each restart comes early.")
def cycles_counted_from_step_zero(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """The cycles count from step 0: the first of them began during the warm-up."""
    if step < warmup_steps:
        return step / warmup_steps
    return cosine_restarts_warmup(step, 0, total_steps, num_cycles)


@mutant(
    "cosine-restarts-warmup",
    symptom="After a training that looks right the loss jumps: the update after the last one has the whole rate.",
    difficulty="hard",
)
def restarts_after_the_end(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """Nothing ends the last cycle, so that another one begins after it."""
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * (num_cycles * progress % 1)))


@mutant("cosine-restarts-warmup", symptom="Later cycles hardly move the weights: what they might find is not found.")
def each_peak_is_half_the_last(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """Each restart goes back to half of the peak before it."""
    rate = cosine_restarts_warmup(step, warmup_steps, total_steps, num_cycles)
    if not warmup_steps < step < total_steps:
        return rate
    return float(rate * 0.5 ** math.floor(num_cycles * (step - warmup_steps) / (total_steps - warmup_steps)))


@mutant("cosine-restarts-warmup", symptom="Saw teeth in the log of the rate where arches are published.")
def line_in_each_cycle(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """Each cycle goes down in a line, not along half a cosine."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return 1 - num_cycles * (step - warmup_steps) / (total_steps - warmup_steps) % 1


# Up in a line, down with a power


@mutant(
    "polynomial-warmup", symptom="The rate ends thousands of times lower than the one that was set.", difficulty="hard"
)
def end_not_divided_by_the_peak(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """The last rate is taken for a share of the peak as it is."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return lr_end
    left: float = (1 - (step - warmup_steps) / (total_steps - warmup_steps)) ** power
    return (1 - lr_end) * left + lr_end


@mutant("polynomial-warmup", symptom="The largest rate is larger than the peak that was set.", difficulty="medium")
def end_on_top_of_the_power(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """The last rate is added to what is left, which begins at the whole peak."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return lr_end / peak_rate
    left: float = (1 - (step - warmup_steps) / (total_steps - warmup_steps)) ** power
    return left + lr_end / peak_rate


@mutant(
    "polynomial-warmup",
    symptom="The rate falls too fast, and stands still for the rest of the training.",
    difficulty="medium",
)
def end_for_a_floor(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """The last rate is a floor under the way to 0, not where the way leads."""
    rate = polynomial_warmup(step, warmup_steps, total_steps, power, 0.0, peak_rate)
    return rate if step < warmup_steps else max(rate, lr_end / peak_rate)


@mutant("polynomial-warmup", symptom="The power that was set makes no difference: a straight line.", difficulty="easy")
def power_ignored(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """The power is an argument that nothing uses."""
    return polynomial_warmup(step, warmup_steps, total_steps, 1.0, lr_end, peak_rate)


@mutant(
    "polynomial-warmup",
    symptom="With a power of 2 the rate stays high for long and then falls steeply: the curve bends the wrong way.",
    difficulty="medium",
)
def power_of_what_is_gone(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """The power is taken of the share that is over, not of the share that is left."""
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return lr_end / peak_rate
    gone: float = ((step - warmup_steps) / (total_steps - warmup_steps)) ** power
    return ((peak_rate - lr_end) * (1 - gone) + lr_end) / peak_rate


@mutant("polynomial-warmup", symptom="A training that goes on learns nothing more.", difficulty="easy")
def nothing_after_the_end(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """After the last step the rate is 0, not the last rate."""
    if step >= total_steps:
        return 0.0
    return polynomial_warmup(step, warmup_steps, total_steps, power, lr_end, peak_rate)


@mutant(
    "polynomial-warmup",
    symptom="The rate drops suddenly when the warm-up ends, the more the longer it was.",
    difficulty="medium",
)
def power_counted_from_step_zero(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """The way down counts from step 0: at the end of the warm-up a part of it is gone already."""
    if step < warmup_steps:
        return step / warmup_steps
    return polynomial_warmup(step, 0, total_steps, power, lr_end, peak_rate)


@mutant(
    "polynomial-warmup",
    symptom="The program ends with ZeroDivisionError after a training that was all warm-up.",
    difficulty="hard",
)
def powers_of_no_steps_left(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """It divides by the steps after the warm-up, of which there may be none."""
    if step < warmup_steps:
        return step / warmup_steps
    if step > total_steps:
        return lr_end / peak_rate
    left: float = (1 - (step - warmup_steps) / (total_steps - warmup_steps)) ** power
    return ((peak_rate - lr_end) * left + lr_end) / peak_rate


# Always the same


@mutant("constant-rate", symptom="The first updates are shorter than those of whoever it is compared with.")
def warm_up_nobody_asked_for(step: int) -> float:
    """The first hundred steps are a warm-up, though none was asked for."""
    return min(1.0, step / 100)


@mutant(
    "constant-rate", symptom="In a long training the loss stands still: the rate has faded away.", difficulty="hard"
)
def faded_step_by_step(step: int) -> float:
    """Each step has a little less than the one before, as with a decay that is set somewhere else."""
    return float(0.9999**step)


@mutant(
    "constant-rate", symptom="Short trainings look right; in long ones the loss falls in stairs.", difficulty="hard"
)
def halved_now_and_then(step: int) -> float:
    """The rate is halved every thousand steps."""
    return float(0.5 ** (step // 1000))


@mutant(
    "constant-rate", symptom="Nothing is learned: each step is as long as the square of the rate.", difficulty="easy"
)
def rate_for_its_share(step: int) -> float:
    """The rate itself is returned where its share of the peak is meant, and is multiplied in twice."""
    return 5e-5


@mutant("constant-rate", symptom="Training stops for no visible reason after a hundred thousand steps.")
def an_end_nobody_asked_for(step: int) -> float:
    """The rate is 0 after a hundred thousand steps, which once was the length of every training."""
    return 1.0 if step < 100_000 else 0.0


# Up in a line, and then the same


@mutant("constant-warmup", symptom="The first steps are far too large: the loss rises before it falls, or never falls.")
def constant_from_the_first_step(step: int, warmup_steps: int) -> float:
    """There is no warm-up: the rate is whole from the first step on."""
    return 1.0


@mutant("constant-warmup", symptom="The loss falls, and explodes some time after the warm-up.", difficulty="easy")
def rises_for_ever(step: int, warmup_steps: int) -> float:
    """Nothing stops the line at the peak."""
    return step / warmup_steps if warmup_steps else 1.0


@mutant("constant-warmup", symptom="The program ends with ZeroDivisionError where there is no warm-up.")
def divides_by_no_warm_up(step: int, warmup_steps: int) -> float:
    """It divides by the steps of the warm-up, of which there may be none."""
    return min(1.0, step / warmup_steps)


@mutant("constant-warmup", symptom="Each rate comes a step early, the peak too; nobody sees it.", difficulty="hard")
def constant_reached_a_step_early(step: int, warmup_steps: int) -> float:
    """The warm-up counts from 1, so that the first step has a rate already."""
    return constant_warmup(step + 1, warmup_steps)


@mutant("constant-warmup", symptom="The loss is smoother at the end than with a constant rate, and stands still later.")
def root_after_the_warm_up(step: int, warmup_steps: int) -> float:
    """After the warm-up the rate falls with the root of the step, as in the other schedule without an end."""
    return inverse_square_root_warmup(step, warmup_steps)


@mutant("constant-warmup", symptom="The first steps are larger than planned: the loss may jump before it falls.")
def root_on_the_way_up(step: int, warmup_steps: int) -> float:
    """The warm-up follows a root, where a line is meant."""
    return math.sqrt(constant_warmup(step, warmup_steps))


# Up in a line, down with the root


@mutant("inverse-square-root-warmup", symptom="The program ends with ZeroDivisionError at its first step.")
def root_of_step_zero(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """Both formulas are computed at step 0, where one of them divides by it."""
    return min(step / warmup_steps, math.sqrt(warmup_steps / step))


@mutant("inverse-square-root-warmup", symptom="The loss explodes: the rate only ever grows.", difficulty="easy")
def larger_of_the_two(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """The larger of the two formulas is taken, not the smaller."""
    return max(step / warmup_steps, math.sqrt(warmup_steps / max(1, step)))


@mutant("inverse-square-root-warmup", symptom="The rate falls steeply after the warm-up, and learning nearly stops.")
def root_from_the_end_of_the_warm_up(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """The root counts from the end of the warm-up, not from the first step."""
    if step <= warmup_steps:
        return step / warmup_steps
    return 1 / math.sqrt(1 + step - warmup_steps)


@mutant(
    "inverse-square-root-warmup", symptom="Late in a long training the rate is far too small; the loss stands still."
)
def one_over_the_step(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """The rate falls with one over the step: the root is missing."""
    return min(step / warmup_steps, warmup_steps / max(1, step))


@mutant(
    "inverse-square-root-warmup",
    symptom="A tiny rate, and the longer the warm-up the tinier: what was meant as a share of the peak is none.",
    difficulty="medium",
)
def peak_of_the_paper(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """It is not divided by its peak: it is the paper's rate at a width of 512, and at 1 it has never been."""
    return inverse_square_root_warmup(step, warmup_steps, timescale) / math.sqrt(512 * warmup_steps)


@mutant(
    "inverse-square-root-warmup",
    symptom="The first update is made at a rate that was never planned.",
    difficulty="hard",
)
def step_counted_from_one(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """It counts the steps from 1, as some loops do, so that each rate comes a step early."""
    return inverse_square_root_warmup(step + 1, warmup_steps, timescale)


@mutant("inverse-square-root-warmup", symptom="The timescale that was set makes no difference.", difficulty="easy")
def timescale_ignored(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """The timescale is an argument that nothing uses."""
    return inverse_square_root_warmup(step, warmup_steps)


@mutant("inverse-square-root-warmup", symptom="A timescale other than the warm-up makes the rate jump at its end.")
def timescale_counted_from_step_zero(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """The root is that of the step over the timescale, and is whole only where the two are equal."""
    timescale = timescale or warmup_steps or 10_000
    return step / warmup_steps if step < warmup_steps else math.sqrt(timescale / max(1, step))
