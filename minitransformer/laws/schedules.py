"""Laws of the schedules of the rate: those that end, those that go on, and those with several cycles."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from minitransformer import reference
from minitransformer.laws.cases import Draw
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import assert_close

Function = Callable[..., Any]


@dataclass(frozen=True)
class ScheduleCase:
    """A training with a warm-up, and one of its steps."""

    warmup_steps: int
    steps_after: int
    drawn_step: int

    @property
    def total_steps(self) -> int:
        """All steps; never fewer than those of the warm-up, however small a case is made."""
        return self.warmup_steps + self.steps_after

    @property
    def step(self) -> int:
        """A step that is not beyond the last one."""
        return min(self.drawn_step, self.total_steps)


@st.composite
def schedule_cases(draw: Draw, fewest_warmup_steps: int = 0, fewest_after: int = 1) -> ScheduleCase:
    """Trainings of up to 80 steps."""
    warmup_steps, steps_after = draw(st.integers(fewest_warmup_steps, 40)), draw(st.integers(fewest_after, 40))
    return ScheduleCase(warmup_steps, steps_after, draw(st.integers(0, warmup_steps + steps_after)))


@dataclass(frozen=True)
class PolynomialCase(ScheduleCase):
    """A training whose rate falls with a power to a share of its peak that need not be 0."""

    power: float
    end_share: float
    peak_rate: float

    @property
    def settings(self) -> tuple[float, float, float]:
        """The power, the last rate, and the peak."""
        return self.power, self.end_share * self.peak_rate, self.peak_rate


@st.composite
def polynomial_cases(draw: Draw, fewest_after: int = 1) -> PolynomialCase:
    """Powers that bend the line either way, and ends from 0 up to a half of peaks of several sizes."""
    case = draw(schedule_cases(fewest_after=fewest_after))
    power, end_share = draw(st.sampled_from([0.5, 1.0, 2.0, 3.0])), draw(st.sampled_from([0.0, 0.125, 0.5]))
    peak_rate = draw(st.sampled_from([2.0, 0.25]))
    return PolynomialCase(case.warmup_steps, case.steps_after, case.drawn_step, power, end_share, peak_rate)


@dataclass(frozen=True)
class CyclesCase(ScheduleCase):
    """A training whose way down is several cycles; the steps after the warm-up are those of one of them."""

    n_cycles: int

    @property
    def num_cycles(self) -> float:
        """The number of cycles as a schedule takes it."""
        return float(self.n_cycles)

    @property
    def total_steps(self) -> int:
        """The warm-up and all cycles."""
        return self.warmup_steps + self.n_cycles * self.steps_after

    @property
    def arguments(self) -> tuple[int, int, float]:
        """What a schedule takes beside the step."""
        return self.warmup_steps, self.total_steps, self.num_cycles


@st.composite
def cycles_cases(draw: Draw, fewest_cycles: int = 1, fewest_after: int = 2) -> CyclesCase:
    """Few cycles: from 22 on, floats may put the beginning of one a step late."""
    warmup_steps, steps_after = draw(st.integers(0, 20)), draw(st.integers(fewest_after, 20))
    n_cycles = draw(st.integers(fewest_cycles, 6))
    return CyclesCase(warmup_steps, steps_after, draw(st.integers(0, warmup_steps + n_cycles * steps_after)), n_cycles)


with_a_warmup = schedule_cases(fewest_warmup_steps=1)
all_may_be_warmup = schedule_cases(fewest_after=0)


# Schedules that end


@law("linear-warmup", given=with_a_warmup)
@law("cosine-warmup", given=with_a_warmup)
@law("cosine-restarts-warmup", given=with_a_warmup)
@law("polynomial-warmup", given=with_a_warmup)
def the_rate_rises_in_a_line(schedule: Function, case: ScheduleCase) -> None:
    """The rate starts at 0 and rises in a straight line: step s of a warm-up of w steps has the share s/w.

    Kills: the full rate at the first step; a warm-up off by one; a curve for the line.
    Hint: Write down the rates of a warm-up of 4 steps, from step 0 on. What is the first, and by how much do they grow?
    """
    step = min(case.step, case.warmup_steps)
    rate = schedule(step, case.warmup_steps, case.total_steps)
    assert_close(rate, step / case.warmup_steps, what=f"the rate at step {step} of {case.warmup_steps} of the warm-up")


@law("linear-warmup", given=schedule_cases())
@law("cosine-warmup", given=schedule_cases())
@law("cosine-restarts-warmup", given=schedule_cases())
@law("polynomial-warmup", given=schedule_cases())
def the_rate_is_whole_right_after_the_warm_up_and_then_falls(schedule: Function, case: ScheduleCase) -> None:
    """The rate is 1 at the end of the warm-up, and from there on no step has a larger one than the step before.

    Kills: a decay that counts from step 0; a warm-up that restarts; a cosine that comes back up.
    Hint: At the step that ends the warm-up, how much of the way down has your schedule gone already?
    """
    peak = schedule(case.warmup_steps, case.warmup_steps, case.total_steps)
    assert_close(peak, 1.0, what="the rate right after the warm-up")
    step = max(case.step, case.warmup_steps)
    before = schedule(step, case.warmup_steps, case.total_steps)
    after = schedule(step + 1, case.warmup_steps, case.total_steps)
    assert before >= after, f"the rate should fall after the warm-up, but rises from step {step} to the next"


@law("linear-warmup", given=all_may_be_warmup)
@law("cosine-warmup", given=all_may_be_warmup)
@law("cosine-restarts-warmup", given=all_may_be_warmup)
def the_rate_is_zero_from_the_last_step_on(schedule: Function, case: ScheduleCase) -> None:
    """The rate is 0 at the last step, and stays 0 if the training goes on, even if all of it was warm-up.

    Kills: a negative rate after the end; a cosine that comes back up; 0/0 when the warm-up takes all steps.
    Hint: Ask for a step beyond the last one. What does your formula say there, and what would the optimizer do with it?
    """
    step = case.total_steps + case.step
    rate = schedule(step, case.warmup_steps, case.total_steps)
    assert rate == 0, f"the rate should be 0 at step {step} of {case.total_steps}, but is {float(rate):.3g}"


@law("linear-warmup", given=schedule_cases())
@law("cosine-warmup", given=schedule_cases())
def the_way_down_is_symmetric_about_its_middle(schedule: Function, case: ScheduleCase) -> None:
    """Steps that lie equally far after the warm-up and before the end have rates that add up to 1.

    Kills: a quarter of a cosine for half of one; an exponential; the square or the root of the line.
    Hint: What is the rate half way down? Compare it with a step a little earlier and a step as much later.
    """
    gone = max(case.step - case.warmup_steps, 0)
    early = schedule(case.warmup_steps + gone, case.warmup_steps, case.total_steps)
    late = schedule(case.total_steps - gone, case.warmup_steps, case.total_steps)
    assert_close(early + late, 1.0, what="the sum of two rates equally far from the ends of the way down")


@law("linear-warmup", given=schedule_cases())
@law("cosine-warmup", given=schedule_cases())
def a_training_twice_as_long_stretches_the_schedule(schedule: Function, case: ScheduleCase) -> None:
    """Twice as many steps in all, of which twice as many are warm-up, have the same rate at twice the step.

    Kills: total_steps − 1 for the last step; a warm-up off by one; a decay per step in place of a share of the way.
    Hint: The formula knows only shares: of the warm-up, and of the way down. Which of your numbers is a bare count?
    """
    once = schedule(case.step, case.warmup_steps, case.total_steps)
    twice = schedule(2 * case.step, 2 * case.warmup_steps, 2 * case.total_steps)
    assert_close(twice, once, what="the rate of a training twice as long")


def rate_a_quarter_of_the_way_down(schedule: Function, case: ScheduleCase) -> Any:
    """The rate at the last step of the case, in a training with four times the steps after the warm-up."""
    return schedule(case.total_steps, case.warmup_steps, case.warmup_steps + 4 * case.steps_after)


@law("linear-warmup", given=schedule_cases())
def a_quarter_down_the_line_stand_three_quarters(linear_warmup: Function, case: ScheduleCase) -> None:
    """A quarter of the way down, three quarters of the rate are left.

    Kills: the cosine for the line; a decay that counts from step 0; a decay to something above 0.
    Hint: With 2 steps of warm-up and 6 in all, what is the rate at step 3? How many steps of how many are over by then?
    """
    rate = rate_a_quarter_of_the_way_down(linear_warmup, case)
    assert_close(rate, 0.75, what="the rate a quarter of the way down")


@law("cosine-warmup", given=schedule_cases())
def a_quarter_down_the_cosine_stands_more_than_on_the_line(cosine_warmup: Function, case: ScheduleCase) -> None:
    """A quarter of the way down, (2 + √2)/4 of the rate are left.

    Kills: the line for the cosine; a quarter of a cosine; degrees for radians.
    Hint: Which angle belongs to the start of the way down, and which to its end? Half way between, its cosine is 0.
    """
    rate = rate_a_quarter_of_the_way_down(cosine_warmup, case)
    assert_close(rate, (2 + math.sqrt(2)) / 4, what="the rate a quarter of the way down")


@law("linear-warmup", given=schedule_cases())
def the_linear_rate_agrees_with_the_reference(linear_warmup: Function, case: ScheduleCase) -> None:
    """The rate agrees with the reference at every step, without a warm-up too.

    Kills: a decay over all steps; a warm-up or an end off by one; a division by a warm-up of 0 steps.
    Hint: Try 2 steps of warm-up out of 6, and write down all seven rates. Which is the first that you didn't expect?
    """
    arguments = (case.step, case.warmup_steps, case.total_steps)
    assert_close(linear_warmup(*arguments), reference.schedules.linear_warmup(*arguments), what="the rate")


@law("cosine-warmup", given=schedule_cases())
def the_cosine_rate_agrees_with_the_reference(cosine_warmup: Function, case: ScheduleCase) -> None:
    """The rate agrees with the reference at every step, without a warm-up too.

    Kills: a decay over all steps; a cosine without the 1 that lifts it above 0; a division by a warm-up of 0 steps.
    Hint: Try 2 steps of warm-up out of 6, and write down all seven rates. Is the way up wrong, or the way down?
    """
    arguments = (case.step, case.warmup_steps, case.total_steps)
    assert_close(cosine_warmup(*arguments), reference.schedules.cosine_warmup(*arguments), what="the rate")


@law("cosine-warmup", given=schedule_cases())
def twice_the_cycles_run_twice_as_fast(cosine_warmup: Function, case: ScheduleCase) -> None:
    """Twice the cycles in the same training bring the rate of a step to half as many steps after the warm-up.

    Kills: a number of cycles that is ignored; hard restarts for a wave; a cosine that is cut off after its first half.
    Hint: With half a cycle the way down ends at 0. Where does a whole one end, and which angle does that belong to?
    """
    gone, total_steps = min(case.drawn_step, case.steps_after), case.warmup_steps + 2 * case.steps_after
    expected = cosine_warmup(case.warmup_steps + 2 * gone, case.warmup_steps, total_steps, num_cycles=1.0)
    rate = cosine_warmup(case.warmup_steps + gone, case.warmup_steps, total_steps, num_cycles=2.0)
    assert_close(rate, expected, what=f"the rate {gone} steps after the warm-up, with two cycles")


# The schedule of several cycles


@law("cosine-restarts-warmup", given=cycles_cases())
def each_cycle_begins_at_the_peak(schedule: Function, case: CyclesCase) -> None:
    """At the first step of each cycle the rate is whole.

    Kills: a wave that climbs back as slowly as it fell; a peak that shrinks with each cycle; cycles from step 0 on.
    Hint: Two cycles of 4 steps, no warm-up: which steps have the whole rate? Where is the jump?
    """
    for cycle in range(case.n_cycles):
        step = case.warmup_steps + cycle * case.steps_after
        assert_close(schedule(step, *case.arguments), 1.0, what=f"the rate at step {step}, where a cycle begins")


@law("cosine-restarts-warmup", given=cycles_cases(fewest_cycles=2))
def all_cycles_are_alike(schedule: Function, case: CyclesCase) -> None:
    """A step has the rate of the one a cycle later.

    Kills: a peak that shrinks with each cycle; cycles that grow longer; a number of cycles that is ignored.
    Hint: What of the progress may the cosine see: all of it, or only the part since the last restart?
    """
    gone = min(case.drawn_step, (case.n_cycles - 1) * case.steps_after - 1)
    early, late = (schedule(case.warmup_steps + gone + later, *case.arguments) for later in (0, case.steps_after))
    assert_close(late, early, what=f"the rate a cycle after step {case.warmup_steps + gone}")


@law("cosine-restarts-warmup", given=cycles_cases())
def half_way_through_a_cycle_stands_a_half(schedule: Function, case: CyclesCase) -> None:
    """Half way through each cycle the rate is a half.

    Kills: a wave up and down in each cycle; a cycle too many; a quarter of a cosine.
    Hint: A cycle goes down and never up. Which angle belongs to its middle, and what is the cosine of it?
    """
    total_steps = case.warmup_steps + 2 * case.n_cycles * case.steps_after
    for cycle in range(case.n_cycles):
        step = case.warmup_steps + (2 * cycle + 1) * case.steps_after
        rate = schedule(step, case.warmup_steps, total_steps, case.num_cycles)
        assert_close(rate, 0.5, what=f"the rate at step {step}, half way through a cycle")


@law("cosine-restarts-warmup", given=cycles_cases())
def the_rate_of_several_cycles_agrees_with_the_reference(schedule: Function, case: CyclesCase) -> None:
    """The rate agrees with the reference at every step, whatever the number of cycles.

    Kills: a line in each cycle; no end after the last one; a number of cycles that is one too many.
    Hint: Try two cycles of 4 steps after a warm-up of 2. Which of the eleven rates is the first that surprises you?
    """
    expected = reference.schedules.cosine_restarts_warmup(case.step, *case.arguments)
    assert_close(schedule(case.step, *case.arguments), expected, what="the rate")


# The schedule of a power


@law("polynomial-warmup", given=polynomial_cases(fewest_after=0))
def the_last_rate_is_the_one_asked_for(polynomial_warmup: Function, case: PolynomialCase) -> None:
    """From the last step on the rate is the one asked for, as a share of the peak, even if all steps were warm-up.

    Kills: a last rate that is not divided by the peak; 0 after the end; 0/0 when the warm-up takes all steps.
    Hint: A peak of 2 and an end of 1: which share is that? And which one does your schedule give after the last step?
    """
    rate = polynomial_warmup(case.total_steps + case.step, case.warmup_steps, case.total_steps, *case.settings)
    assert_close(rate, case.end_share, what=f"the rate {case.step} steps after the last one")


@law("polynomial-warmup", given=polynomial_cases())
def half_way_down_a_power_of_a_half_is_left(polynomial_warmup: Function, case: PolynomialCase) -> None:
    """Half way down, a power of a half is left of the difference between the peak and the end.

    Kills: the power of what is gone; a power that is ignored; an end that is a floor, or comes on top.
    Hint: A power of 2 and an end of 0: half way down, is a quarter left, or gone? Then try an end that is not 0.
    """
    total_steps = case.warmup_steps + 2 * case.steps_after
    rate = polynomial_warmup(case.warmup_steps + case.steps_after, case.warmup_steps, total_steps, *case.settings)
    expected = case.end_share + (1 - case.end_share) * 0.5**case.power
    assert_close(rate, expected, what="the rate half way down")


@law("polynomial-warmup", given=polynomial_cases())
def only_the_share_of_the_end_counts(polynomial_warmup: Function, case: PolynomialCase) -> None:
    """Peak and end may both be 64 times as large: the shares stay.

    Kills: a last rate that is not divided by the peak; a peak that is ignored, or multiplied in.
    Hint: Which of your numbers are rates, and which are shares? Multiply all rates by 10: no share may change.
    """
    power, lr_end, peak_rate = case.settings
    arguments = (case.step, case.warmup_steps, case.total_steps, power)
    expected = polynomial_warmup(*arguments, lr_end, peak_rate)
    assert_close(
        polynomial_warmup(*arguments, 64 * lr_end, 64 * peak_rate), expected, what="the rate at 64 times the peak"
    )


@law("polynomial-warmup", given=polynomial_cases())
def the_rate_of_a_power_agrees_with_the_reference(polynomial_warmup: Function, case: PolynomialCase) -> None:
    """The rate agrees with the reference at every step, whatever the power and the end.

    Kills: a decay that counts from step 0; a warm-up or an end off by one; a division by a warm-up of 0 steps.
    Hint: Begin with a power of 1 and an end of 0, which is a straight line. Which of the two settings makes it differ?
    """
    arguments = (case.step, case.warmup_steps, case.total_steps, *case.settings)
    expected = reference.schedules.polynomial_warmup(*arguments)
    assert_close(polynomial_warmup(*arguments), expected, what="the rate")


# The schedules that never fall


@law("constant-rate", given=schedule_cases())
def the_first_steps_have_the_whole_rate(constant_rate: Function, case: ScheduleCase) -> None:
    """The first step has the whole rate, and so has each that would be warm-up elsewhere.

    Kills: a warm-up that nobody asked for; the rate itself for its share.
    Hint: Ask for step 0. Who asked for a warm-up?
    """
    for step in (0, case.warmup_steps):
        assert_close(constant_rate(step), 1.0, what=f"the rate at step {step}")


@law("constant-rate", given=schedule_cases())
def every_step_has_the_rate_of_the_one_before(constant_rate: Function, case: ScheduleCase) -> None:
    """Every step has the rate of the step before.

    Kills: a decay with each step; a warm-up that nobody asked for.
    Hint: Which of the numbers in your formula changes from one step to the next?
    """
    rate = constant_rate(case.step + 1)
    assert_close(rate, constant_rate(case.step), what=f"the rate at step {case.step + 1}")


@law("constant-rate", given=schedule_cases())
def no_training_is_too_long_for_a_constant_rate(constant_rate: Function, case: ScheduleCase) -> None:
    """After a million steps the rate is whole still.

    Kills: an end that nobody asked for; a rate that is halved now and then; a decay too slow to be seen.
    Hint: Ask for a step beyond the longest training that you can think of. Does your schedule know of an end?
    """
    assert_close(constant_rate(1_000_000 + case.step), 1.0, what="the rate after a million steps")


@law("constant-rate", given=schedule_cases())
def the_constant_rate_agrees_with_the_reference(constant_rate: Function, case: ScheduleCase) -> None:
    """The rate agrees with the reference at every step.

    Kills: whatever depends on the step; the rate itself for its share.
    Hint: What does a share of the peak mean, if the rate never leaves it?
    """
    assert_close(constant_rate(case.step), reference.schedules.constant_rate(case.step), what="the rate")


@law("constant-warmup", given=schedule_cases())
def after_the_warm_up_the_rate_stays(constant_warmup: Function, case: ScheduleCase) -> None:
    """From the end of the warm-up on every step has the whole rate, even if there is no warm-up.

    Kills: a rate that goes on rising; a way down that nobody asked for; a division by a warm-up of 0 steps.
    Hint: Ask for the step that ends the warm-up, for the one after it, and for step 0 of a warm-up of no steps.
    """
    step = case.warmup_steps + case.step
    assert_close(constant_warmup(step, case.warmup_steps), 1.0, what=f"the rate at step {step}")


@law("constant-warmup", given=schedule_cases())
def the_rate_that_stays_agrees_with_the_reference(constant_warmup: Function, case: ScheduleCase) -> None:
    """The rate agrees with the reference at every step, without a warm-up too.

    Kills: the full rate at the first step; a curve for the line; a division by a warm-up of 0 steps.
    Hint: Try a warm-up of 4 steps, and write down the rates of steps 0 to 6. Which is the first that differs?
    """
    expected = reference.schedules.constant_warmup(case.step, case.warmup_steps)
    assert_close(constant_warmup(case.step, case.warmup_steps), expected, what="the rate")


# The schedule that never ends


@law("inverse-square-root-warmup", given=with_a_warmup)
@law("constant-warmup", given=with_a_warmup)
def the_rate_rises_in_a_line_to_its_peak(schedule: Function, case: ScheduleCase) -> None:
    """The rate starts at 0, rises in a straight line to 1 at the end of the warm-up, and is larger nowhere.

    Kills: the full rate at the first step; 1/√0 at step 0; the root for the warm-up; a peak that depends on the width.
    Hint: Two formulas meet at the end of the warm-up. What does each of them say there, and which is smaller before it?
    """
    step = min(case.step, case.warmup_steps)
    rate = schedule(step, case.warmup_steps)
    assert_close(rate, step / case.warmup_steps, what=f"the rate at step {step} of {case.warmup_steps} of the warm-up")
    peak = schedule(case.warmup_steps, case.warmup_steps)
    assert_close(peak, 1.0, what="the rate at the end of the warm-up")
    after = schedule(case.warmup_steps + case.step, case.warmup_steps)
    assert after <= peak, "no rate should be larger than that at the end of the warm-up"


@law("inverse-square-root-warmup", given=with_a_warmup)
def four_times_the_steps_halve_the_rate(schedule: Function, case: ScheduleCase) -> None:
    """After a straight warm-up, four times as many steps halve the rate.

    Kills: one over the step; the root counted from the end of the warm-up.
    Hint: From which step on do you count, when you take the root: from the first, or from the end of the warm-up?
    """
    after = case.warmup_steps + case.step
    expected = schedule(after, case.warmup_steps) / 2
    assert_close(schedule(4 * after, case.warmup_steps), expected, what=f"the rate at step {4 * after}")


@law("inverse-square-root-warmup", given=with_a_warmup)
@law("constant-warmup", given=with_a_warmup)
def a_warm_up_twice_as_long_stretches_the_schedule(schedule: Function, case: ScheduleCase) -> None:
    """Twice the warm-up has the same rate at twice the step.

    Kills: 1/√s without the warm-up in it; a warm-up off by one, or of a fixed length; a step counted from 1.
    Hint: The rate depends on how many warm-ups fit into the step. Which of your numbers is a bare count?
    """
    once = schedule(case.step, case.warmup_steps)
    assert_close(schedule(2 * case.step, 2 * case.warmup_steps), once, what="the rate of a warm-up twice as long")


@law("inverse-square-root-warmup", given=with_a_warmup)
def the_rate_agrees_with_the_reference(schedule: Function, case: ScheduleCase) -> None:
    """The rate agrees with the reference at every step.

    Kills: the larger of the two formulas for the smaller; the inverse of w/s under the root.
    Hint: With a warm-up of 4, the rate at step 16 is a half, and so it is at step 2. Which of the two is yours?
    """
    expected = reference.schedules.inverse_square_root_warmup(case.step, case.warmup_steps)
    assert_close(schedule(case.step, case.warmup_steps), expected, what="the rate")


@law("inverse-square-root-warmup", given=schedule_cases())
def three_timescales_after_the_warm_up_a_half_is_left(schedule: Function, case: ScheduleCase) -> None:
    """Given a timescale, the rate is a half when three of it have passed since the warm-up, of no steps too.

    Kills: a timescale that is ignored; one that counts from step 0; a division by a warm-up of 0 steps.
    Hint: At the end of the warm-up the rate must be whole, whatever the timescale. So what has to stand under the root?
    """
    timescale = float(case.steps_after)
    step = case.warmup_steps + 3 * case.steps_after
    rate = schedule(step, case.warmup_steps, timescale=timescale)
    assert_close(rate, 0.5, what=f"the rate three timescales of {case.steps_after} steps after the warm-up")
