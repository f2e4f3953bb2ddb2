"""Schedules of the learning rate: which share of its peak each step of a training has."""

import difflib
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any

from minitransformer.errors import InputError


def linear_warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """The share of the peak rate: up in a straight line, then down in a straight line to zero.

    Equation eq:linear-warmup:
        rate(s) = s / w for s < w, else max(0, (T − s) / (T − w))

    Source: Devlin et al. 2019, §A.2.

    Raises: InputError unless 0 ≤ warmup_steps ≤ total_steps.

    >>> [linear_warmup(step, warmup_steps=2, total_steps=6) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    require_schedule(warmup_steps, total_steps)
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))


def cosine_warmup(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The share of the peak rate: up in a straight line, then down along half a cosine to zero, or along more waves.

    Equation eq:cosine-warmup:
        rate(s) = s / w for s < w, else ½ (1 + cos(2π c p)), where p = (s − w) / (T − w), and p = 1 from T on

    Half a cycle, c = ½, goes down and not up again; a whole one comes back to the peak.

    Source: Loshchilov and Hutter 2017, §3, Eq. 5, without restarts; the warm-up as in eq:linear-warmup.

    Raises: InputError unless 0 ≤ warmup_steps ≤ total_steps and num_cycles is positive.

    >>> [round(cosine_warmup(step, warmup_steps=2, total_steps=6), 3) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    require_schedule(warmup_steps, total_steps)
    require_cycles(num_cycles)
    if step < warmup_steps:
        return step / warmup_steps
    progress = share_of_the_way_down(step, warmup_steps, total_steps)
    return 0.5 * (1 + math.cos(2 * math.pi * num_cycles * progress))


def cosine_restarts_warmup(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """The share of the peak rate: up in a straight line, then down along half a cosine, again and again from the peak.

    Equation eq:cosine-restarts-warmup:
        rate(s) = s / w for s < w, else ½ (1 + cos(π (c p mod 1))), where p = (s − w) / (T − w), and 0 from T on

    Source: Loshchilov and Hutter 2017, §3, Eq. 5, with cycles of one length; the warm-up as in eq:linear-warmup. In
    floats c p may fall just short of a whole number, from 22 cycles on: such a restart comes a step late.

    Raises: InputError unless 0 ≤ warmup_steps ≤ total_steps and num_cycles is positive.

    >>> shares = [cosine_restarts_warmup(step, warmup_steps=0, total_steps=8, num_cycles=2.0) for step in range(9)]
    >>> [round(share, 2) for share in shares]
    [1.0, 0.85, 0.5, 0.15, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    require_schedule(warmup_steps, total_steps)
    require_cycles(num_cycles)
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    progress = share_of_the_way_down(step, warmup_steps, total_steps)
    return 0.5 * (1 + math.cos(math.pi * (num_cycles * progress % 1)))


def polynomial_warmup(
    step: int,
    warmup_steps: int,
    total_steps: int,
    power: float = 1.0,
    lr_end: float = 1e-7,
    peak_rate: float = 1.0,
) -> float:
    """The share of the peak rate: up in a straight line, then down with a power of what is left, to a last rate.

    Equation eq:polynomial-warmup:
        rate(s) = s / w for s < w, else ((P − E) (1 − p)ᵏ + E) / P, where p = (s − w) / (T − w), and E / P from T on

    The end E is a rate as the peak P is; with the peak at 1, as it is unless given, it is a share too.

    Source: Chen et al. 2018 (DeepLab), §4.1.2, where it ends at 0; the warm-up as in eq:linear-warmup.

    Raises: InputError unless 0 ≤ warmup_steps ≤ total_steps, power is positive and 0 ≤ lr_end < peak_rate.

    >>> [polynomial_warmup(step, warmup_steps=2, total_steps=6, power=2.0, lr_end=0.0) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.25, 0.0]
    """
    require_schedule(warmup_steps, total_steps)
    if not power > 0:
        raise InputError(f"power={power} must be positive; 1 is a straight line")
    if not 0 <= lr_end < peak_rate:
        raise InputError(f"lr_end={lr_end} must be at least 0 and below the peak rate of {peak_rate}")
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return lr_end / peak_rate
    left: float = (1 - share_of_the_way_down(step, warmup_steps, total_steps)) ** power
    return ((peak_rate - lr_end) * left + lr_end) / peak_rate


def constant_rate(step: int) -> float:  # noqa: ARG001 - every schedule is asked for a step
    """The share of the peak rate: all of it, at every step.

    Equation eq:constant-rate:
        rate(s) = 1

    Source: Kingma and Ba 2015, Algorithm 1, whose α is the same at every step.

    >>> [constant_rate(step) for step in (0, 1, 1_000_000)]
    [1.0, 1.0, 1.0]
    """
    return 1.0


def constant_warmup(step: int, warmup_steps: int) -> float:
    """The share of the peak rate: up in a straight line, and then all of it.

    Equation eq:constant-warmup:
        rate(s) = s / w for s < w, else 1

    Source: Goyal et al. 2017, §2.2.

    Raises: InputError if warmup_steps is negative.

    >>> [constant_warmup(step, warmup_steps=2) for step in (0, 1, 2, 100)]
    [0.0, 0.5, 1.0, 1.0]
    """
    require_warmup(warmup_steps)
    return step / warmup_steps if step < warmup_steps else 1.0


def inverse_square_root_warmup(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """The share of the peak rate: up in a straight line, then down with one over the root of the step.

    Equation eq:inverse-square-root-warmup:
        rate(s) = s / w for s < w, else 1 / √((s − w + τ) / τ)

    The timescale τ is the warm-up unless given, so that the root is √(s / w), and 10 000 steps where there is none.

    Source: Vaswani et al. 2017, §5.3, Eq. 3, divided by its peak, 1 / √(d_model · w); Zhai et al. 2022, §3.5, for
    another timescale.

    Raises: InputError if warmup_steps is negative, or timescale below 1.

    >>> [inverse_square_root_warmup(step, warmup_steps=4) for step in (0, 2, 4, 16)]
    [0.0, 0.5, 1.0, 0.5]
    """
    require_warmup(warmup_steps)
    if timescale is None:
        timescale = warmup_steps or 10_000
    if not timescale >= 1:
        raise InputError(f"timescale={timescale} must be at least 1; leave it out to take the steps of the warm-up")
    if step < warmup_steps:
        return step / warmup_steps
    return 1 / math.sqrt((step + (timescale - warmup_steps)) / timescale)


SCHEDULES: dict[str, Callable[..., float]] = {
    "linear": linear_warmup,
    "cosine": cosine_warmup,
    "cosine_with_restarts": cosine_restarts_warmup,
    "polynomial": polynomial_warmup,
    "constant": constant_rate,
    "constant_with_warmup": constant_warmup,
    "inverse_sqrt": inverse_square_root_warmup,
}
"""Each schedule under the name that `transformers` gives it; its rates are theirs, bit for bit."""


def rate_share(
    lr_scheduler_type: str,
    step: int,
    warmup_steps: int,
    total_steps: int,
    peak_rate: float = 1.0,
    /,
    **settings: Any,
) -> float:
    """The share of the peak rate that a step has under the schedule of this name.

    A training shorter than its warm-up ends on the way up. A setting of None is left out.

    Raises: InputError for a schedule that there is not, and for a setting that it lacks or cannot have.

    >>> rate_share("linear", 4, 2, 6), rate_share("polynomial", 4, 2, 6, power=2, lr_end=0)
    (0.5, 0.25)
    """
    schedule = known_schedule(lr_scheduler_type)
    taken = signature(schedule).parameters
    of_training = {
        "step": step,
        "warmup_steps": warmup_steps,
        "total_steps": max(warmup_steps, total_steps),
        "peak_rate": peak_rate,
    }
    own = [name for name in taken if name not in of_training]
    for name in settings:
        require_setting(name, own, lr_scheduler_type)
    numbers = {name: number_of(name, value) for name, value in settings.items() if value is not None}
    return schedule(**{name: value for name, value in of_training.items() if name in taken}, **numbers)


def known_schedule(lr_scheduler_type: str) -> Callable[..., float]:
    """The schedule of a name.

    Raises: InputError that names the nearest one.

    >>> known_schedule("cosin")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: lr_scheduler_type='cosin' is not a schedule; did you mean 'cosine'? there are: \
linear, cosine, cosine_with_restarts, polynomial, constant, constant_with_warmup, inverse_sqrt
    """
    if lr_scheduler_type not in SCHEDULES:
        raise InputError(
            f"lr_scheduler_type={lr_scheduler_type!r} is not a schedule; "
            f"{nearest_of(lr_scheduler_type, SCHEDULES)}there are: {', '.join(SCHEDULES)}"
        )
    return SCHEDULES[lr_scheduler_type]


def require_setting(name: str, own: Sequence[str], lr_scheduler_type: str) -> None:
    """Refuse a setting that a schedule doesn't have.

    Raises: InputError that names the nearest one.

    >>> require_setting("cycles", ["num_cycles"], "cosine")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: 'cycles' is no setting of lr_scheduler_type='cosine'; \
did you mean 'num_cycles'? there are: num_cycles
    """
    if name not in own:
        raise InputError(
            f"{name!r} is no setting of lr_scheduler_type={lr_scheduler_type!r}; "
            f"{nearest_of(name, own)}there are: {', '.join(own) or 'none'}"
        )


def nearest_of(name: str, known: Iterable[str]) -> str:
    """What somebody may have meant, as a question; nothing if no name is near.

    >>> nearest_of("lrend", ["power", "lr_end"]), nearest_of("x", ["power", "lr_end"])
    ("did you mean 'lr_end'? ", '')
    """
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}? " if nearest else ""


def number_of(name: str, value: Any) -> float:
    """The value of a setting as a number.

    Raises: InputError for what is no finite number.

    >>> number_of("power", "2")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: power='2' must be a number
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and abs(value) <= sys.float_info.max):
        raise InputError(f"{name}={value!r} must be a number")
    return float(value)


def share_of_the_way_down(step: int, warmup_steps: int, total_steps: int) -> float:
    """How much of the way from the end of the warm-up to the end of the training is over.

    >>> [share_of_the_way_down(step, warmup_steps=2, total_steps=6) for step in (2, 4, 6, 7)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return 1.0 if step >= total_steps else (step - warmup_steps) / (total_steps - warmup_steps)


def require_schedule(warmup_steps: int, total_steps: int) -> None:
    """Refuse a warm-up longer than the training.

    Raises: InputError naming both.

    >>> require_schedule(warmup_steps=5, total_steps=3)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: warmup_steps=5 must lie from 0 to total_steps=3
    """
    if not 0 <= warmup_steps <= total_steps:
        raise InputError(f"warmup_steps={warmup_steps} must lie from 0 to total_steps={total_steps}")


def require_warmup(warmup_steps: int) -> None:
    """Refuse a warm-up of fewer than no steps.

    >>> require_warmup(-1)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: warmup_steps=-1 must not be negative; 0 leaves the warm-up out
    """
    if warmup_steps < 0:
        raise InputError(f"warmup_steps={warmup_steps} must not be negative; 0 leaves the warm-up out")


def require_cycles(num_cycles: float) -> None:
    """Refuse cycles that there cannot be.

    >>> require_cycles(0.0)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: num_cycles=0.0 must be positive, and at most a million
    """
    if not 0 < num_cycles <= 1_000_000:
        raise InputError(f"num_cycles={num_cycles} must be positive, and at most a million")
