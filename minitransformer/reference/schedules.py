"""Schedules of the learning rate: which share of its peak each step of a training has."""

import math


def linear_warmup(step: int, warmup_steps: int, total_steps: int) -> float:
    """The share of the peak rate: up in a straight line, then down in a straight line to zero.

    Equation eq:linear-warmup:
        rate(s) = s / w for s < w, else max(0, (T − s) / (T − w))

    Source: Devlin et al. 2019, §A.2.

    >>> [linear_warmup(step, warmup_steps=2, total_steps=6) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    return (total_steps - step) / (total_steps - warmup_steps)


def cosine_warmup(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 0.5) -> float:
    """The share of the peak rate: up in a straight line, then down along half a cosine to zero, or along more waves.

    Equation eq:cosine-warmup:
        rate(s) = s / w for s < w, else ½ (1 + cos(2π c p)), where p = (s − w) / (T − w), and p = 1 from T on

    Source: Loshchilov and Hutter 2017, §3, Eq. 5, without restarts; the warm-up as in eq:linear-warmup.

    >>> [round(cosine_warmup(step, warmup_steps=2, total_steps=6), 3) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps) if step < total_steps else 1.0
    return (1 + math.cos(2 * math.pi * num_cycles * progress)) / 2


def cosine_restarts_warmup(step: int, warmup_steps: int, total_steps: int, num_cycles: float = 1.0) -> float:
    """The share of the peak rate: up in a straight line, then down along half a cosine, again and again from the peak.

    Equation eq:cosine-restarts-warmup:
        rate(s) = s / w for s < w, else ½ (1 + cos(π (c p mod 1))), where p = (s − w) / (T − w), and 0 from T on

    Source: Loshchilov and Hutter 2017, §3, Eq. 5, with cycles of one length; the warm-up as in eq:linear-warmup.

    >>> [round(cosine_restarts_warmup(step, 0, 8, num_cycles=2.0), 2) for step in range(9)]
    [1.0, 0.85, 0.5, 0.15, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return 0.0
    cycles_gone = num_cycles * (step - warmup_steps) / (total_steps - warmup_steps)
    return (1 + math.cos(math.pi * (cycles_gone % 1))) / 2


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

    Source: Chen et al. 2018 (DeepLab), §4.1.2, where it ends at 0; the warm-up as in eq:linear-warmup.

    >>> [polynomial_warmup(step, warmup_steps=2, total_steps=6, power=2.0, lr_end=0.0) for step in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.25, 0.0]
    """
    if step < warmup_steps:
        return step / warmup_steps
    if step >= total_steps:
        return lr_end / peak_rate
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return ((peak_rate - lr_end) * (1 - progress) ** power + lr_end) / peak_rate


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

    >>> [constant_warmup(step, warmup_steps=2) for step in (0, 1, 2, 100)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return step / warmup_steps if step < warmup_steps else 1.0


def inverse_square_root_warmup(step: int, warmup_steps: int, timescale: float | None = None) -> float:
    """The share of the peak rate: up in a straight line, then down with one over the root of the step.

    Equation eq:inverse-square-root-warmup:
        rate(s) = s / w for s < w, else 1 / √((s − w + τ) / τ)

    Source: Vaswani et al. 2017, §5.3, Eq. 3, divided by its peak, 1 / √(d_model · w); Zhai et al. 2022, §3.5, for
    another timescale.

    >>> [inverse_square_root_warmup(step, warmup_steps=4) for step in (0, 2, 4, 16)]
    [0.0, 0.5, 1.0, 0.5]
    """
    if timescale is None:
        timescale = warmup_steps or 10_000
    return step / warmup_steps if step < warmup_steps else math.sqrt(timescale / (step - warmup_steps + timescale))
