"""Schedules: that their rates are those of `transformers` bit for bit, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from minitransformer import optimizer, reference
from minitransformer.errors import InputError
from minitransformer.schedules import (
    SCHEDULES,
    constant_warmup,
    cosine_restarts_warmup,
    cosine_warmup,
    inverse_square_root_warmup,
    linear_warmup,
    polynomial_warmup,
    rate_share,
)

SETTINGS = {
    "linear": st.just({}),
    "cosine": st.fixed_dictionaries({}, optional={"num_cycles": st.floats(0.01, 50) | st.integers(1, 50)}),
    "cosine_with_restarts": st.fixed_dictionaries({}, optional={"num_cycles": st.integers(1, 60) | st.floats(0.1, 60)}),
    "polynomial": st.fixed_dictionaries(
        {}, optional={"power": st.floats(0.05, 5) | st.integers(1, 4), "lr_end": st.floats(0, 1e-6) | st.just(0)}
    ),
    "constant": st.just({}),
    "constant_with_warmup": st.just({}),
    "inverse_sqrt": st.fixed_dictionaries(
        {}, optional={"timescale": st.none() | st.integers(1, 20_000) | st.floats(1, 1e5)}
    ),
}
"""What may be given to each schedule, as its users write it."""

peak_rates = st.floats(2e-6, 10.0)
fewer_trainings = settings(max_examples=max(50, settings.default.max_examples // 4))
"""A case is a whole training, each of whose rates is compared."""


def rates_of_transformers(
    name: str, warmup_steps: int, total_steps: int, peak_rate: float, settings: dict[str, Any], n_steps: int
) -> list[float]:
    """The rate of each step, read from the optimizer that their scheduler moves."""
    moved = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=peak_rate)
    scheduler = transformers.get_scheduler(name, moved, warmup_steps, total_steps, settings)
    rates = [moved.param_groups[0]["lr"]]
    while len(rates) < n_steps:
        moved.step()
        scheduler.step()
        rates.append(moved.param_groups[0]["lr"])
    return rates


@pytest.mark.equation(
    "linear-warmup",
    "cosine-warmup",
    "cosine-restarts-warmup",
    "polynomial-warmup",
    "constant-rate",
    "constant-warmup",
    "inverse-square-root-warmup",
)
@pytest.mark.parametrize("name", SCHEDULES)
@fewer_trainings
@given(data=st.data(), warmup_steps=st.integers(0, 60), total_steps=st.integers(1, 120), peak_rate=peak_rates)
def test_every_rate_of_a_training_is_that_of_transformers(
    name: str, data: st.DataObject, warmup_steps: int, total_steps: int, peak_rate: float
) -> None:
    """Every update of a training has the rate that `transformers` gives it, bit for bit, in a warm-up too long too."""
    settings = data.draw(SETTINGS[name])
    ours = [
        peak_rate * rate_share(name, step, warmup_steps, total_steps, peak_rate, **settings)
        for step in range(total_steps)
    ]
    assert ours == rates_of_transformers(name, warmup_steps, total_steps, peak_rate, settings, total_steps)


@pytest.mark.parametrize("name", SCHEDULES)
@fewer_trainings
@given(data=st.data(), warmup_steps=st.integers(0, 40), more=st.integers(1, 40), peak_rate=peak_rates)
def test_the_rate_after_the_last_update_is_that_of_transformers(
    name: str, data: st.DataObject, warmup_steps: int, more: int, peak_rate: float
) -> None:
    settings = data.draw(SETTINGS[name])
    total_steps = warmup_steps + more
    last = rates_of_transformers(name, warmup_steps, total_steps, peak_rate, settings, total_steps + 1)[-1]
    assert peak_rate * rate_share(name, total_steps, warmup_steps, total_steps, peak_rate, **settings) == last


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "cosine"])
@fewer_trainings
@given(data=st.data(), warmup_steps=st.integers(0, 20), more=st.integers(1, 20), beyond=st.integers(1, 20))
def test_a_training_that_goes_on_has_the_rates_of_transformers(
    name: str, data: st.DataObject, warmup_steps: int, more: int, beyond: int
) -> None:
    settings = data.draw(SETTINGS[name])
    total_steps = warmup_steps + more
    rates = rates_of_transformers(name, warmup_steps, total_steps, 0.5, settings, total_steps + beyond + 1)
    assert 0.5 * rate_share(name, total_steps + beyond, warmup_steps, total_steps, 0.5, **settings) == rates[-1]


def test_a_cosine_stays_at_its_end_where_theirs_climbs_again() -> None:
    assert [cosine_warmup(step, 2, 6) for step in (6, 8, 10)] == [0.0, 0.0, 0.0]
    assert [cosine_warmup(step, 2, 6, num_cycles=1.0) for step in (6, 8, 10)] == [1.0, 1.0, 1.0]
    theirs = rates_of_transformers("cosine", 2, 6, 1.0, {}, 11)
    assert theirs[6] == 0
    assert theirs[10] == 1


def test_all_steps_may_be_warm_up() -> None:
    for name in ("linear", "cosine", "cosine_with_restarts"):
        assert [rate_share(name, step, 2, 2) for step in range(4)] == [0.0, 0.5, 0.0, 0.0]
    assert [rate_share("polynomial", step, 2, 2, lr_end=0.25) for step in range(4)] == [0.0, 0.5, 0.25, 0.25]


def test_a_schedule_has_the_name_that_transformers_gives_it() -> None:
    theirs = {member.value for member in transformers.SchedulerType}
    assert SCHEDULES.keys() <= theirs
    assert rate_share(transformers.SchedulerType.CONSTANT, 0, 0, 1) == 1


def test_the_first_three_are_known_to_the_optimizer_too() -> None:
    for schedule in (linear_warmup, cosine_warmup, inverse_square_root_warmup):
        assert getattr(optimizer, schedule.__name__) is schedule
        twin = getattr(reference.schedules, schedule.__name__)
        assert getattr(reference.optimizer, schedule.__name__) is twin


ENDING = {
    "linear": linear_warmup,
    "cosine": cosine_warmup,
    "cosine_with_restarts": cosine_restarts_warmup,
    "polynomial": polynomial_warmup,
}


@pytest.mark.parametrize("schedule", ENDING.values(), ids=ENDING)
def test_a_warm_up_longer_than_the_training_is_refused(schedule: Callable[..., float]) -> None:
    with pytest.raises(InputError, match="warmup_steps=5 must lie from 0 to total_steps=3"):
        schedule(1, 5, 3)
    with pytest.raises(InputError, match="warmup_steps=-1 must lie from 0 to total_steps=3"):
        schedule(1, -1, 3)


@pytest.mark.parametrize("schedule", [constant_warmup, inverse_square_root_warmup])
def test_a_negative_warm_up_is_refused(schedule: Callable[..., float]) -> None:
    with pytest.raises(InputError, match="warmup_steps=-1 must not be negative; 0 leaves the warm-up out"):
        schedule(1, -1)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("cosin", {}, "lr_scheduler_type='cosin' is not a schedule; did you mean 'cosine'? there are: linear, cosine,"),
        ("reduce_lr_on_plateau", {}, "lr_scheduler_type='reduce_lr_on_plateau' is not a schedule; there are: linear"),
        ("cosine", {"num_cycle": 2}, "'num_cycle' is no setting of lr_scheduler_type='cosine'; did you mean 'num_c"),
        ("cosine", {"power": 2}, "'power' is no setting of lr_scheduler_type='cosine'; there are: num_cycles"),
        ("linear", {"power": 2}, "'power' is no setting of lr_scheduler_type='linear'; there are: none"),
        ("linear", {"step": 2}, "'step' is no setting of lr_scheduler_type='linear'"),
        ("polynomial", {"peak_rate": 2}, "'peak_rate' is no setting of lr_scheduler_type='polynomial'"),
        ("linear", {"lr_scheduler_type": 2}, "'lr_scheduler_type' is no setting of lr_scheduler_type='linear'"),
        ("cosine", {"num_cycles": 0}, "num_cycles=0.0 must be positive, and at most a million"),
        ("cosine", {"num_cycles": "2"}, "num_cycles='2' must be a number"),
        ("cosine", {"num_cycles": True}, "num_cycles=True must be a number"),
        ("cosine", {"num_cycles": 1e308}, "num_cycles=1e+308 must be positive, and at most a million"),
        ("cosine_with_restarts", {"num_cycles": float("nan")}, "num_cycles=nan must be a number"),
        ("polynomial", {"power": 10**400}, "must be a number"),
        ("polynomial", {"power": -1}, "power=-1.0 must be positive; 1 is a straight line"),
        ("polynomial", {"lr_end": 0.5}, "lr_end=0.5 must be at least 0 and below the peak rate of 0.5"),
        ("polynomial", {"lr_end": -0.5}, "lr_end=-0.5 must be at least 0 and below the peak rate of 0.5"),
        ("inverse_sqrt", {"timescale": 0}, "timescale=0.0 must be at least 1; leave it out to take the steps of the"),
    ],
)
def test_what_no_schedule_can_be_is_refused_before_the_first_step(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as refusal:
        rate_share(name, 0, 0, 1, 0.5, **settings)
    assert message in str(refusal.value)
